"""Checkpoint folders: what is written is what is read, and what is not whole is known and passed over."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import filelock
import pytest

from scorefield.storage import checkpoints
from scorefield.storage.checkpoints import latest, prune, read_state, verify, write

FILES = {"model.safetensors": bytes(range(200)), "ema.safetensors": b"averaged" * 9, "meta.json": b"{}"}


def save(root, step, **kwargs):
    return write(root, step, FILES, {"step": step, "lr": 0.1}, **kwargs)


def names(root):
    return sorted(os.listdir(root))


@pytest.fixture
def quiet():
    def warn(line):
        raise AssertionError(line)

    return warn


@pytest.fixture
def warned():
    lines = []
    return lines, lines.append


def test_a_checkpoint_holds_what_was_written_and_its_checksums(tmp_path, quiet):
    root = tmp_path / "run" / "checkpoints"
    folder = write(
        root, 123, {**FILES, "large.safetensors": lambda file: [file.write(b"ab"), file.write(b"c")]}, {"k": 7}
    )
    assert folder == root / "step-000123"
    assert latest(root, quiet) == folder
    assert read_state(folder) == {"k": 7}
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert (folder / "large.safetensors").read_bytes() == b"abc"
    assert names(folder) == sorted([*FILES, "large.safetensors", "manifest.json", "state.json"])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["format"], manifest["step"]) == (1, 123)
    for name in names(folder):
        if name != "manifest.json":
            content = (folder / name).read_bytes()
            assert manifest["files"][name] == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert names(root) == ["step-000123"]


def test_a_large_file_goes_out_in_pieces_and_comes_back_whole(tmp_path, monkeypatch):
    """With a kernel that takes at most 7 bytes at a time."""
    plain = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: plain(descriptor, data[:7]))
    folder = save(tmp_path, 1)
    monkeypatch.undo()
    verify(folder)
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_the_newest_is_by_number(tmp_path, quiet):
    for step in (999_999, 1_000_000, 20):
        save(tmp_path, step)
    (tmp_path / "step-final").mkdir()
    (tmp_path / "step-0001000001").mkdir()  # not a name of ours
    assert latest(tmp_path, quiet) == tmp_path / "step-1000000"
    assert latest(tmp_path / "missing", quiet) is None


def test_a_whole_checkpoint_is_not_written_again_and_a_damaged_one_is(tmp_path):
    folder = save(tmp_path, 5)
    before = os.stat(folder).st_ino
    assert write(tmp_path, 5, {"model.safetensors": b"other"}, {}) == folder
    assert os.stat(folder).st_ino == before
    verify(folder)
    (folder / "meta.json").write_bytes(b"{ ")
    write(tmp_path, 5, {"model.safetensors": b"other"}, {})
    verify(folder)
    assert (folder / "model.safetensors").read_bytes() == b"other"
    shutil.rmtree(folder)
    folder.touch()  # a file in its place is damage as well
    save(tmp_path, 5)
    verify(folder)
    assert names(tmp_path) == ["step-000005"]


def test_what_cannot_be_kept_is_refused_before_anything_is_written(tmp_path):
    for name in ("model.pt", "../model.safetensors", "a/b.json", ".json", "state.json", "manifest.json", "x.json\n"):
        with pytest.raises(ValueError, match="files must be named") as raised:
            write(tmp_path, 1, {name: b""}, {})
        assert repr(name) in str(raised.value)
    with pytest.raises(ValueError, match="state must be plain values that JSON can hold"):
        write(tmp_path, 1, {}, {"x": object()})
    with pytest.raises(ValueError, match="step must be at least 0; got -1"):
        write(tmp_path, -1, {}, {})
    assert names(tmp_path) == []


# Damage.


def damages(folder, name):
    """Every way a file can go wrong: what to do to it, and what is said of it."""
    path, size = folder / name, (folder / name).stat().st_size
    content = path.read_bytes()

    def flip(position):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])

    manifest = name == "manifest.json"
    for position in (0, 1, size // 2, size - 1):
        yield lambda position=position: flip(position), None if manifest else "checksum differs"
    for left in (0, size // 2, size - 1):
        text = "not a manifest" if manifest else f"{left} bytes instead of {size}"
        yield lambda left=left: path.write_bytes(content[:left]), text
    longer = "not a manifest" if manifest else f"{size + 1} bytes instead of {size}"
    yield lambda: path.write_bytes(content + b"\0"), longer
    yield path.unlink, "missing"
    yield lambda: (path.unlink(), path.mkdir()), "Is a directory" if manifest else "missing"
    if not manifest:
        yield lambda: (path.unlink(), os.mkfifo(path)), "missing"  # and is not waited for


@pytest.mark.parametrize("name", [*FILES, "state.json", "manifest.json"])
def test_every_damage_is_named_and_passed_over(tmp_path, name, warned):
    save(tmp_path, 3000)
    bad = save(tmp_path, 4000)
    kept = tmp_path / "kept"
    shutil.copytree(bad, kept)
    lines, warn = warned
    for damage, text in list(damages(bad, name)):
        shutil.rmtree(bad)
        shutil.copytree(kept, bad)
        verify(bad)
        damage()
        with pytest.raises(ValueError, match="is damaged") as raised:
            verify(bad)
        assert latest(tmp_path, warn) == tmp_path / "step-003000"
        assert lines.pop() == f"{raised.value}. Using step-003000."
        if text:
            assert str(raised.value) == f"{bad} is damaged ({name}: {text})"


def test_any_byte_of_the_manifest_matters(tmp_path):
    folder = write(tmp_path, 1, {"m.json": b"{}"}, {})
    path = folder / "manifest.json"
    content = path.read_bytes()
    for position in range(len(content)):
        for bit in (0, position % 7 + 1):
            path.write_bytes(content[:position] + bytes([content[position] ^ (1 << bit)]) + content[position + 1 :])
            with pytest.raises(ValueError, match=r"is damaged|has checkpoint format"):  # a digit may become another
                verify(folder)


def test_a_checkpoint_of_another_format_is_refused_and_kept(tmp_path, quiet):
    """As after a step back to this version: the run is not begun anew, and nothing of it is deleted."""
    for step in (1, 2, 3, 4):
        save(tmp_path, step)
    path = tmp_path / "step-000004" / "manifest.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    said = r"step-000004 has checkpoint format 2; this version reads 1: go on with the version that wrote it"
    for refused in (lambda: latest(tmp_path, quiet), lambda: verify(path.parent), lambda: save(tmp_path, 4)):
        with pytest.raises(ValueError, match=said):
            refused()
    prune(tmp_path, 1)  # a newer one than it keeps, and not one to tell a whole one by
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000003", "step-000004"]
    save(tmp_path, 5)
    prune(tmp_path, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000004", "step-000005"]


def test_the_manifest_of_another_step_is_refused(tmp_path):
    one, two = save(tmp_path, 1), save(tmp_path, 2)
    shutil.copy(one / "manifest.json", two)
    with pytest.raises(ValueError, match=r"step-000002 is damaged \(manifest.json: of step-000001\)"):
        verify(two)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "not a manifest"),
        ("[" * 100_000, "not a manifest"),
        ('{"format": 2, "step": 1, "files": {}}', "format 2; this version reads 1"),
        ('{"format": 1, "step": "1", "files": {}}', "not a manifest"),
        ('{"format": 1, "step": 1, "files": {}}', "not in the manifest"),
        ('{"format": 1, "step": 1, "files": {"state.json": 3}}', "not a manifest"),
        ('{"format": 1, "step": 1, "files": {"state.json": {"size": -1, "sha256": null}}}', "bytes instead of"),
        ('{"format": 1, "step": 1, "files": {"state.json": {"size": "x", "sha256": 1}}}', "not a manifest"),
        ('{"format": 1, "step": 1, "files": {"state.json": {}, "../x/m.json": {}}}', "not a manifest"),
        (
            '{"format": 1, "step": 1, "files": {"state.json": {"size": 1, "sha256": ""},'
            ' "../x/m.json": {"size": 1, "sha256": ""}}}',
            "manifest.json: lists '../x/m.json'",
        ),
    ],
)
def test_a_manifest_made_up_by_hand_gets_a_line(tmp_path, text, message):
    folder = save(tmp_path, 1)
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        verify(folder)
    assert "\n" not in str(raised.value)


def test_a_file_beside_the_listed_ones_is_no_damage(tmp_path, quiet):
    folder = save(tmp_path, 1)
    (folder / ".DS_Store").write_bytes(b"what file browsers leave; nothing reads it")
    verify(folder)
    assert latest(tmp_path, quiet) == folder


def test_each_newer_damaged_one_gets_its_line(tmp_path, warned):
    for step in (1, 2, 3, 4):
        save(tmp_path, step)
    for step in (1, 3, 4):
        (tmp_path / f"step-00000{step}" / "ema.safetensors").unlink()
    lines, warn = warned
    assert latest(tmp_path, warn) == tmp_path / "step-000002"
    reason = "is damaged (ema.safetensors: missing)"
    assert lines == [f"{tmp_path}/step-00000{n} {reason}. Using step-000002." for n in (4, 3)]
    lines.clear()
    (tmp_path / "step-000002" / "manifest.json").write_text("")
    assert latest(tmp_path, warn) is None
    assert len(lines) == 4
    assert lines[-1] == f"{tmp_path}/step-000001 {reason}. No older one is whole."


def test_a_state_that_is_none_gets_a_line(tmp_path):
    folder = save(tmp_path, 1)
    for text in ("", "[1]", "\xff", "[" * 100_000):
        (folder / "state.json").write_text(text, encoding="latin-1")
        with pytest.raises(ValueError, match=r"step-000001 is damaged \(state.json: not a JSON object\)"):
            read_state(folder)
    (folder / "state.json").unlink()
    with pytest.raises(ValueError, match=r"state.json: missing"):
        read_state(folder)


# Pruning and left-overs.


@pytest.mark.parametrize(
    ("keep", "every", "damaged", "left"),
    [
        (2, None, (), (60, 70)),
        (1, 20, (), (20, 40, 60, 70)),
        (9, None, (), (10, 20, 30, 40, 50, 60, 70)),
        (2, None, (50, 60, 70), (40, 60, 70)),  # 40 is what a run would go on from
        (1, 60, (40, 60, 70), (50, 60, 70)),
        (1, None, (10, 20, 30, 40, 50, 60, 70), (10, 20, 30, 40, 50, 60, 70)),
    ],
)
def test_pruning_keeps_the_newest_every_nth_and_the_newest_whole_one(tmp_path, keep, every, damaged, left):
    for step in range(10, 80, 10):
        save(tmp_path, step)
    for step in damaged:
        (tmp_path / f"step-0000{step}" / "model.safetensors").write_bytes(b"short")
    prune(tmp_path, keep, every)
    assert names(tmp_path) == [f"step-0000{step}" for step in left]


def test_pruning_to_nothing_is_refused(tmp_path):
    for keep, every in ((0, None), (-1, 5), (1, 0)):
        with pytest.raises(ValueError, match=f"must be at least 1; got {keep} and {every}"):
            prune(tmp_path, keep, every)


def test_left_overs_go_when_their_writer_is_dead_or_has_let_go(tmp_path):
    """A process that is gone, one that lives, and this one, whose id an earlier process had (as in a container)."""
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    folders = [tmp_path / f".step-000001.{pid}.tmp" for pid in (dead, os.getppid(), os.getpid())]
    folders += [tmp_path / f".step-000002.{dead}.old.tmp", tmp_path / ".step-mine.tmp"]
    for folder in folders:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
    save(tmp_path, 3)
    assert names(tmp_path) == sorted([folders[1].name, ".step-mine.tmp", "step-000003"])


def test_two_saves_at_once_leave_each_other_alone(tmp_path):
    """The second begins and ends in the middle of the first: it must not take the first's folder for a left-over."""

    def content(file):
        file.write(b"one")
        write(tmp_path, 2, FILES, {})
        file.write(b" half, the other")

    write(tmp_path, 1, {"model.safetensors": content}, {})
    assert names(tmp_path) == ["step-000001", "step-000002"]
    for name in names(tmp_path):
        verify(tmp_path / name)


