"""Help imports little, errors are one line, the traceback is there for those who ask."""

import os
import signal
import subprocess
import sys

import pytest

from scorefield.cli._errors import one_line

COMMANDS = (
    [],
    ["quickstart"],
    ["train"],
    ["sample"],
    ["encode"],
    ["edit"],
    ["demo"],
    ["demo", "score-field"],
    ["demo", "schedules"],
    ["data"],
    ["data", "fetch"],
    ["data", "show"],
)
HEAVY = ("torch", "matplotlib", "scipy", "sklearn", "numpy", "PIL", "safetensors")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_imports_nothing_heavy(environment, command):
    """What a second of waiting would be for: the interpreter says itself what it imports."""
    ask = [sys.executable, "-X", "importtime", "-m", "scorefield", *command, "--help"]
    done = subprocess.run(ask, env=environment, capture_output=True, text=True, check=True)
    assert "Usage: scorefield" in done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    imported = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}
    assert {"scorefield", "typer"} <= imported  # they are found where they are
    assert imported.isdisjoint(HEAVY)


def test_version(process):
    import scorefield

    assert process("--version").stdout == f"scorefield {scorefield.__version__}\n"


def test_without_a_command_the_help_is_shown(cli):
    done = cli()
    assert "quickstart" in done.stdout
    assert "Traceback" not in done.stderr


def test_unknown_command_names_the_nearest(refused):
    assert refused("quikstart") == (
        "error: No such command 'quikstart'. Did you mean 'quickstart'? See scorefield --help.\n"
    )


def test_unknown_option(refused):
    line = refused("demo", "schedules", "--sed", "1")
    assert "--sed" in line
    assert "scorefield demo schedules --help" in line


def test_bad_value(refused):
    line = refused("demo", "schedules", "--seed", "one")
    assert "--seed" in line
    assert "one" in line


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_the_traceback(cli, place):
    command = ["demo", "score-field", "--distribution", "nothing-like-it"]
    done = cli(*(["--debug", *command] if place == "before" else [*command, "--debug"]))
    assert done.returncode == 2
    assert "Traceback (most recent call last)" in done.stderr
    assert "error: unknown distribution" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "command",
    [["quickstart"], ["train", "--preset", "digits"], ["demo", "score-field"], ["demo", "schedules"]],
    ids=" ".join,
)
def test_unwritable_output_is_found_before_any_work(refused, tmp_path, monkeypatch, command):
    (tmp_path / "file").write_text("a file")
    # importing any of these fails now: the folder is refused before
    monkeypatch.setitem(sys.modules, "scorefield.runs", None)
    monkeypatch.setitem(sys.modules, "scorefield.demos.score_field", None)
    monkeypatch.setitem(sys.modules, "scorefield.demos.schedules", None)
    assert refused(*command, "--out", "file/run").startswith("error: cannot write to file/run: not a directory")
    assert refused(*command, "--out", "file") == "error: cannot write to file: it is a file, not a folder\n"
    assert (tmp_path / "file").read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(refused, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    assert "permission denied" in refused("demo", "schedules", "--out", "locked/run")


def test_unexpected_errors_say_what_they_are(monkeypatch, capsys):
    from scorefield import cli
    from scorefield.cli import demo

    def broken(*args: object) -> None:
        raise KeyError("a mistake of ours\nin two lines")

    monkeypatch.setattr(demo, "picture_folder", broken)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["demo", "schedules"])
    assert stopped.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("error: KeyError: ")
    assert "--debug" in line
    assert line.count("\n") == 1


def test_control_c_is_one_line_and_130(environment, tmp_path):
    command = [sys.executable, "-m", "scorefield", "demo", "score-field"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()  # the first picture is there: it is at work
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "interrupted\n"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to.\nError 12"),
    ],
)
def test_no_memory_is_one_line(error):
    assert one_line(error) == "out of memory: try a smaller --n, batch or model"


def test_an_infinite_rate_is_refused_by_its_key(refused):
    assert "optim.lr in --set: " in refused("train", "--set", "optim.lr=inf", "--out", "run")
