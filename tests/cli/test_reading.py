"""How commands read a user's own arrays and pictures: the same options everywhere, and guesses are said."""

import numpy as np
import pytest
import torch
import typer
from PIL import Image

import scorefield as sf
from scorefield.cli import app

OPTIONS = {"size", "fit", "on_error", "key", "label_column", "layout"}
READERS = (
    "train", "anomaly", "likelihood", "evaluate", "diagnose", "encode", "interpolate", "move", "edit", "inpaint",
    "reconstruct",
)  # fmt: skip
SMALL = (
    "--steps", 2, "--set", "training.batch_size=8", "--set", "optim.warmup=1", "--set", "network.width=8",
    "--set", "network.multipliers=[1]", "--set", "network.blocks=1",
)  # fmt: skip
ANIMALS = np.array(["cat", "dog", "fish"])
GUESSED = (
    "uint8 (90, 8, 8), the data are 'images'; the labels are 'y', 3 classes: cat, dog, fish; taken for pictures of one "
    "channel, (N, H, W). --key, --label-column and --layout say otherwise"
)


@pytest.fixture(scope="module")
def place(invoke, tmp_path_factory):
    """An npz of pictures with text labels, and a run on it; the same as an npy, as a folder; series."""
    folder = tmp_path_factory.mktemp("reading")
    chance = np.random.default_rng(0)
    pictures, names = chance.integers(0, 256, (90, 8, 8), dtype=np.uint8), ANIMALS[np.arange(90) % 3]
    np.savez(folder / "mine.npz", images=pictures, y=names)
    np.save(folder / "mine.npy", pictures)
    np.save(folder / "series.npy", chance.normal(size=(90, 16)).astype(np.float32))
    np.savez(folder / "few.npz", x=chance.integers(0, 256, (6, 8, 8), dtype=np.uint8), labels=ANIMALS[[2, 0] * 3])
    np.savez(folder / "strange.npz", x=pictures[:2], labels=["cat", "zebra"])
    for i, name in enumerate(names[:30]):
        (folder / "photos" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[i]).save(folder / "photos" / name / f"{i}.png")
    done = invoke(folder, "train", "--preset", "digits", "--data", "mine.npz", *SMALL, "--out", "run")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"note: {folder.resolve()}/mine.npz: {GUESSED}\nnote: 8")
    return folder


@pytest.fixture
def at(place, invoke):
    return lambda *args: invoke(place, *args)


def test_every_command_that_reads_data_has_the_same_options():
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name in READERS:
        names = {param.name for param in commands[name].params}
        assert names >= OPTIONS, name
        declared = {option for param in commands[name].params if not param.hidden for option in param.opts}
        assert "--data" in declared, name
        assert "--images" not in declared, name
    assert {param.name for param in commands["data"].commands["show"].params} >= OPTIONS


def test_a_run_knows_its_classes_by_name(place):
    run = sf.load(place / "run")
    assert (run.event_shape, run.class_names, run.num_classes) == ((1, 8, 8), ("cat", "dog", "fish"), 3)
    held = run.held_out()
    assert held.notes == ()  # what train said is not said again


def test_other_files_are_read_with_the_runs_axes_and_classes(place):
    run = sf.load(place / "run")
    found = run.held_out(str(place / "few.npz"))
    assert found.source.event_shape == (1, 8, 8)
    assert found.source.batch(torch.arange(6)).cond["label"].tolist() == [2, 0] * 3  # not 1, 0
    assert found.notes == (
        f"{place}/few.npz: uint8 (6, 8, 8), the data are 'x'; the labels are 'labels', 2 classes: cat, fish. --key and "
        "--label-column say otherwise",
    )
    again = run.held_out(str(place / "few.npz"), policy={"key": "x", "label": "labels"})
    assert again.notes == ()
    with pytest.raises(ValueError, match=r"strange.npz has a class 'zebra'; the run's are cat, dog, fish"):
        run.held_out(str(place / "strange.npz"))
    photos = run.held_out(str(place / "photos"))
    assert photos.source.batch(torch.tensor([0, 29])).cond["label"].tolist() == [0, 2]


