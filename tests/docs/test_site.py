"""The site builds without a warning, and every page is there as Markdown."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
needs_sphinx = pytest.mark.skipif(importlib.util.find_spec("sphinx_gallery") is None, reason="needs the extra `docs`")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as `make docs FAST=1` builds it."""
    out = tmp_path_factory.mktemp("site")
    command = f"-m sphinx -q -b html -c docs -W --keep-going -D plot_gallery=0 -d {out / 'doctrees'} . {out / 'html'}"
    done = subprocess.run([sys.executable, *command.split()], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out / "html"


@needs_sphinx
def test_every_page_is_there_as_markdown_and_listed(site):
    found = (p.relative_to(site) for p in site.rglob("*.html"))
    pages = {p.with_suffix("").as_posix() for p in found if p.parts[0] != "_static"}  # the playground's file is no page
    made = {page for page in pages if "/" in page or page.isupper()}  # the rest are indices and the way in
    assert [page for page in sorted(made) if not (site / f"{page}.md").is_file()] == []
    listed = re.findall(r"\]\((\S+)\.md\)", (site / "llms.txt").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(made)
    assert len(made) > 60


@needs_sphinx
def test_formulas_are_drawn_and_examples_are_linked(site):
    losses = (site / "docs/api/scorefield.losses.integrands.html").read_text(encoding="utf-8")
    assert "<math" in (site / "docs/conventions.html").read_text(encoding="utf-8")
    assert "01_score.html" in (site / "docs/api/scorefield.distributions.html").read_text(encoding="utf-8")
    assert "02_score_matching.html" in losses
    markdown = (site / "docs/lessons/01_score.md").read_text(encoding="utf-8")
    assert "```python\n" in markdown
    assert ":math:" not in markdown


@needs_sphinx
def test_scenes_stand_live_in_the_lessons(site):
    """Each frame's file is there, needs nothing from elsewhere, and the link leads to the same place."""
    said = re.compile(r"^\.\. scene:: (\w+)$", re.MULTILINE)
    found = {
        p.stem: m[1] for p in sorted((ROOT / "docs/course").glob("*.py")) if (m := said.search(p.read_text("utf-8")))
    }
    assert len(found) == 6
    for lesson, scene in found.items():
        page = (site / f"docs/lessons/{lesson}.html").read_text(encoding="utf-8")
        frame = re.search(rf'<iframe class="scene" src="([^"#]+)#scene={scene}" title="[^"]+" loading="lazy">', page)
        assert frame
        assert "default-src 'none'" in (site / "docs/lessons" / frame[1]).read_text(encoding="utf-8")
        assert f'href="{frame[1]}#scene={scene}"' in page
        assert f"]({frame[1]}#scene={scene})" in (site / f"docs/lessons/{lesson}.md").read_text(encoding="utf-8")
