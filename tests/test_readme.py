"""The code in the pages runs, and the pictures they show are there."""

import re
from pathlib import Path

import pytest

from scorefield import recipes, runs

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [
    pytest.param(code, id=f"{page.name}-{i}")
    for page in PAGES
    for i, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
]


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """What `scorefield train --preset digits` leaves, of a small network after two steps."""
    folder = tmp_path_factory.mktemp("readme") / "runs" / "digits"
    small = ["network.width=8", "training.steps=2", "optim.warmup=1"]
    runs.train(folder, recipes.override(recipes.presets.digits(), small))
    return folder


@pytest.mark.parametrize("code", BLOCKS)
def test_code_blocks_run(code, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    if "runs/digits" in code:
        (tmp_path / "runs").symlink_to(request.getfixturevalue("digits").parent)
    exec(compile(code, "block", "exec"), {"__name__": "block"})


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing
