"""A run of a stranger has links in it: nothing outside it is written to, emptied or deleted."""

import json
import os
import shutil

import numpy as np
import pytest

import scorefield as sf
from scorefield import plots, recipes
from scorefield.anomaly import Detector
from scorefield.cli import main
from scorefield.cli._output import Results, file_name
from scorefield.recipes import presets
from scorefield.runs import reporting, train
from scorefield.storage import checkpoints, files
from scorefield.storage.lock import hold

SMALL = ("network.hidden=8", "network.depth=1", "training.batch_size=16", "training.steps=2", "logging.sample_every=2")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("links")
    np.save(folder / "mine.npy", np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32))
    given = (f"data.source={json.dumps(str(folder / 'mine.npy'))}", "data.held_out=0.0", *SMALL)
    train(folder / "run", recipes.override(presets.two_moons(), given))
    return folder / "run"


@pytest.fixture
def victim(tmp_path):
    """What links lead to: a file and a folder with checkpoints, whose content must stay."""
    (tmp_path / "file").write_bytes(b"dear")
    for step in range(1, 6):
        checkpoints.write(tmp_path / "folder", step, {"a.json": b"1"}, {})
    before = content(tmp_path)
    yield tmp_path
    assert {name: text for name, text in content(tmp_path).items() if name in before} == before
    assert not (tmp_path / "nothing").exists()


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in [*sorted(folder.glob("f*/**/*")), folder / "file"]
            if p.is_file()}  # fmt: skip


@pytest.fixture
def run(made, tmp_path):
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("target", ["file", "nothing"])
@pytest.mark.parametrize(
    "name", [".lock", "metrics.jsonl", "recipe.toml", "report.html", "training.png", "a.png", ".holder"]
)
def test_a_link_in_the_place_of_a_file_is_not_followed(run, victim, name, target):
    """By whichever writer comes to it first; where a run goes on it stops before it has trained."""
    path = run / name
    path.unlink(missing_ok=True)
    path.symlink_to(victim / target)
    for write in (lambda: files.replace(path, b"new"), lambda: files.Appended(path)):
        with pytest.raises(OSError, match="is a link, and nothing is written through one") as told:
            write()
        assert told.value.filename == str(path)
    assert path.is_symlink()
    if name in (".lock", "metrics.jsonl"):
        recipe = recipes.override(recipes.begun(run / "recipe.toml"), ["training.steps=4"])
        with pytest.raises(OSError, match="is a link"):
            train(run, recipe)


@pytest.mark.parametrize("name", ["checkpoints", "samples", "tuned", "detectors", "tensorboard", "dump-step-000003"])
def test_a_link_in_the_place_of_a_folder_is_not_followed(run, victim, name):
    shutil.rmtree(run / name, ignore_errors=True)
    (run / name).symlink_to(victim / "folder", target_is_directory=True)
    with pytest.raises(OSError, match="is a link"):
        files.subfolder(run / name)
    changes = ["training.steps=4", *(["logging.tensorboard=true"] if name == "tensorboard" else [])]
    recipe = recipes.override(recipes.begun(run / "recipe.toml"), changes)
    if name in ("checkpoints", "samples", "tensorboard"):
        with pytest.raises(OSError, match="is a link"):
            train(run, recipe)
    if name == "tuned":
        loaded = sf.load(run)
        with pytest.raises(OSError, match="is a link"):
            loaded.keep(4, loaded.tune(4, paths=2))


def test_a_link_in_the_place_of_a_checkpoint_is_none(run, victim):
    (run / "checkpoints" / "step-000009").symlink_to(victim / "folder" / "step-000005", target_is_directory=True)
    assert checkpoints.latest(run / "checkpoints", print) == run / "checkpoints" / "step-000002"
    checkpoints.prune(run / "checkpoints", 1)
    assert (run / "checkpoints" / "step-000009").is_symlink()


def test_the_report_stops_at_a_link(run, victim, monkeypatch):
    monkeypatch.setattr(reporting, "standing", lambda *a, **k: reporting.Standing([], [], {}))
    (run / "report.html").unlink(missing_ok=True)
    (run / "report.html").symlink_to(victim / "file")
    with pytest.raises(OSError, match="is a link"):
        sf.load(run).report()


def test_results_are_not_planted_through_a_link_into_nothing(run, victim):
    (run / "samples.npz").symlink_to(victim / "nothing")
    with pytest.raises(ValueError, match=r"samples\.npz exists"):
        Results(run / "samples.png").claim()
    with pytest.raises(SystemExit):
        main(["sample", str(run), "--n", "2", "--nfe", "2", "--out", str(run / "samples.png")])
    assert (run / "samples.npz").is_symlink()


def test_every_other_writer_goes_through_the_one(run, victim):
    (run / "x").symlink_to(victim / "file")
    import matplotlib.pyplot as plt
    import torch

    detector = Detector(sf.anomaly.Statistic(sf.anomaly.NegativeElbo()), torch.zeros(2, dtype=torch.float64))
    model = sf.NetworkDenoiser(sf.networks.MLP(2, 8, 1), sf.VP(), sf.V())
    for write in (
        lambda: plots.save(plt.figure(), run / "x"),
        lambda: sf.save(run / "x", model),
        lambda: detector.save(run / "x"),
    ):
        with pytest.raises(OSError, match="is a link"):
            write()


def test_the_way_to_a_run_may_have_links(run, tmp_path):
    """They are its user's: runs on another disk, say."""
    (tmp_path / "elsewhere").symlink_to(run, target_is_directory=True)
    with hold(tmp_path / "elsewhere"):
        files.replace(tmp_path / "elsewhere" / "a", b"1")
        files.replace(files.subfolder(tmp_path / "elsewhere" / "b") / "c", b"2")
    assert (run / "b" / "c").read_bytes() == b"2"


def test_a_recipes_name_is_no_way_out_of_runs():
    for name in ("../../x", "/etc/x", "a/b", "..", ".", "", "...x"):
        made = os.path.normpath(f"runs/{file_name(name)}")
        assert os.path.dirname(made) == "runs"
        assert os.path.basename(made) not in ("", ".", "..")
    assert file_name("two-moons_2.1+x") == "two-moons_2.1+x"
