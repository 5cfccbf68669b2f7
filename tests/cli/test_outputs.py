"""Files named by what made them and refused last; numbers as JSON; classes and names as people write them."""

import json

import numpy as np
import pytest
import torch
import typer

import scorefield as sf
from scorefield import catalogue, runs
from scorefield.cli import app
from scorefield.cli._output import stem

SMALL = (
    "--preset", "tabular", "--steps", 4, "--set", "training.batch_size=16", "--set", "network.hidden=8",
    "--set", "network.depth=1", "--set", "optim.warmup=2",
)  # fmt: skip
COMPUTE = (
    "quickstart", "train", "sample", "tune", "distill", "audit", "compare", "evaluate", "diagnose", "likelihood",
    "encode", "decode", "interpolate", "move", "edit", "inpaint", "reconstruct", "anomaly",
)  # fmt: skip
COMMANDS = {  # evaluate and diagnose: in tests of their own
    "sample": ("--n", 2, "--nfe", 2),
    "likelihood": ("--n", 4, "--elbo-draws", 2),
    "encode": ("--nfe", 2, "--index", "0-2"),
    "interpolate": ("--nfe", 2),
    "edit": ("--nfe", 2, "--strength", 0.5, "--index", 0),
    "inpaint": ("--mask", "left", "--nfe", 5, "--index", 0),
    "reconstruct": ("--operator", "denoise", "--noise-std", 0.5, "--nfe", 2, "--samples", 2, "--index", 0),
    "move": ("--with", "mine.npz", "--without", "mine.npz", "--nfe", 2, "--index", 0),
    "anomaly": ("--data", "new.npz", "--statistic", "score-norms"),
    "tune": ("--nfe", 3, "--paths", 4),
}


@pytest.fixture(scope="module")
def place(invoke, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    chance = np.random.default_rng(0)
    np.savez(folder / "mine.npz", x=chance.normal(size=(400, 4)), y=np.array(["Cat", "dog", "3"])[np.arange(400) % 3])
    np.savez(folder / "new.npz", x=chance.normal(size=(30, 4)))
    done = invoke(folder, "train", *SMALL, "--data", "mine.npz", "--out", "run", "--json", "-")
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    assert (numbers["run"], numbers["steps"]) == ("run", 4)
    assert numbers["trained_on"] < 400
    return folder


@pytest.fixture
def at(place, invoke):
    return lambda *args: invoke(place, *args)


def options(name):
    return {param.name for param in typer.main.get_command(app).commands[name].params}  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", COMPUTE)
def test_every_command_that_computes_gives_its_numbers_as_json(name):
    assert "json" in options(name)
    if name not in ("quickstart", "train", "distill", "compare", "tune"):  # a run is never overwritten
        assert "overwrite" in options(name)


def test_too_few_for_both_sides_of_a_comparison(at, place):
    n = len(sf.load(place / "run").held_out().source)
    done = at("anomaly", "run", "--data", "mine.npz", "--statistic", "score-norms")
    line = f"error: the {n} held-out data of mine.npz are too few to be the reference and what is judged: "
    assert done.stderr.endswith(f"{line}give other --data, or --reference\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_json_alone_is_on_the_standard_output(at, place, name):
    more = () if name == "tune" else ("--out", f"{name}.png")
    done = at(name, "run", *COMMANDS[name], *more, "--json", "-")
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    assert numbers
    beside = place / f"{name}.json"
    if beside.is_file():
        assert json.loads(beside.read_text()) == numbers
    if name not in ("sample", "tune"):
        return
    done = at(name, "run", *COMMANDS[name], *more, *(() if name == "tune" else ("--overwrite",)), "--json", "n.json")
    assert done.returncode == 0, done.stderr
    assert "evaluations" in done.stdout
    assert json.loads((place / "n.json").read_text()).keys() == numbers.keys()
    (place / "n.json").unlink()


def test_data_show_gives_json(at):
    numbers = json.loads(at("data", "show", "mine.npz", "--json", "-").stdout)
    assert (numbers["count"], numbers["shape"], numbers["classes"]) == (400, [4], {"3": 133, "Cat": 134, "dog": 133})
    assert "the labels are 'y'" in numbers["read_as"][0]


def test_files_say_what_made_them(at, place):
    command = ("sample", "run", "--n", 2, "--nfe", 2)
    for flags, name in (
        ((), "samples-recommended-nfe2-seed0"),
        (("--label", "cat", "--seed", 3), "samples-recommended-nfe2-label-cat-seed3"),
        (("--label", "0", "--label", "dog", "--guidance", 2.5, "--solver", "Heun"),
         "samples-heun-nfe2-label0+dog-guidance2.5-seed0"),
    ):  # fmt: skip
        done = at(*command, *flags)
        assert done.returncode == 0, done.stderr
        assert (place / "run" / f"{name}.npz").is_file(), done.stdout
    done = at("encode", "run", "--data", "mine.npz", "--index", 0, "--nfe", 2, "--label", "dog")
    assert (place / "run" / "latents-mine-label-dog-seed0.npz").is_file(), done.stderr


def test_a_name_is_a_file_name():
    assert stem("samples", 1, text=["a cat / dog?"], clip="range") == "samples-text-a_cat_dog_-clip-range-seed1"
    assert stem("likelihood", 0, data="../photos/") == "likelihood-photos-seed0"
    long = [stem("samples", 0, text=["a" * 300 + end]) for end in "xy"]
    assert long[0] != long[1]
    assert max(map(len, long)) < 140


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (("sample", "--label", "bird"), "unknown --label 'bird'. Known: 3, Cat, dog."),
        (("sample", "--label", "dogg"), "unknown --label 'dogg'. Did you mean 'dog'?"),
        (("sample", "--label", 7), "--label must lie in 0..2; got 7"),
        (("sample", "--clip", "range"), "--clip is for data of a known range"),
        (("sample", "--solver", "hern"), "unknown solver 'hern'. Did you mean 'heun'?"),
        (("encode", "--index", 4000), "--index must lie in"),
        (("edit", "--label", "bird"), "unknown --label 'bird'"),
        (("likelihood", "--data", "none.npz"), "'none.npz' is no path, and no name"),
        (("inpaint", "--mask", "up"), "'up' is no file"),
        (("reconstruct", "--operator", "blurr", "--noise-std", 1), "blurr"),
        (("anomaly", "--data", "mine.npz", "--statistic", "x"), "unknown statistic 'x'"),
        (("sample",), "taken.png exists: choose another --out, or replace it with --overwrite"),
    ],
)
def test_what_is_there_is_refused_once_all_else_is_valid(at, place, command, line):
    (place / "taken.png").touch()
    done = at(command[0], "run", *command[1:], "--out", "taken.png")
    assert done.returncode == 2
    assert line in done.stderr
    assert ("exists" in done.stderr) == ("exists" in line)


