"""Faults while saving: processes killed at every step of it, disks that fill up or cannot be written to.

The processes that are killed load `checkpoints.py` by itself: it needs nothing but the standard library and filelock,
so each starts in a moment.
"""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest

from scorefield.storage import checkpoints
from scorefield.storage.checkpoints import latest, prune, read_state, verify, write

CHILD = """
import importlib.util, os, signal, sys
sys.path.append(sys.argv.pop())
spec = importlib.util.spec_from_file_location("checkpoints", sys.argv[1])
checkpoints = importlib.util.module_from_spec(spec)
spec.loader.exec_module(checkpoints)
checkpoints.CHUNK = 130  # several writes a file
root = checkpoints.Path(sys.argv[2])

def files(step):
    return {name: f"{name} of {step}".encode() * 9 for name in ("model.safetensors", "ema.safetensors")}

def save(step):
    checkpoints.write(root, step, files(step), {"step": step})

"""

PACKAGES = str(Path(filelock.__file__).parents[1])

KILL = """
left = int(sys.argv[3])

def boundary(name):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

checkpoints._boundary = boundary
"""


def child(script, *arguments, **kwargs):
    command = [sys.executable, "-I", "-S", "-c", CHILD + script, checkpoints.__file__, *map(str, arguments), PACKAGES]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)


def files(step):
    return {name: f"{name} of {step}".encode() * 9 for name in ("model.safetensors", "ema.safetensors")}


def save(root, step):
    return write(root, step, files(step), {"step": step})


def held(root):
    """The steps of all folders that look like checkpoints; each must hold what was saved, to the byte."""
    steps = []
    for folder in sorted(root.glob("step-*")):
        verify(folder)
        step = read_state(folder)["step"]
        assert {name: (folder / name).read_bytes() for name in files(step)} == files(step)
        steps.append(step)
    return steps


def killed_at_every_boundary(tmp_path, script, prepare, *, least):
    """The folder left by a process that was killed at its n-th boundary, for every n there is."""
    for n in range(1, 1000):
        root = tmp_path / f"killed-at-{n}"
        prepare(root)
        process = child(KILL + script, root, n)
        _, errors = process.communicate(timeout=60)
        if process.returncode == 0:
            assert n > least, "too few boundaries: the test proves less than it says"
            return
        assert process.returncode == -signal.SIGKILL, errors
        yield root
        shutil.rmtree(root)


def warnings_are_errors(line):
    raise AssertionError(line)


def test_killed_anywhere_in_a_save_the_old_checkpoint_or_the_new_one_is_there_whole(tmp_path):
    seen = []
    for root in killed_at_every_boundary(tmp_path, "save(2)", lambda root: save(root, 1), least=16):
        steps = held(root)
        assert steps in ([1], [1, 2])
        newest = latest(root, warnings_are_errors)
        assert newest
        assert read_state(newest)["step"] == steps[-1]
        seen.append(steps[-1])
        save(root, 3)  # the next save works, and clears up
        assert sorted(os.listdir(root)) == [f"step-00000{step}" for step in (*steps, 3)]
    assert seen == sorted(seen)  # until the rename the old one, from then on the new one
    assert set(seen) == {1, 2}


def test_killed_anywhere_in_the_first_save_there_is_nothing_or_all_of_it(tmp_path):
    for root in killed_at_every_boundary(tmp_path, "save(2)", lambda root: None, least=16):
        root.mkdir(exist_ok=True)
        assert held(root) in ([], [2])
        save(root, 3)
        assert held(root)[-1] == 3


def test_killed_anywhere_in_replacing_a_damaged_one_the_older_one_stays(tmp_path):
    def prepare(root):
        save(root, 1)
        (save(root, 2) / "model.safetensors").write_bytes(b"short")

    for root in killed_at_every_boundary(tmp_path, "save(2)", prepare, least=18):
        newest = latest(root, lambda line: None)
        assert newest in (root / "step-000001", root / "step-000002")
        save(root, 2)
        assert held(root) == [1, 2]
        assert len(os.listdir(root)) == 2


def test_killed_anywhere_in_pruning_what_is_to_stay_stays_and_what_looks_whole_is(tmp_path):
    def prepare(root):
        for step in (1, 2, 3, 4):
            save(root, step)

    for root in killed_at_every_boundary(tmp_path, "checkpoints.prune(root, 2)", prepare, least=6):
        assert set(held(root)) >= {3, 4}
        prune(root, 2)
        save(root, 5)
        assert sorted(os.listdir(root)) == ["step-000003", "step-000004", "step-000005"]


LOOP = """
for step in range(int(sys.argv[3]), 10**6):
    save(step)
    print(step, flush=True)
    checkpoints.prune(root, 3)
"""


def test_killed_at_any_time_no_save_that_was_reported_is_lost(tmp_path, chance):
    first = 1
    for _ in range(10):
        process = child(LOOP, tmp_path, first)
        assert process.stdout
        process.stdout.readline()  # it is at work
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        output, _ = process.communicate(timeout=60)
        reported = [first, *map(int, output.split())][-1]  # only whole lines: each is one write()
        newest = latest(tmp_path, warnings_are_errors)
        assert newest
        assert read_state(newest)["step"] in (reported, reported + 1)
        assert held(tmp_path)
        first = reported + 2
    save(tmp_path, first)
    assert not list(tmp_path.glob(".*"))


