"""`scorefield diagnose` on a small two-dimensional run."""

import json

import pytest


@pytest.fixture(scope="module")
def run(invoke, tmp_path_factory):
    folder = tmp_path_factory.mktemp("diagnosed")
    for command in (
        ("train", "--preset", "two-moons", "--steps", 300, "--out", "moons"),
        ("diagnose", "moons", "--n", 256),
    ):
        done = invoke(folder, *command)
        assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_it_says_a_sentence_and_a_table_and_writes_page_picture_and_json(run):
    folder, said = run
    written = json.loads((folder / "moons/diagnosis-seed0.json").read_text())
    assert said.startswith(written["sentence"])
    assert len(written["levels"]) == 20
    assert f"{written['levels'][0]['error']:9.2e}" in said
    assert (folder / "moons/diagnosis-seed0.png").stat().st_size > 10_000
    page = (folder / "moons/diagnosis-seed0.html").read_text()
    assert "<h1>Diagnosis: moons</h1>" in page
    assert "data:image/png" in page


def test_json_alone_and_what_is_refused(run, invoke):
    folder, _ = run
    done = invoke(folder, "diagnose", "moons", "rings", "--n", 64, "--out", "other.png", "--json", "-")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)  # another law than it was trained on
    assert found == json.loads((folder / "other.json").read_text())
    assert found["findings"]
    for command, line in (
        (("diagnose", "moons"), "diagnosis-seed0.png exists"),
        (("diagnose", "nowhere"), "no run at nowhere"),
    ):
        done = invoke(folder, *command)
        assert done.returncode == 2
        assert line in done.stderr
