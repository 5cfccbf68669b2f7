"""`scorefield play`: the file it writes, the server it starts, and the lines it says."""

import json
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest

from scorefield.play.export import joined, modules
from scorefield.play.shown import BUDGETS, SCHEDULES, SOLVERS, Unit, method, shown

PLAY = [sys.executable, "-m", "scorefield", "play"]


def test_the_exported_file_is_whole_and_never_written_over(tmp_path):
    out = tmp_path / "page.html"
    first = subprocess.run([*PLAY, "--export", str(out)], capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert re.fullmatch(rf"wrote {out}, \d+ kB: open it in a browser\n", first.stdout)
    text = out.read_text(encoding="utf-8")
    assert len(text) < 1e6
    assert "http:" not in text.replace("http://www.w3.org", "")
    links = re.findall(r'<a href="https://(doi.org|arxiv.org|jmlr.org)/[\w./-]+">', text)
    assert text.count("https:") == len(links) > 10  # what one may click on, and nothing that is loaded
    again = subprocess.run([*PLAY, "--export", str(out)], capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr) == (2, f"error: {out} exists; --overwrite replaces it\n")
    over = subprocess.run([*PLAY, "--export", str(out), "--overwrite"], capture_output=True, text=True, check=False)
    assert over.returncode == 0
    assert out.read_text(encoding="utf-8") == text  # the same bytes every time


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_the_server_says_where_it_is_serves_many_and_stops_at_once():
    running = subprocess.Popen([*PLAY, "--port", "0", "--no-open"], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    line = running.stdout.readline()
    (address,) = re.findall(r"the playground is at (http://127\.0\.0\.1:\d+/) \(Ctrl-C stops it\)", line)
    failures = []

    def visit():
        for name in ("", "exact.js", "app.js", "shown.json", "none"):
            try:
                with urllib.request.urlopen(address + name, timeout=30) as answer:
                    answer.read()
            except urllib.error.HTTPError as error:
                if error.code != 404 or name != "none":
                    failures.append(name)
            except OSError as error:
                failures.append(error)

    visitors = [threading.Thread(target=visit) for _ in range(50)]
    for v in visitors:
        v.start()
    for v in visitors:
        v.join()
    assert failures == []
    running.send_signal(signal.SIGINT)
    assert running.wait(10) == 0


def test_a_missing_part_is_named(monkeypatch):
    import scorefield.cli.play as command

    monkeypatch.setitem(sys.modules, "scorefield.play.server", None)
    with pytest.raises(ValueError, match=r'the playground needs .*: pip install "scorefield\[play\]"'):
        command.play(no_open=True)


def test_what_is_no_run_is_refused_before_anything_is_served(tmp_path):
    import scorefield.cli.play as command

    with pytest.raises(FileNotFoundError, match=f"^no run at {tmp_path / 'none'}$"):
        command.play(run=[tmp_path / "none"], no_open=True)
    with pytest.raises(FileNotFoundError, match=r"^no checkpoint in "):
        command.play(run=[tmp_path], no_open=True)
    with pytest.raises(ValueError, match="--export writes a page without a server, and a run needs one"):
        command.play(run=[tmp_path], export=tmp_path / "page.html")
    with pytest.raises(ValueError, match="--export writes the page, and --at opens it somewhere"):
        command.play(at="#scene=race", export=tmp_path / "page.html")


def test_the_page_offers_what_python_wrote():
    """Names in plans.js are those of shown.py, and every plan that a method has is there."""
    text = modules()["plans.js"]
    for name in [*SCHEDULES, *SOLVERS]:
        assert f"'{name}'" in text
    assert f"BUDGETS = [{', '.join(map(str, BUDGETS))}]" in text
    plans = json.loads(shown())["plans"]
    for solver in SOLVERS:
        for schedule in SCHEDULES:
            for nfe in BUDGETS:
                key = f"{solver}|{schedule}|{nfe}"
                if key in plans:
                    assert 0 < plans[key]["nfe"] <= nfe
                else:
                    chosen, grid = method(solver, schedule, nfe)
                    with pytest.raises(ValueError, match="singular"):
                        chosen.plan(Unit(SCHEDULES[schedule]), grid)


def test_modules_come_after_what_they_import_and_are_joined_into_one():
    names = list(modules())
    assert names.index("exact.js") < names.index("state.js") < names.index("scenes/field.js") < names.index("app.js")
    script = joined()
    assert not re.search(r"^(import|export) ", script, re.MULTILINE)
