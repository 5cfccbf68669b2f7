"""Each lesson of the course runs, checks itself and draws."""

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "docs" / "course").glob("[0-9]*.py"))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda p: p.stem)
def test_a_lesson_runs_checks_itself_and_draws(lesson, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(lesson)])
    runpy.run_path(str(lesson), run_name="__main__")
    assert list(tmp_path.glob("*.png"))
    assert capsys.readouterr().out
    text = lesson.read_text(encoding="utf-8")
    assert text.index("# Exercise") < text.rindex("assert ")


def test_the_course_lists_its_lessons():
    listed = re.findall(r"\]\(course/(\d\d_\w+)\.py\)", (ROOT / "docs/course.md").read_text(encoding="utf-8"))
    assert listed == [path.stem for path in LESSONS]
