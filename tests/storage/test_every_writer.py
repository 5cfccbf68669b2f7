"""Every writer, every fault at every system call: the old file or the new one, whole, and a line that names it."""

import ast
import contextlib
import io
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from faults import ERRORS, KINDS, Calls, Killed
from matplotlib.figure import Figure

import scorefield as sf
from scorefield import data, plots
from scorefield.anomaly import Detector, NegativeElbo, Statistic
from scorefield.cli import _output
from scorefield.cli import _results as cli
from scorefield.plots.page import Row, write_page
from scorefield.runs import data as run_data
from scorefield.runs import tables, tunings
from scorefield.sampling.tuning import Distance, Tuning
from scorefield.solvers import Tuned
from scorefield.storage import checkpoints, files, models
from scorefield.storage.lock import hold
from scorefield.training import log

TALLY: Counter[str] = Counter()
ROW = {"step": 1, "loss": 0.5, "lr": 0.1, "gradient_norm": 1.0, "seconds": 0.1}


def figure(n):
    made = Figure(figsize=(0.5, 0.5))
    made.subplots().plot([0, n])
    return made


def _model(folder, n):
    torch.manual_seed(n)
    models.save(folder / "m.safetensors", sf.NetworkDenoiser(sf.networks.MLP(2, 4, 1), sf.VP(), sf.V()), {"n": n})
    return folder / "m.safetensors"


def _tuned(folder, n):
    distance = Distance(0.1, 0.1)
    return tunings.write(folder, n, Tuning(Tuned((1.0, 0.0), ((1.0, 1.0),)), *[distance] * 3), f"{n}")


def _results(folder, n):
    out = _output.Results(folder / "a.png")
    with contextlib.redirect_stdout(io.StringIO()):
        cli.write_summary(out, {"n": n})
    return out.summary


def _numbers(folder, n):
    _output.to_json(str(folder / "a.json"), {"n": n})
    return folder / "a.json"


def _page(folder, n):
    return write_page(folder / "p.html", title=f"{n}", lead="", rows=[Row("a", "b")], sections=[], facts=[])


def _table(folder, n):
    tables.write(folder / "a.csv", pd.DataFrame({"a": [n, 2]}))
    return folder / "a.csv"


def _detector(folder, n):
    path = folder / "d.json"
    Detector(Statistic(NegativeElbo()), torch.arange(n, dtype=torch.float64)).save(path)
    return path


def _rows(folder, n):
    run_data.record(folder, data.Arrays(np.full((9, 2), n, np.float32)))
    return folder / run_data.ROWS


def _log(folder, n):
    path = folder / "metrics.jsonl"
    if not path.exists():
        path.write_bytes(b"".join(log.line({**ROW, "step": step}) for step in range(1, 10)))
    log.cut(path, 9 - n, print)
    return path


WRITERS = {
    "any file": lambda folder, n: _returning(files.replace, folder / "a", b"0123456789" * n),
    "arrays": lambda folder, n: cli.save_npz(folder / "a.npz", x=torch.full((3, 3), n)),
    "a summary": _results,
    "numbers of --json": _numbers,
    "a model": _model,
    "a tuned sampler": _tuned,
    "a page": _page,
    "a picture": lambda folder, n: plots.save(figure(n), folder / "a.png"),
    "a table": _table,
    "a detector": _detector,
    "the rows trained on": _rows,
    "the log, cut": _log,
}


def _returning(write, path, *args):
    write(path, *args)
    return path


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    """Pictures are drawn, and disks waited for, elsewhere: here it matters which calls are made."""
    monkeypatch.setattr("scorefield.plots.style.png_bytes", lambda fig, **how: f"{fig.axes[0].get_ylim()}".encode())
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", WRITERS)
def test_after_any_fault_the_old_file_or_the_new_one_is_there_whole(tmp_path, name):
    write, folder = WRITERS[name], tmp_path / "f"
    folder.mkdir()
    write(folder, 1)
    old = contents(folder)
    write(folder, 2)
    new = contents(folder)
    assert old != new or name == "a tuned sampler"  # of another name each
    tried = 0
    for kind in KINDS:
        for n in range(1000):
            shutil.rmtree(folder)
            folder.mkdir()
            for file, content in old.items():
                (folder / file).parent.mkdir(exist_ok=True)
                (folder / file).write_bytes(content)
            calls = Calls(folder, kind, n)
            with calls.spoiled():
                try:
                    write(folder, 2)
                    told = None
                except (OSError, Killed) as error:
                    told = error
            if calls.made <= n:
                break
            tried += 1
            TALLY[kind] += calls.struck
            here = contents(folder)
            if kind == "kill":
                assert isinstance(told, Killed)
                here = {k: v for k, v in here.items() if not k.endswith(".tmp")}
            elif calls.names[n] == "close" or kind == "short write":
                assert told is None
            else:
                assert isinstance(told, OSError), (kind, n, calls.names)
                assert told.errno == ERRORS[kind]
                assert str(told.filename).startswith(str(folder))
                assert "\n" not in str(told)
            assert here in (old, new), (kind, n, calls.names[n])
            write(folder, 2)  # the next one goes, and clears up
            assert contents(folder) == new
    assert tried >= 30


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "the log, cut"])  # it reads first
def test_what_is_no_file_of_ours_is_refused_by_name(tmp_path, name):
    write, folder = WRITERS[name], tmp_path / "f"
    folder.mkdir()
    path = write(folder, 1)
    (tmp_path / "dear").write_bytes(b"dear")
    for kind, make, remove in (
        ("link", lambda: path.symlink_to(tmp_path / "dear"), path.unlink),
        ("link", lambda: path.symlink_to(tmp_path / "nothing"), path.unlink),
        ("FIFO", lambda: os.mkfifo(path), path.unlink),
        ("folder", path.mkdir, path.rmdir),
    ):
        path.unlink(missing_ok=True)
        make()
        with pytest.raises(OSError, match=r"is a link|is not a file") as told:
            write(folder, 1)
        assert told.value.filename == str(path)
        TALLY[kind] += 1
        remove()
    assert (tmp_path / "dear").read_bytes() == b"dear"
    assert not (tmp_path / "nothing").exists()
    shutil.rmtree(folder)
    with pytest.raises(OSError, match="No such file") as told:
        write(folder, 1)
    assert str(told.value.filename).startswith(str(folder))
    assert not folder.exists()
    TALLY["deleted parent"] += 1


