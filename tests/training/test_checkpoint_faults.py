"""Whatever happens to a save, or to its files afterwards, the last whole checkpoint is found and used."""

import errno
import json
import os
import pickle
import random
import resource
import signal
import time
from pathlib import Path

import pytest

from scorefield import training
from scorefield.training import checkpoint, checkpoints

OLD = {
    "model.safetensors": b"old weights " * 50,
    "ema.safetensors": b"old average " * 50,
    "optim.safetensors": b"o" * 600,
}
NEW = {name: content.replace(b"o", b"n") for name, content in OLD.items()}
EVERY_FILE = (*OLD, "state.json", "manifest.json")


def quiet(line):
    pytest.fail(f"nothing was to be said; got {line!r}")


def content(folder):
    """The files of a checkpoint that verifies, without its state and manifest."""
    checkpoints.verify(folder)
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def in_a_child(work):
    """Forks, does `work` in the child, and returns how the child ended, as os.waitpid tells it."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


def boundaries(tmp_path, monkeypatch):
    """The names of a save's boundaries, in order."""
    names = []
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_boundary", names.append)
        checkpoints.write(tmp_path / "rehearsal", 2, NEW, {"step": 2})
    return names


def test_kill_9_at_every_boundary_of_a_save_leaves_the_old_or_the_new_whole(tmp_path, monkeypatch):
    names = boundaries(tmp_path, monkeypatch)
    assert {f"before {name}" for name in EVERY_FILE} | {f"within {name}" for name in EVERY_FILE} < set(names)
    renamed = names.index("after the rename")
    for k in range(len(names)):
        root = tmp_path / f"killed-{k}"
        checkpoints.write(root, 1, OLD, {"step": 1})
        passed = []

        def die(name, k=k, passed=passed):
            passed.append(name)
            if len(passed) == k + 1:
                os.kill(os.getpid(), signal.SIGKILL)

        with monkeypatch.context() as patch:
            patch.setattr(checkpoints, "_boundary", die)
            status = in_a_child(lambda root=root: checkpoints.write(root, 2, NEW, {"step": 2}))
        assert os.WTERMSIG(status) == signal.SIGKILL, names[k]
        newest = checkpoints.latest(root, quiet)
        assert newest is not None
        assert newest.name == ("step-000002" if k >= renamed else "step-000001"), names[k]
        assert content(newest) == (NEW if k >= renamed else OLD), names[k]
        checkpoints.write(root, 2, NEW, {"step": 2})  # whoever goes on clears away what is left, and saves
        assert sorted(os.listdir(root)) == ["step-000001", "step-000002"]


