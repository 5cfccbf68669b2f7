"""What the project says of itself, where it stands in two places: files, versions, bounds."""

import re
import tomllib
from pathlib import Path

import pytest

import scorefield as sf

ROOT = Path(__file__).parents[1]
GUIDE = re.sub(r"```.*?```", "", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.DOTALL)
QUESTIONS = (
    "Where is DDIM's update?",
    "Where is a condition cut?",
    "What does a checkpoint hold?",
    "How do I add a schedule?",
    "How do I load a run?",
)
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]*|[\w.-]+\.(?:py|pyi|md|toml|txt|cff))`")


@pytest.mark.parametrize("path", sorted(set(PATH.findall(GUIDE))))
def test_every_path_a_contributor_is_sent_to_is_there(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_newcomers_question_is_answered_by_one_file(question):
    (row,) = [line for line in GUIDE.splitlines() if line.startswith(f"| {question} |")]
    (path,) = PATH.findall(row)
    assert path.startswith("src/scorefield/")
    assert path.endswith(".py")


def test_every_check_a_contributor_is_told_of_is_one():
    names = re.findall(r"`(check_\w+)`", GUIDE)
    assert len(names) == 5
    assert [name for name in names if not callable(getattr(sf.checks, name, None))] == []


def test_the_version_is_the_same_everywhere():
    version = sf.__version__
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {version}\n" in cited
    (date,) = re.findall(r"^date-released: (.*)$", cited, re.MULTILINE)
    assert f"\n## {version} - {date}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_lower_bounds_are_those_that_are_tested():
    """Each bound of a dependency, and of an extra that `make lowest` installs, is a pin of constraints-lowest.txt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (extras,) = re.findall(r'constraints-lowest\.txt -e "\.\[(.*)\]"', makefile)
    asked = project["dependencies"] + [r for e in extras.split(",") for r in project["optional-dependencies"][e]]
    bounds = dict(requirement.split(">=") for requirement in asked)
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))

    def padded(version):
        return (*map(int, version.split(".")), 0, 0)[:3]

    assert {name: padded(pins[name]) for name in bounds} == {name: padded(bound) for name, bound in bounds.items()}
