"""How a run begins and is found again: `--resume` only resumes, a failed start leaves nothing, paths are absolute."""

import os

import numpy as np
import pytest

import scorefield as sf
from scorefield import recipes

SMALL = (
    "--preset", "two-moons", "--steps", 2, "--set", "training.batch_size=16", "--set", "network.hidden=8",
    "--set", "optim.warmup=2",
)  # fmt: skip


@pytest.fixture
def mine(tmp_path):
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32))
    return tmp_path


def test_resume_needs_a_run_or_what_to_begin(cli, refused, mine):
    line = "error: --resume: there is no run in {}. To begin one there, say which: --preset or --config\n"
    assert refused("train", "--resume", "--out", "none") == line.format("none")
    (mine / "empty").mkdir()
    assert refused("train", "--resume", "--out", "empty", "--data", "mine.npy") == line.format("empty")
    assert not (mine / "none").exists()
    assert cli("train", *SMALL, "--data", "mine.npy", "--resume", "--out", "none").returncode == 0
    assert cli("train", "--resume", "--out", "none").returncode == 0


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("--set", "network.type=UNet"), "unknown key 'network.hidden'"),  # found as it is built
        (("--data", "none.npy"), "'none.npy' is no path, and no name"),
        (("--set", "optim.warmup=-1"), "optim.warmup in --set"),
        (("--set", "training.bf16=1", "--set", "training.accumulate=3"), "accumulate"),  # found by fit
        (("--device", "cuda:99"), "cuda:99"),
    ],
)
def test_a_start_that_fails_leaves_nothing_and_the_corrected_command_works(cli, refused, mine, flags, line):
    command = ("train", *SMALL, "--data", "mine.npy", "--out", "deep/run")
    done = cli(*command, *flags)
    assert done.returncode == 2
    assert line in done.stderr
    assert sorted(os.listdir(mine)) == ["mine.npy"]
    assert cli(*command).returncode == 0


def test_a_folder_that_was_there_stays_and_what_is_in_it(cli, mine, monkeypatch):
    (mine / "run").mkdir()
    assert cli("train", *SMALL, "--data", "none.npy", "--out", "run").returncode == 2
    assert os.listdir(mine / "run") == []

    def fails(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("scorefield.runs.training.fit", fails)  # after the recipe was written
    assert cli("train", *SMALL, "--data", "mine.npy", "--out", "run").returncode == 2
    assert os.listdir(mine / "run") == []
    assert cli("train", *SMALL, "--data", "mine.npy").stderr.endswith("No space left on device\n")
    assert not (mine / "runs").exists()


def test_a_run_that_was_begun_is_kept(cli, mine, monkeypatch):
    assert cli("train", *SMALL, "--data", "mine.npy", "--out", "run").returncode == 0
    before = sorted(os.listdir(mine / "run"))
    monkeypatch.setattr("scorefield.runs.training.fit", lambda *a, **o: 1 / 0)
    assert cli("train", "--resume", "--out", "run", "--steps", 3).returncode == 2
    assert sorted(os.listdir(mine / "run")) == before


def test_a_run_and_its_data_are_found_from_anywhere(cli, invoke, mine, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = cli("train", *SMALL, "--data", "mine.npy", "--set", "data.test=mine.npy", "--out", "run")
    assert f"rows of {mine.resolve()}/mine.npy; held out are the 200 of {mine.resolve()}/mine.npy" in done.stderr
    kept = recipes.load(mine / "run" / "recipe.toml").data
    assert (kept.source, kept.test) == (str(mine.resolve() / "mine.npy"),) * 2
    done = invoke(elsewhere, "likelihood", mine / "run", "--n", 4)
    assert done.returncode == 0, done.stderr
    assert "4 of 200 held-out data of mine.npy" in done.stdout
    assert invoke(elsewhere, "train", "--resume", "--out", mine / "run", "--steps", 3).returncode == 0


def test_paths_in_a_recipe_are_those_of_its_folder(cli, invoke, mine, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    recipe = cli("train", *SMALL, "--data", "mine.npy", "--show").stdout
    (mine / "my.toml").write_text(recipe)
    assert 'source = "mine.npy"' in recipe  # as it was said; the run's own is absolute
    done = invoke(elsewhere, "train", "--config", mine / "my.toml", "--out", "run")
    assert f"rows of {mine.resolve()}/mine.npy;" in done.stderr
    again = invoke(elsewhere, "train", "--config", mine / "my.toml", "--out", "run", "--resume")
    assert again.returncode == 0, again.stderr
    (elsewhere / "mine.npy").write_bytes((mine / "mine.npy").read_bytes())
    assert recipes.load(mine / "my.toml").data.source == str(mine.resolve() / "mine.npy")  # its own first
    os.rename(mine / "mine.npy", mine / "other.npy")
    done = invoke(elsewhere, "train", "--config", mine / "my.toml", "--out", "second")
    assert f"rows of {elsewhere.resolve()}/mine.npy;" in done.stderr  # then the working directory's


def test_names_are_no_paths(mine):
    (mine / "digits").mkdir()
    recipe = recipes.presets.digits()
    assert recipes.absolute(recipe, mine).data.source == "digits"


def test_teachers_and_starts_are_found_too(mine):
    (mine / "t").mkdir()
    recipe = recipes.presets.two_moons().model_copy(update={"task": "flow-map", "teacher": "t", "start": "none"})
    found = recipes.absolute(recipe, mine)
    assert (found.teacher, found.start) == (str(mine / "t"), "none")


def test_runs_train_makes_paths_absolute_too(mine, monkeypatch):
    monkeypatch.chdir(mine)
    recipe = recipes.override(
        recipes.presets.two_moons("mine.npy"), ["training.steps=2", "network.hidden=8", "training.batch_size=16"]
    )
    said = []
    run = sf.runs.train("run", recipe, say=said.append)
    assert run is not None
    assert run.recipe is not None
    assert run.recipe.data.source == str(mine.resolve() / "mine.npy")
    assert len(said) == 1