def test_every_content_is_durable_before_the_rename_and_the_rename_before_write_returns(tmp_path, monkeypatch):
    """The order of system calls: fsync of each file, of the folder, rename, fsync of the parents."""
    calls, sync, rename = [], os.fsync, Path.rename

    def traced_sync(descriptor):
        calls.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    def traced_rename(self, target):
        calls.append("rename")
        return rename(self, target)

    if not Path("/proc/self/fd").exists():
        pytest.skip("names of open files are read from /proc")
    monkeypatch.setattr(os, "fsync", traced_sync)
    monkeypatch.setattr(checkpoints.Path, "rename", traced_rename)
    root = tmp_path / "run" / "checkpoints"
    save(root, 1)
    temporary = f"{root}/.step-000001.{os.getpid()}.tmp"
    files = [f"{temporary}/{name}" for name in (*FILES, "state.json", "manifest.json")]
    assert calls == [str(tmp_path), str(root.parent), *files, temporary, "rename", str(root)]


def test_what_another_writer_holds_is_left_until_it_lets_go(tmp_path):
    """Of another machine, say: here no process has its number."""
    folder = tmp_path / ".step-000009.4194305.tmp"  # more than the largest process id there is
    folder.mkdir()
    with filelock.FileLock(tmp_path / f"{folder.name}.lock"):
        save(tmp_path, 1)
        assert names(tmp_path) == [folder.name, f"{folder.name}.lock", "step-000001"]
    save(tmp_path, 2)
    assert names(tmp_path) == ["step-000001", "step-000002"]