def test_a_log_grows_by_whole_lines_or_says_so(tmp_path):
    """What was there before stays; of the line that failed there is a part at most, which is read as none."""
    for kind in KINDS:
        for n in range(100):
            path = tmp_path / "metrics.jsonl"
            path.write_bytes(log.line(ROW))
            calls = Calls(tmp_path, kind, n)
            with calls.spoiled():
                try:
                    appended = files.Appended(path)
                    appended.write(log.line({**ROW, "step": 2}))
                    appended.close()
                    told = None
                except (OSError, Killed) as error:
                    told = error
            if calls.made <= n:
                break
            TALLY[kind] += calls.struck
            rows = log.read(path).rows
            assert [row["step"] for row in rows] in ([1], [1, 2])
            assert not log.read(path).strange
            if told is None:
                assert len(rows) == 2
            elif isinstance(told, OSError):
                assert told.filename == str(path)


def test_folders_and_names_set_aside(tmp_path):
    for kind in KINDS:
        for n in range(100):
            shutil.rmtree(tmp_path / "f", ignore_errors=True)
            (tmp_path / "f").mkdir()
            (tmp_path / "f" / "log").write_bytes(b"dear")
            calls = Calls(tmp_path / "f", kind, n)
            with calls.spoiled(), contextlib.suppress(OSError, Killed):
                files.subfolder(tmp_path / "f" / "sub")
                files.aside(tmp_path / "f" / "log")
            if calls.made <= n:
                break
            TALLY[kind] += calls.struck
            kept = [p for p in (tmp_path / "f").iterdir() if p.is_file()]
            assert [p.read_bytes() for p in kept] == [b"dear"]


def test_checkpoints_of_any_fault_are_whole(tmp_path):
    """Processes that are really killed: test_checkpoint_faults.py."""
    root = tmp_path / "checkpoints"
    content = {"a.safetensors": b"a" * 300, "b.json": b"{}"}
    for kind in KINDS:
        for n in range(200):
            shutil.rmtree(root, ignore_errors=True)
            checkpoints.write(root, 1, content, {"step": 1})
            checkpoints.write(root, 2, content, {"step": 2})
            calls = Calls(tmp_path, kind, n)
            with calls.spoiled(), contextlib.suppress(OSError, Killed):
                checkpoints.write(root, 3, content, {"step": 3})
                checkpoints.prune(root, 1)
            if calls.made <= n:
                break
            TALLY[kind] += calls.struck
            found = checkpoints.latest(root, pytest.fail)
            assert found is not None
            assert checkpoints.read_state(found)["step"] in (2, 3)
            checkpoints.write(root, 4, content, {"step": 4})
            checkpoints.prune(root, 1)
            assert sorted(os.listdir(root)) == ["step-000004"], (kind, n)


def test_a_lock_that_cannot_be_written_is_let_go(tmp_path):
    for kind in ERRORS:
        for n in range(100):
            calls = Calls(tmp_path, kind, n)
            with calls.spoiled(), contextlib.suppress(OSError, ValueError), hold(tmp_path):
                pass
            if calls.made <= n:
                break
            TALLY[kind] += calls.struck
            with hold(tmp_path):
                pass


ALLOWED = {"storage/files.py", "storage/checkpoints.py", "data/download.py"}  # the last one's parts are resumed
OF = {"os": ("replace", "rename", "open"), "np": ("save", "savez", "savez_compressed"), "shutil": ("copy", "move")}


def writes(call):
    """What a call writes a file with, if it does."""
    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    of = getattr(getattr(call.func, "value", None), "id", "")
    if called == "open":
        modes = [a.value for a in (*call.args, *(k.value for k in call.keywords)) if isinstance(a, ast.Constant)]
        return called if any(re.fullmatch("[rb+t]*[wax+][rb+t]*", m) for m in modes if isinstance(m, str)) else ""
    return called if called in ("write_text", "write_bytes", "savefig", "save_file", *OF.get(of, ())) else ""


def test_nothing_else_in_the_library_writes():
    """A writer of its own would pass by all this."""
    source, found = Path(sf.__file__).parent, []
    for path in sorted(source.rglob("*.py")):
        name = path.relative_to(source).as_posix()
        calls = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
        found += [f"{name} {way}" for call in calls if name not in ALLOWED and (way := writes(call))]
    # these write into memory
    shards = [f"storage/shards.py {way}" for way in ("open", "save", "savez_compressed")]
    assert sorted(found) == ["runs/data.py save", *shards]


def test_the_count(capsys):
    if len(TALLY) < 8:
        pytest.skip("of all tests of this file")
    with capsys.disabled():
        print("\nfaults:", dict(sorted(TALLY.items())), "in all", sum(TALLY.values()))
