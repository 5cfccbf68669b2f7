"""One run, one folder."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from scorefield.training.lock import hold

HOLDER = """
import sys, time
from pathlib import Path
from scorefield.training.lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def held_by_another(folder):
    """A second process that has the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_second_process_is_refused_and_told_who_has_it_until_that_one_is_dead(tmp_path):
    with held_by_another(tmp_path) as other:
        said = rf"is in use by process {other.pid} since {time.strftime('%Y-')}..-.. ..:..:..$"
        for _ in range(2):  # a refusal leaves everything as it was
            with pytest.raises(ValueError, match=said), hold(tmp_path):
                pass
        other.send_signal(signal.SIGKILL)
        other.wait()
        with hold(tmp_path):
            assert f"process {os.getpid()} " in (tmp_path / ".lock").read_text()


def test_it_is_let_go_of_at_the_end_of_the_block_whatever_ends_it(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), hold(tmp_path):
            raise KeyboardInterrupt


def test_two_blocks_of_one_process_exclude_each_other(tmp_path):
    with hold(tmp_path), pytest.raises(ValueError, match=f"is in use by process {os.getpid()}"), hold(tmp_path):
        pass


def test_folders_are_apart(tmp_path):
    (tmp_path / "other").mkdir()
    with hold(tmp_path), hold(tmp_path / "other"):
        pass