def test_classes_by_name_are_the_same_draws(place):
    run = sf.load(place / "run")
    assert run.class_names == ("3", "Cat", "dog")
    assert torch.equal(run.sample(2, label=["CAT", "dog"], nfe=2).x, run.sample(2, label=[1, 2], nfe=2).x)
    assert torch.equal(run.sample(1, label="3", nfe=2).x, run.sample(1, label=0, nfe=2).x)  # a name before a number


@pytest.mark.parametrize(
    ("asked", "names", "got"),
    [
        ("1", (), [1]),
        ("1", ("1", "2"), [0]),
        (["b", 0], ("a", "b"), [1, 0]),
        (torch.tensor([1, 0]), ("a", "b"), [1, 0]),
    ],
)
def test_labels_by_number_or_name(asked, names, got):
    label = runs.labels(asked, len(got), 2, names=names)
    assert label is not None
    assert label.tolist() == got


def test_labels_that_are_none():
    with pytest.raises(ValueError, match=r"label must lie in 0..1, since the classes have no names; got 'cat'"):
        runs.labels("cat", 1, 2)
    with pytest.raises(ValueError, match=r"label must lie in 0..1; got -1"):
        runs.labels("-1", 1, 2, names=("a", "b"))


def test_names_in_any_case():
    assert catalogue.known("solver", "DPM-Solver++", catalogue.SOLVERS) == "dpm-solver++"
    assert catalogue.make("schedule", "vp", catalogue.SCHEDULES) == sf.VP()
    with pytest.raises(ValueError, match=r"^unknown network 'UNET2'. Did you mean 'UNet'\?$"):
        catalogue.make("network", "UNET2", catalogue.NETWORKS)
    assert catalogue.known("class", "a", ("A", "a")) == "a"
    with pytest.raises(ValueError, match="unknown class 'ab'"):
        catalogue.known("class", "ab", ("Ab", "aB"))  # which is meant?


def test_commands_take_names_in_any_case(cli):
    assert 'source = "two-moons"' in cli("train", "--preset", "TWO-Moons", "--show").stdout
    assert "count │ 178" in " ".join(cli("data", "show", "WINE").stdout.split())
    done = cli("train", "--preset", "two-moons", "--data", "Rings", "--steps", 1, "--out", "run")
    assert done.returncode == 0, done.stderr