@pytest.mark.parametrize(
    "command",
    [
        ("encode", "run", "--nfe", 2),
        ("interpolate", "run", "--nfe", 2),
        ("edit", "run", "--nfe", 2, "--strength", 0.5),
        ("inpaint", "run", "--mask", "left", "--nfe", 5),
        ("reconstruct", "run", "--operator", "denoise", "--noise-std", 0.5, "--nfe", 2, "--samples", 2),
        ("move", "run", "--with", "few.npz", "--without", "few.npz", "--nfe", 2),
    ],
)
def test_images_is_data_now(at, command):
    done = at(*command, "--images", "few.npz", "--key", "x", "--out", "o.png", "--overwrite")
    assert done.returncode == 0, done.stderr
    assert "note: --images is --data now\n" in done.stderr
    assert "data are" not in done.stderr.replace("the data are 'x'; ", "")


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (("likelihood", "run", "--key", "x"), "--key says how --data is read: give one"),
        (("evaluate", "run", "--layout", "HW"), "--layout says how --against is read: give one"),
        (("encode", "run", "--label-column", "y"), "--label-column says how --data is read: give one"),
        (("likelihood", "run", "--data", "few.npz", "--key", "z"), "few.npz: no array 'z'; there are x, labels"),
        (("likelihood", "run", "--data", "few.npz", "--size", 8), "--size is for pictures; few.npz holds numbers"),
        (("likelihood", "run", "--data", "digits", "--label-column", "y"),
         "--label-column is for files and folders; digits is a named set"),
        (("likelihood", "run", "--data", "photos", "--on-error", "no"), "--on-error must be raise or skip; got 'no'"),
        (("likelihood", "run", "--data", "few.npz", "--layout", "HWC"), "few.npz: layout HWC needs 4 dimensions; got "
         "shape (6, 8, 8)"),
        (("encode", "run", "--data", "series.npy"), "series.npy: x with levels must hold integers; got torch.float32"),
        (("diagnose", "run", "few.npz", "--data", "few.npz"), "data were named twice, few.npz and --data few.npz"),
        (("train", "--data", "mine.npz", "--key", "z", "--out", "new"), "mine.npz: no array 'z'; there are images, y"),
        (("train", "--data", "mine.npz", "--size", 8, "--out", "new"), "no policy 'size' for such data"),
        (("data", "show", "mine.npz", "--label", "z"), "mine.npz: no array 'z'; there are images, y"),
    ],
)  # fmt: skip
def test_bad_readings_are_one_line(at, command, line):
    done = at(*command, *(() if command[0] in ("train", "data") else ("--out", "bad.png")))
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


def test_series_in_an_array_for_a_network_of_channels(place, at):
    command = ("train", "--preset", "series", "--data", "series.npy", *SMALL, "--out", "s")
    done = at(*command)
    assert done.returncode == 0, done.stderr
    taken = "taken for series of one channel, (N, L), as a UNet reads them. --layout says otherwise"
    assert done.stderr.endswith(f"by a hash of each row; {taken}\n")
    run = sf.load(place / "s")
    assert run.recipe is not None
    assert run.recipe.data.policy == {"layout": "L"}
    assert run.held_out().source.event_shape == (1, 16)
    assert run.held_out(str(place / "series.npy")).source.event_shape == (1, 16)
    done = at(*command, "--resume")  # the command that began it
    assert done.returncode == 0, done.stderr


def test_a_preset_of_pictures_reads_an_array(place, at):
    """Its size is of pictures in a folder."""
    done = at("train", "--preset", "image-folder", "--data", "mine.npy", *SMALL, "--out", "p")
    assert done.returncode == 0, done.stderr
    assert sf.load(place / "p").event_shape == (1, 8, 8)
    done = at("train", "--preset", "image-folder", "--data", "photos", "--size", 4, *SMALL, "--out", "q")
    assert done.returncode == 0, done.stderr
    run = sf.load(place / "q")
    assert (run.event_shape, run.class_names) == ((1, 4, 4), ("cat", "dog", "fish"))
    source = run.held_out(str(place / "photos")).source  # at the recipe's size
    assert source.event_shape == (1, 4, 4)


def test_data_show_says_what_it_takes_an_array_for(at, place):
    done = at("data", "show", "mine.npz")
    assert done.stdout.splitlines()[1] == f"mine.npz: {GUESSED}"
    assert "cat 30, dog 30, fish 30" in done.stdout
    done = at("data", "show", "mine.npz", "--key", "images", "--label", "y", "--layout", "HW")
    assert done.stdout.splitlines()[1].startswith("count")
    assert done.stderr == "note: --label is --label-column now\n"


def test_pictures_that_belong_together_are_held_out_together(place, at):
    for i, path in enumerate(sorted((place / "photos").rglob("*.png"))):
        folder = place / "scenes" / path.parent.name / f"scene-{i % 5}"
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(4):  # alike, but not equal
            Image.fromarray(np.asarray(Image.open(path)) ^ k).save(folder / f"{i}-{k}.png")
    command = ("train", "--preset", "image-folder", "--size", 8, *SMALL, "--set", "data.groups=folder")
    done = at(*command, "--data", "scenes", "--set", "data.held_out=0.4", "--out", "g")
    assert done.returncode == 0, done.stderr
    assert "data.held_out = 0.4, of the 5 groups by folder" in done.stderr
    run = sf.load(place / "g")
    assert len(run.held_out().source) % 24 == 0  # whole scenes, over all classes
    done = at(*command, "--data", "photos", "--out", "h")
    assert "photos: its subfolders are classes, and held out by folder whole classes would be: put the" in done.stderr


def test_a_folder_that_is_called_as_a_named_set_is_is_not_passed_over_in_silence(place, at):
    (place / "two-moons").mkdir()
    said = "two-moons is the named set; the file or folder of that name is ./two-moons\n"
    done = at("train", "--preset", "two-moons", "--steps", 2, "--set", "optim.warmup=1", "--out", "moons")
    assert (done.returncode, done.stderr) == (0, f"note: {said}")
    with pytest.warns(UserWarning, match=said.strip()):
        assert at("likelihood", "moons", "--data", "two-moons", "--n", 2, "--tolerance", 0.1).returncode == 0
    done = at("likelihood", "moons", "--data", "./two-moons")  # the folder, in which nothing is
    assert done.returncode == 2
    assert "two-moons" in done.stderr
