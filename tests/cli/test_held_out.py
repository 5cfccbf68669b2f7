"""What `train` holds out of a user's own data, and what other commands say of data that trained the model."""

import json
import re
import shutil

import numpy as np
import pytest

import scorefield as sf
from scorefield import recipes

SMALL = (
    "--preset", "two-moons", "--steps", 4, "--set", "training.batch_size=16", "--set", "network.hidden=8",
    "--set", "optim.warmup=2",
)  # fmt: skip
SEEN = "are among the data this run was trained on, and say nothing of how it does on new ones"
NOTHING = (
    "note: nothing was held out of few.npy: these are the data it was trained on, and how it does on new ones they "
    "cannot tell\n"
)


def points(n=300, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def place(invoke, tmp_path_factory):
    """A folder with data, and a run of each kind: much and few, a split of one's own, groups."""
    folder = tmp_path_factory.mktemp("place")
    np.save(folder / "mine.npy", points())
    np.save(folder / "few.npy", points(40))
    np.save(folder / "new.npy", points(60, seed=1))
    table = "\n".join(f"{a},{b},p{i // 4}" for i, (a, b) in enumerate(points()))
    (folder / "table.csv").write_text(f"a,b,patient\n{table}\n")
    said = {}
    for name, flags in {
        "run": ("--data", "mine.npy"),
        "few": ("--data", "few.npy"),
        "own": ("--data", "mine.npy", "--set", "data.test=new.npy"),
        "groups": ("--data", "table.csv", "--set", "data.groups=patient", "--set", "data.held_out=0.2"),
        "all": ("--data", "mine.npy", "--set", "data.held_out=0"),
    }.items():
        done = invoke(folder, "train", *SMALL, *flags, "--out", name)
        assert done.returncode == 0, done.stderr
        said[name] = done.stderr
    return folder, said


@pytest.fixture
def at(place, invoke):
    """`at("likelihood", "run")` where the data are."""

    def run(*args):
        done = invoke(place[0], *args)
        assert done.returncode == 0, done.stderr
        return done

    return run


def test_train_says_where_the_data_are_and_what_is_held_out(place):
    folder, said = place
    mine = (folder / "mine.npy").resolve()
    n = len(sf.load(folder / "run").held_out().source)
    assert 15 < n < 45
    assert said == {
        "run": f"note: {300 - n} rows of {mine}; {n} more are held out, data.held_out = 0.1, by a hash of each row\n",
        "few": f"note: 40 rows of {folder.resolve()}/few.npy; none is held out (40 rows are too few to hold out 10%)\n",
        "own": f"note: 300 rows of {mine}; held out are the 60 of {folder.resolve()}/new.npy\n",
        "groups": said["groups"],
        "all": f"note: 300 rows of {mine}; none is held out (data.held_out = 0)\n",
    }
    more = r"(\d+) more are held out, data.held_out = 0.2, of the 75 groups by patient\n"
    assert re.search(rf"note: (\d+) rows of .*/table.csv; {more}", said["groups"])


def test_the_split_is_what_was_not_trained_on(place):
    folder, _ = place
    run = sf.load(folder / "run")
    held, recipe = run.held_out(), run.recipe
    assert recipe is not None
    assert (held.what, held.apart, held.notes) == ("held-out data of mine.npy", True, ())
    trained = recipes.training_data(recipe.data)
    together = np.concatenate([sf.data.in_memory(part).x for part in (held.source, trained)])
    assert np.array_equal(np.sort(together, 0), np.sort(points(), 0))
    assert np.array_equal(np.load(folder / "run" / "training-rows.npy"), np.sort(sf.data.row_keys(trained)))
    assert sf.data.row_keys(sf.load(folder / "own").held_out().source).tolist() == (
        sf.data.row_keys(sf.data.Arrays(points(60, 1))).tolist()
    )
    assert tuple(sf.load(folder / "groups").event_shape) == (2,)  # the groups are no data


def test_commands_judge_by_what_was_held_out(place, at):
    n = len(sf.load(place[0] / "run").held_out().source)
    done = at("likelihood", "run", "--n", 8, "--out", "a.png", "--overwrite")
    assert f"8 of {n} held-out data of mine.npy" in done.stdout
    assert done.stderr == ""
    done = at("evaluate", "run", "--n", 20, "--nfe", 3, "--out", "a.png", "--overwrite")
    assert "20 of the held-out data of mine.npy" in done.stdout
    assert "held out" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("likelihood", "few", "--n", 8),
        ("evaluate", "few", "--n", 20, "--nfe", 3),
        ("diagnose", "few", "--n", 8),
        ("encode", "few", "--nfe", 4),
        ("anomaly", "few", "--data", "new.npy", "--statistic", "score-norms"),
    ],
)
def test_where_nothing_is_held_out_it_is_called_what_it_is(at, command):
    done = at(*command, "--out", "b.png", "--overwrite")
    assert NOTHING in done.stderr
    assert done.stderr.count("trained on") == 1
    said = done.stdout.replace("\n", " ")
    if command[0] != "diagnose":
        assert re.search(r"data\s+it\s+was\s+trained\s+on,", said), said
    assert "held-out" not in said


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("likelihood", "run", "--n", 8, "--data"), "mine.npy"),
        (("likelihood", "run", "--n", 8, "--data"), "copy.npy"),
        (("evaluate", "run", "--n", 20, "--nfe", 3, "--against"), "mine.npy"),
        (("diagnose", "run", "--n", 8), "mine.npy"),
        (("anomaly", "run", "--statistic", "score-norms", "--reference"), "mine.npy"),
    ],
)
def test_data_that_trained_the_model_are_counted(place, at, command, name):
    folder, _ = place
    np.save(folder / "copy.npy", np.concatenate([points()[::-1], points(20, seed=2)]))
    trained = 300 - len(sf.load(folder / "run").held_out().source)
    more = ("--data", "new.npy") if command[0] == "anomaly" else ()
    done = at(*command, name, *more, "--out", "c.png", "--overwrite")
    if command[0] == "anomaly":  # its own: then what was held out of them
        n = 300 - trained
        assert done.stderr == (
            f"note: mine.npy is what this run was trained on: what is used are the {n} rows held out of it\n"
        )
        return
    of = 300 if name == "mine.npy" else 320
    assert f"note: {trained} of the {of} rows of {name} {SEEN}\n" in done.stderr