def test_kill_9_at_random_times_never_costs_more_than_the_save_under_way(tmp_path):
    """A child saves and prunes without end and says which step is done; eight are killed, from 1 to 60 ms on."""
    draw = random.Random(0)
    root = tmp_path / "checkpoints"
    big = {name: c * 200 for name, c in OLD.items()}  # 1/3 MB: a save has a middle
    step = 0
    for _ in range(8):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                while True:
                    step += 1
                    checkpoints.write(root, step, big, {"step": step})
                    os.write(writing, step.to_bytes(4, "big"))
                    checkpoints.prune(root, step, keep=2)
            finally:
                os._exit(1)
        os.close(writing)
        time.sleep(draw.uniform(0.001, 0.06))
        os.kill(child, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        with os.fdopen(reading, "rb") as said:
            words = said.read()
        done = int.from_bytes(words[-4:], "big") if words else step
        newest = checkpoints.latest(root, quiet)
        if not done and newest is None:
            continue  # killed before the first was there
        assert newest is not None
        step = checkpoints.read_state(newest)["step"]
        assert step in (done, done + 1)  # renamed but not yet told
        assert content(newest) == big
    assert step > 0


def assert_untouched(root):
    assert os.listdir(root) == ["step-000001"]
    newest = checkpoints.latest(root, quiet)
    assert newest is not None
    assert content(newest) == OLD


@pytest.mark.parametrize("at", [*EVERY_FILE, "fsync", "rename"])
def test_a_full_disk_is_one_line_with_the_path_and_the_old_one_stays(tmp_path, monkeypatch, at):
    checkpoints.write(tmp_path, 1, OLD, {"step": 1})

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if at == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    elif at == "rename":
        monkeypatch.setattr(Path, "rename", full)
    else:
        monkeypatch.setattr(checkpoints, "_boundary", lambda name: full() if name == f"within {at}" else None)
    with pytest.raises(OSError, match=r"cannot save 0\.0 MB: No space left on device") as caught:
        checkpoints.write(tmp_path, 2, NEW, {"step": 2})
    assert caught.value.filename == str(tmp_path / "step-000002")
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert_untouched(tmp_path)
    checkpoints.write(tmp_path, 2, NEW, {"step": 2})  # once there is room again
    assert content(tmp_path / "step-000002") == NEW


def test_a_real_limit_on_file_size_ends_the_same_way(tmp_path):
    """The system's own refusal, in the middle of a file: at most 64 kB may be written."""
    checkpoints.write(tmp_path, 1, OLD, {"step": 1})
    said = tmp_path.parent / "said"

    def save():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
        try:
            checkpoints.write(tmp_path, 2, {**NEW, "optim.safetensors": b"n" * 1_000_000}, {"step": 2})
        except OSError as error:
            said.write_text(f"{error.filename}: {error.strerror}")

    assert in_a_child(save) == 0
    assert said.read_text() == f"{tmp_path / 'step-000002'}: cannot save 1.0 MB: File too large"
    assert_untouched(tmp_path)


def test_a_file_where_the_folder_should_be_is_one_line(tmp_path):
    """What a read-only folder does too; but nothing is read-only for root."""
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(OSError, match="checkpoints"):
        checkpoints.write(tmp_path / "checkpoints", 1, OLD, {"step": 1})
    assert os.listdir(tmp_path) == ["checkpoints"]


def flipped(path, place, bit=0):
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1 << bit
    path.write_bytes(raw)


def assert_passed_over(root, reason):
    """The damaged step 2 is named with the reason, and step 1 is used."""
    lines = []
    newest = checkpoints.latest(root, lines.append)
    assert newest == root / "step-000001"
    assert lines == [f"{root / 'step-000002'} is damaged ({reason}). Using step-000001."]
    with pytest.raises(ValueError, match="step-000002 is damaged"):
        checkpoints.verify(root / "step-000002")


@pytest.fixture
def two(tmp_path):
    checkpoints.write(tmp_path, 1, OLD, {"step": 1})
    checkpoints.write(tmp_path, 2, NEW, {"step": 2})
    return tmp_path


@pytest.mark.parametrize("name", EVERY_FILE[:-1])
def test_a_damaged_file_is_named_and_its_checkpoint_passed_over(two, name):
    path = two / "step-000002" / name
    whole = path.read_bytes()
    for place in {0, 1, len(whole) // 2, len(whole) - 1}:
        flipped(path, place, bit=place % 8)
        assert_passed_over(two, f"{name}: checksum differs")
        path.write_bytes(whole)
    for size in {0, 1, len(whole) - 1}:
        path.write_bytes(whole[:size])
        assert_passed_over(two, f"{name}: {size} bytes, not {len(whole)}")
    path.write_bytes(whole + b"\0")
    assert_passed_over(two, f"{name}: {len(whole) + 1} bytes, not {len(whole)}")
    path.unlink()
    assert_passed_over(two, f"{name}: missing")


def test_a_bit_flipped_anywhere_in_the_manifest_is_damage_or_does_no_harm(two):
    """Every byte, one bit each: never an exception, and what is used is whole."""
    path = two / "step-000002" / "manifest.json"
    whole = path.read_bytes()
    harmless = 0
    for place in range(len(whole)):
        flipped(path, place, bit=place % 7)
        newest = checkpoints.latest(two, lambda line: None)
        assert newest is not None
        assert content(newest) in (OLD, NEW)
        harmless += newest.name == "step-000002"
        path.write_bytes(whole)
    assert harmless < 0.25 * len(whole)  # spaces between words, for the most part


@pytest.mark.parametrize(
    "manifest",
    [
        "", "{}", "[]", "null", "7", '{"files": {}, "step": 2, "format": 1}', '{"files": [], "step": 2, "format": 1}',
        '{"files": {"model.safetensors": 1}, "step": 2, "format": 1}', "[" * 100_000,
        '{"step": 2, "format": 1, "files": {"state.json": {"size": 1, "sha256": ""}, "/x": {"size": 1, "sha256": 2}}}',
        '{"files": {"model.safetensors": {"size": 600}}, "step": 2, "format": 1}',
        '{"files": {"state.json": null}, "step": "2", "format": 1}',
    ],
    ids=lambda m: m[:40],
)  # fmt: skip
def test_an_empty_or_senseless_manifest_is_damage(two, manifest):
    path = two / "step-000002" / "manifest.json"
    path.write_text(manifest)
    assert_passed_over(two, "manifest.json: missing or unreadable")
    path.unlink()
    assert_passed_over(two, "manifest.json: missing or unreadable")


def test_the_manifest_of_another_step_or_format_is_damage(two):
    path = two / "step-000002" / "manifest.json"
    whole = json.loads(path.read_text())
    path.write_text((two / "step-000001" / "manifest.json").read_text())
    assert_passed_over(two, "manifest.json: of step 1")
    path.write_text(json.dumps({**whole, "format": 2}))
    assert_passed_over(two, "manifest.json: format 2; this version reads 1")


def test_where_none_is_whole_each_is_named(two):
    for step in (1, 2):
        (two / f"step-{step:06d}" / "state.json").unlink()
    lines = []
    assert checkpoints.latest(two, lines.append) is None
    assert lines == [
        f"{two / f'step-{step:06d}'} is damaged (state.json: missing). There is no other." for step in (2, 1)
    ]


class Trap:
    """A pickle that makes a folder when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_in_the_place_of_weights_is_refused_even_where_its_checksum_is_right(tmp_path):
    files = {**OLD, "ema.safetensors": pickle.dumps(Trap(tmp_path / "sprung"))}
    folder = checkpoints.write(tmp_path, 1, files, {"step": 1})
    checkpoints.verify(folder)
    with pytest.raises(ValueError, match=r"ema.safetensors is damaged or not a scorefield checkpoint"):
        training.load(folder / "ema.safetensors")
    with pytest.raises(ValueError, match=r"ema.safetensors is damaged or not a scorefield checkpoint"):
        checkpoint.load_weights(folder / "ema.safetensors")
    assert not (tmp_path / "sprung").exists()