# Full and unwritable disks.


def fails_cleanly(root, number, step=2):
    """A save that fails with this errno names the folder and the size, and leaves nothing."""
    before = sorted(os.listdir(root))
    with pytest.raises(OSError, match="cannot be saved") as raised:
        save(root, step)
    assert raised.value.errno == number
    assert raised.value.filename == str(root / f"step-{step:06d}")
    size = sum(map(len, files(step).values())) + len(json.dumps({"step": step}, indent=1))
    assert f"a checkpoint of {size:,} bytes cannot be saved: {os.strerror(number)}" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert sorted(os.listdir(root)) == before
    assert held(root) == [1]


def test_a_disk_that_fills_up_at_any_write_leaves_the_older_ones_alone(tmp_path, monkeypatch):
    """Each write() in turn takes what still fits, a part of it, and the one after that fails."""
    save(tmp_path, 1)
    plain, room = os.write, 0

    def full(descriptor, data):
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = plain(descriptor, data[:room])
        room -= count
        return count

    total = sum(path.stat().st_size for path in (tmp_path / "step-000001").iterdir())
    monkeypatch.setattr(os, "write", full)
    for fits in range(0, total, 37):
        room = fits
        fails_cleanly(tmp_path, errno.ENOSPC)
    room = total
    save(tmp_path, 2)
    assert held(tmp_path) == [1, 2]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_an_error_at_any_boundary_leaves_the_older_ones_alone(tmp_path, monkeypatch, number):
    save(tmp_path, 1)
    names = []
    monkeypatch.setattr(checkpoints, "_boundary", names.append)
    save(tmp_path, 2)
    shutil.rmtree(tmp_path / "step-000002")
    assert "rename" in names
    for n in range(names.index("rename") + 1):
        calls = iter(range(1000))

        def fail(_name, n=n, calls=calls):
            if next(calls) == n:
                raise OSError(number, os.strerror(number))

        monkeypatch.setattr(checkpoints, "_boundary", fail)
        fails_cleanly(tmp_path, number)


def test_a_disk_that_is_known_to_be_too_small_is_not_written_to(tmp_path, monkeypatch):
    save(tmp_path, 1)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    monkeypatch.setattr(os, "write", lambda *_: pytest.fail("written to"))
    fails_cleanly(tmp_path, errno.ENOSPC)
    with pytest.raises(OSError, match="No space left on device, 100 bytes are free"):
        save(tmp_path, 2)
    before = len(files(1)["model.safetensors"]) + len("{}")  # as large as before, where it is not made yet
    with pytest.raises(OSError, match=f"a checkpoint of {before} bytes"):
        write(tmp_path, 2, {"model.safetensors": lambda file: pytest.fail("written to")}, {})


def test_an_interrupted_save_leaves_nothing(tmp_path):
    save(tmp_path, 1)

    def interrupt(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, 2, {"model.safetensors": interrupt}, {})
    assert os.listdir(tmp_path) == ["step-000001"]


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a small file system takes rights that this user lacks")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_real_full_disk(small_disk):
    save(small_disk, 1)
    with pytest.raises(OSError, match="bytes are free"):
        write(small_disk, 2, {"model.safetensors": bytes(100_000)}, {})
    with pytest.raises(OSError, match="cannot be saved: No space left on device: ") as raised:
        write(small_disk, 2, {"model.safetensors": lambda file: file.write(bytes(100_000))}, {})
    assert raised.value.errno == errno.ENOSPC
    assert os.listdir(small_disk) == ["step-000001"]
    assert held(small_disk) == [1]
    save(small_disk, 2)  # there is room again
    assert held(small_disk) == [1, 2]


def test_a_real_read_only_disk(small_disk):
    save(small_disk, 1)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    fails_cleanly(small_disk, errno.EROFS)


def test_a_read_only_folder(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    save(tmp_path, 1)
    tmp_path.chmod(0o555)
    try:
        fails_cleanly(tmp_path, errno.EACCES)
    finally:
        tmp_path.chmod(0o755)


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "checkpoints").touch()
    for root in (tmp_path / "checkpoints", tmp_path / "checkpoints" / "deeper"):
        with pytest.raises(OSError, match=r"a checkpoint of .* cannot be saved: (File exists|Not a directory)"):
            save(root, 1)
    assert (tmp_path / "checkpoints").read_bytes() == b""


def test_a_real_limit_on_the_size_of_files(tmp_path):
    """The kernel's own refusal, in a process that may not write files of more than 100 bytes."""
    save(tmp_path, 1)
    script = "try:\n    save(2)\nexcept OSError as error:\n    print(error.errno, error)"
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))  # noqa: E731
    output, errors = child(script, tmp_path, preexec_fn=limit).communicate(timeout=60)
    assert output.startswith(f"{errno.EFBIG} "), errors
    assert f"cannot be saved: File too large: '{tmp_path}/step-000002'" in output
    assert os.listdir(tmp_path) == ["step-000001"]
    assert held(tmp_path) == [1]