def test_other_data_are_not_remarked_on(at):
    assert at("likelihood", "run", "--data", "new.npy", "--n", 8, "--out", "d.png", "--overwrite").stderr == ""


def test_a_run_of_before_held_nothing_out(place, at):
    """Its recipe does not say."""
    folder, _ = place
    shutil.copytree(folder / "all", folder / "old")
    recipe = folder / "old" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("held_out = 0.0\n", ""))
    (folder / "old" / "training-rows.npy").unlink()
    held = sf.load(folder / "old").held_out()
    assert (len(held.source), held.what, held.apart) == (300, "data it was trained on, mine.npy", False)
    assert (
        "300 of the 300 rows of mine.npy"
        in at("likelihood", "old", "--data", "mine.npy", "--n", 8, "--out", "e.png", "--overwrite").stderr
    )
    at("train", "--resume", "--out", "old", "--steps", 5)
    kept = sf.load(folder / "old").recipe
    assert kept is not None
    assert kept.data.held_out == 0


def test_the_command_that_began_a_run_may_be_repeated(place, at, invoke):
    folder, _ = place
    assert "none is held out" in at("train", *SMALL, "--data", "few.npy", "--resume", "--out", "few").stderr
    done = invoke(folder, "train", "--resume", "--out", "run", "--set", "data.held_out=0.5")
    assert done.stderr == ("error: a run goes on with the recipe in run, where data.held_out is 0.1; got 0.5\n")


def test_what_was_trained_on_is_remembered_when_the_data_grow_and_go(place, invoke, tmp_path):
    folder, _ = place
    shutil.copytree(folder / "run", tmp_path / "run")
    np.save(tmp_path / "mine.npy", points())
    recipe = tmp_path / "run" / "recipe.toml"
    recipe.write_text(re.sub(r'source = ".*"', f'source = "{tmp_path}/mine.npy"', recipe.read_text()))
    held = sf.data.row_keys(sf.load(tmp_path / "run").held_out().source)
    np.save(tmp_path / "mine.npy", np.concatenate([points(100, seed=4), points()]))
    grown = sf.data.row_keys(sf.load(tmp_path / "run").held_out().source)
    assert set(held.tolist()) < set(grown.tolist())
    assert not set(grown.tolist()) & set(np.load(tmp_path / "run" / "training-rows.npy").tolist())
    (tmp_path / "run" / "training-rows.npy").write_bytes(b"damaged")
    done = invoke(tmp_path, "likelihood", "run", "--data", "mine.npy", "--n", 8)
    assert done.returncode == 0, done.stderr
    shutil.copy(folder / "run" / "training-rows.npy", tmp_path / "run")
    (tmp_path / "mine.npy").rename(tmp_path / "away.npy")
    done = invoke(tmp_path, "likelihood", "run", "--data", "away.npy", "--n", 8, "--overwrite")
    assert re.search(r"note: \d+ of the 400 rows of away.npy are among", done.stderr)
    done = invoke(tmp_path, "likelihood", "run", "--overwrite")
    assert done.stderr == f"error: data.source: there is no {tmp_path}/mine.npy\n"


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (
            ("table.csv", "data.groups=who"),
            "data.groups: {}/table.csv has no column 'who'; there are a, b, patient",
        ),
        (
            ("mine.npy", "data.groups=who"),
            "data.groups: {}/mine.npy has no columns and no folders to group its rows by",
        ),
        (("mine.npy", "data.held_out=1"), "data.held_out in --set: input should be less than 1; got 1"),
        (
            ("table.csv", "data.groups=patient", "data.test=new.npy"),
            "data.groups is of what is held out by share, and data.test says what is: give one",
        ),
    ],
)
def test_bad_splits_are_one_line(place, invoke, flags, line):
    folder, _ = place
    sets = [part for flag in flags[1:] for part in ("--set", flag)]
    done = invoke(folder, "train", *SMALL, "--data", flags[0], *sets, "--out", "bad")
    assert done.stderr == f"error: {line.format(folder.resolve())}\n"
    assert not (folder / "bad").exists()


def test_a_likelihood_says_in_its_json_what_it_was_of(place, at):
    at("likelihood", "all", "--n", 8, "--out", "f.png", "--overwrite")
    said = json.loads((place[0] / "f.json").read_text())["data"]
    assert said == "data it was trained on, mine.npy"
