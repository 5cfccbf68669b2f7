"""A run goes on with its data, its recipe and its checkpoints, or says which of them is not its own."""

import json
import os
import shutil

import numpy as np
import pytest

import scorefield as sf
from scorefield import recipes, runs
from scorefield.recipes import presets
from scorefield.runs import train
from scorefield.storage import checkpoints, models
from scorefield.storage.lock import hold

SMALL = ("network.hidden=8", "network.depth=1", "training.batch_size=16", "training.steps=4")


def rows(seed=0):
    return np.random.default_rng(seed).normal(size=(100, 2)).astype(np.float32)


def recipe_of(path, *changes):
    given = (f"data.source={json.dumps(str(path))}", "data.held_out=0.0", *SMALL, *changes)
    return recipes.override(presets.two_moons(), given)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of 4 steps on mine.npy, saved after 2 and 4."""
    folder = tmp_path_factory.mktemp("bound")
    np.save(folder / "mine.npy", rows())
    train(folder / "run", recipe_of(folder / "mine.npy", "logging.checkpoint_every=2"))
    return folder


@pytest.fixture
def here(trained, tmp_path):
    """A copy of it, whose data stay where they are."""
    shutil.copytree(trained / "run", tmp_path / "run")
    shutil.copy(trained / "mine.npy", tmp_path / "mine.npy")
    text = (tmp_path / "run" / "recipe.toml").read_text()
    return tmp_path, recipes.loads(text)


@pytest.fixture
def mine(trained):
    """The data, put back afterwards."""
    yield trained / "mine.npy"
    np.save(trained / "mine.npy", rows())


def more(recipe, steps=6):
    return recipes.override(recipe, [f"training.steps={steps}"])


OTHERS = {
    "in another order": lambda x: x[::-1],
    "one number": lambda x: x + 0.01 * (np.arange(200).reshape(100, 2) == 1).astype(np.float32),
    "in other units": lambda x: 5 * x + 3,
}


@pytest.mark.parametrize("how", OTHERS)
def test_other_data_of_the_same_shape_are_refused(here, mine, how):
    folder, recipe = here
    before = checkpoints.read_state(folder / "run" / "checkpoints" / "step-000004")
    np.save(mine, OTHERS[how](rows()))
    with pytest.raises(
        ValueError, match=r"is of another run: .*To go on all the same: --accept (data|recipe)$"
    ) as told:
        train(folder / "run", more(recipe))
    assert "\n" not in str(told.value)
    assert sorted(os.listdir(folder / "run" / "checkpoints")) == ["step-000002", "step-000004"]
    assert checkpoints.read_state(folder / "run" / "checkpoints" / "step-000004") == before
    assert (folder / "run" / "training-rows.npy").read_bytes() == (
        mine.parent / "run" / "training-rows.npy"
    ).read_bytes()


def test_other_data_are_gone_on_with_on_purpose_in_the_units_of_the_first(here, mine):
    folder, recipe = here
    first = sf.load(folder / "run").transform
    np.save(mine, OTHERS["in other units"](rows(1)))
    run = train(folder / "run", more(recipe), accept=["data"])
    assert run is not None
    assert run.checkpoint == "step-000006"
    assert run.transform == first
    assert models.read(run.path)[1] == first
    with pytest.raises(ValueError, match="accept takes data and recipe; got 'luck'"):
        train(folder / "run", more(recipe), accept=["luck"])


def test_labels_are_data(tmp_path):
    x, y = rows(), np.arange(100) % 2
    np.savez(tmp_path / "mine.npz", x=x, label=y)
    recipe = recipe_of(tmp_path / "mine.npz")
    train(tmp_path / "run", recipe)
    np.savez(tmp_path / "mine.npz", x=x, label=1 - y)
    with pytest.raises(ValueError, match=r"the data are others than those it was trained on \(data.label differs\)"):
        train(tmp_path / "run", more(recipe))


@pytest.mark.parametrize(("key", "old", "new"), [("lr", "lr = 0.004", "lr = 0.4"), ("seed", "seed = 0", "seed = 7"),
                                                 ("flip", "flip = 0.0", "flip = 0.5")])  # fmt: skip
def test_a_recipe_that_was_edited_is_refused_or_gone_on_with_on_purpose(here, key, old, new):
    folder, _ = here
    path = folder / "run" / "recipe.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    edited = more(recipes.begun(path))
    with pytest.raises(ValueError, match=f"was changed since the run began: .*{key} is .* --accept recipe$"):
        train(folder / "run", edited)
    run = train(folder / "run", edited, accept=["recipe"])
    assert run is not None
    assert run.recipe == edited


def test_a_recipe_that_was_lost_is_written_anew_from_a_checkpoint(here):
    folder, recipe = here
    path = folder / "run" / "recipe.toml"
    kept = recipe.model_copy(update={"logging": type(recipe.logging)()})  # equal runs may log otherwise
    path.unlink()
    assert sf.load(folder / "run").recipe == kept
    told = []
    assert runs.recover(folder / "run", told.append)
    assert recipes.begun(path) == kept
    assert told == [f"{path} was lost, and is written anew from a checkpoint"]
    assert not runs.recover(folder / "run", told.append)


def test_what_is_in_the_folder_is_asked_under_the_lock(here, monkeypatch):
    """Another process begins a run there while this one reads its data."""
    folder, recipe = here
    new = folder / "new"
    build = recipes.build

    def meanwhile(*args, **kwargs):
        if not new.exists():
            shutil.copytree(folder / "run", new)
        return build(*args, **kwargs)

    monkeypatch.setattr(recipes, "build", meanwhile)
    with pytest.raises(ValueError, match="holds a run, which another process has begun meanwhile"):
        train(new, recipe, resume=False)
    shutil.rmtree(new)
    with pytest.raises(ValueError, match=r"optim.lr is 0.004; got 0.1"):
        train(new, recipes.override(recipe, ["optim.lr=0.1"]))
    assert recipes.begun(new / "recipe.toml") == recipe
    with hold(new), pytest.raises(ValueError, match="is in use by process"):
        train(new, more(recipe))


def damage(folder):
    for path in (folder / "checkpoints").glob("step-*/ema.safetensors"):
        path.write_bytes(b"")
    return "none of its checkpoints is whole"


def unmount(folder):
    shutil.rmtree(folder / "checkpoints")
    (folder / "checkpoints").mkdir()
    return "holds no checkpoint"


@pytest.mark.parametrize("lose", [damage, unmount])
def test_a_run_without_a_usable_checkpoint_is_begun_again_only_when_asked(here, lose):
    folder, recipe = here
    why = lose(folder / "run")
    log = (folder / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match=f"was trained for 4 steps, and .*{why}: .*--start-over"):
        train(folder / "run", more(recipe), warn=lambda line: None)
    assert (folder / "run" / "metrics.jsonl").read_bytes() == log
    told = []
    run = train(folder / "run", more(recipe), start_over=True, warn=told.append)
    assert run is not None
    assert run.history.step == [1, 2, 3, 4, 5, 6]
    assert (folder / "run" / "metrics.jsonl.1").read_bytes() == log
    assert (folder / "run" / "checkpoints.1").is_dir()
    assert [line for line in told if "is kept as" in line] == [
        f"{folder / 'run' / name} is kept as {name}.1" for name in ("checkpoints", "metrics.jsonl")
    ]


def test_a_run_that_saved_nothing_yet_begins_again_by_itself(here):
    folder, recipe = here
    unmount(folder / "run")
    log = folder / "run" / "metrics.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))  # stopped before the end of step 2's save
    run = train(folder / "run", more(recipe))
    assert run is not None
    assert run.history.step == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "line", [b"\xff\xfe{\n", b"null\n", b'{"step": null}\n', b'{"step": 3, "lo\n', b"[1]\n", b'{"step": "x"}\n']
)
def test_a_log_with_a_strange_line_stops_nothing_and_is_kept(here, line):
    folder, recipe = here
    log = folder / "run" / "metrics.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:2], line, *lines[2:], b'{"step": 5, "lo']))
    strange = log.read_bytes()
    assert sf.load(folder / "run").history.step == [1, 2, 3, 4]
    told = []
    run = train(folder / "run", more(recipe), warn=told.append)
    assert run is not None
    assert run.history.step == [1, 2, 3, 4, 5, 6]
    assert (folder / "run" / "metrics.jsonl.1").read_bytes() == strange
    assert told == [f"{log} has 1 lines that cannot be read; it is kept as metrics.jsonl.1"]
    assert log.read_bytes().splitlines(keepends=True)[:4] == lines


def test_a_folder_that_is_deleted_during_training_is_not_made_anew(here, monkeypatch):
    folder, recipe = here
    write = checkpoints.write

    def delete(root, *args):
        shutil.rmtree(folder / "run")
        monkeypatch.setattr(checkpoints, "write", write)

    monkeypatch.setattr(checkpoints, "write", delete)
    monkeypatch.setattr(checkpoints, "prune", lambda *args: None)
    with pytest.raises(OSError, match="was deleted or moved during training, before step 8") as told:
        train(folder / "run", more(recipe, 8))
    assert told.value.filename == str(folder / "run")
    assert not (folder / "run").exists()
