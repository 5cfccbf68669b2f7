import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from scorefield.storage.lock import hold

HOLD = """
import pathlib, sys, time
from scorefield.storage.lock import hold
with hold(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
print("released", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def other(tmp_path):
    """A second process that holds the folder."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def enter(folder):
    with hold(folder):
        return True


def test_a_folder_held_by_another_process_is_refused_by_name(tmp_path, other):
    with pytest.raises(ValueError, match=f"{tmp_path} is in use by process {other.pid} since 2") as raised:
        enter(tmp_path)
    assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d$", str(raised.value))
    assert enter(tmp_path.parent)  # only that one


def test_leaving_the_block_lets_go(tmp_path, other):
    print(file=other.stdin, flush=True)
    assert other.stdout.readline() == "released\n"
    assert other.poll() is None
    assert enter(tmp_path)


def test_death_lets_go(tmp_path, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert f"process {other.pid}" in (tmp_path / ".holder").read_text()  # it had no time to say goodbye
    assert enter(tmp_path)


def test_an_error_in_the_block_lets_go(tmp_path):
    with pytest.raises(RuntimeError, match="mine"), hold(tmp_path):
        raise RuntimeError("mine")
    assert enter(tmp_path)


def test_one_process_cannot_hold_a_folder_twice(tmp_path):
    refused = []

    def try_it():
        with pytest.raises(ValueError, match=f"is in use by process {os.getpid()} since"):
            enter(tmp_path)
        refused.append(True)

    with hold(tmp_path):
        try_it()
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
    assert refused == [True, True]
    assert enter(tmp_path)


def test_what_is_not_a_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(ValueError, match=f"folder must exist to be locked; there is none at {path}"):
            enter(path)
    assert os.listdir(tmp_path) == ["file"]
