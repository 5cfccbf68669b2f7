"""The command line is tested as a user meets it: arguments in; an exit code, two streams and files out.

`cli` calls it in this process, since importing torch takes longer than most commands; `process` starts a real one, for
what only a process has: start-up time, signals, a fresh interpreter.
"""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from scorefield.cli import main

ROOT = Path(__file__).parents[2]


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def call(cwd: Path, *args: str | Path | int) -> Done:
    """`scorefield *args` in the folder `cwd`, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(arg) for arg in args])
        except SystemExit as stop:
            code = stop.code
    assert isinstance(code, int)
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def invoke() -> Callable[..., Done]:
    """`invoke(folder, "demo", "schedules")`, for fixtures that outlive a test."""
    return call


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def cli(tmp_path: Path) -> Callable[..., Done]:
    """`cli("demo", "schedules")` runs the command in an empty folder."""
    return lambda *args: call(tmp_path, *args)


@pytest.fixture
def refused(cli: Callable[..., Done]) -> Callable[..., str]:
    """Runs a command that must fail: exit code 2, nothing on stdout, one line on stderr, which is returned."""

    def run(*args: str | Path | int) -> str:
        done = cli(*args)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: "), done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert done.stdout == ""
        return done.stderr

    return run


@pytest.fixture
def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def process(environment: dict[str, str], tmp_path: Path) -> Callable[..., Done]:
    """Like `cli`, in a process of its own."""

    def run(*args: str) -> Done:
        command = [sys.executable, "-m", "scorefield", *args]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run
