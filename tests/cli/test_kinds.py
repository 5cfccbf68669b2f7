"""Every command on every kind of data: what the table in docs/your-own-data.md says comes of it, and no traceback."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from table_cases import penguins

DOCS = Path(__file__).parents[2] / "docs" / "your-own-data.md"
HEAD = "| command | pictures | a table | series | vectors |"
UNET = (
    "--set", "network.width=8", "--set", "network.multipliers=[1]", "--set", "network.blocks=1",
)  # fmt: skip
MLP = ("--set", "network.hidden=16")
KINDS = {  # of each: its preset, its data, others of the kind, and a network for the test's sake
    "pictures": ("photos", "photos", "more-photos", ("--size", "8", "--set", "network.attention=false", *UNET)),
    "a table": ("tabular", "penguins.csv", "more-penguins.csv", MLP),
    "series": ("series", "recordings", "more-recordings", UNET),
    "vectors": ("tabular", "points.npy", "more-points.npy", MLP),
}
BRIEF = {  # what makes a command quick, and is no matter to what it makes
    "train": "--steps 3 --set training.batch_size=16 --set optim.warmup=1 --set data.held_out=0.4 --device cpu",
    "sample": "--n 6 --nfe 3",
    "tune": "--paths 8",
    "distill": "--steps 2 --set training.batch_size=16",
    "evaluate": "--n 24 --nfe 3 --likelihoods 2",
    "diagnose": "--n 24",
    "audit": "--n 40 --nfe 1",
    "likelihood": "--n 2 --tolerance 0.1",
    "encode": "--index 0 --nfe 8",
    "interpolate": "--nfe 8",
    "move": "--nfe 8 --index 0",
    "edit": "--index 0 --nfe 4",
    "inpaint": "--index 0 --samples 1 --nfe 5",
    "reconstruct": "--index 0 --samples 2 --nfe 4",
    "anomaly": "--n 24 --elbo",
}


def table():
    """Of docs: the command, the kind, and what it says comes of the two."""
    lines = DOCS.read_text(encoding="utf-8").split(HEAD)[1].split("\n\n")[0].splitlines()[2:]
    for line in lines:
        command, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        yield from ((command.strip("`"), kind, cell) for kind, cell in zip(KINDS, cells, strict=True))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    chance = np.random.default_rng(0)
    for more, n in (("", 80), ("more-", 24)):
        for name in ("photos", "recordings"):
            (folder / f"{more}{name}").mkdir()
        for i in range(n):
            picture = Image.fromarray(chance.integers(0, 256, (9, 12, 3), dtype=np.uint8))
            picture.save(folder / f"{more}photos" / f"{i}.png")
            wave = np.sin(np.arange(16) / 2 + chance.uniform(0, 6))
            np.save(folder / f"{more}recordings" / f"{i:02}.npy", wave.astype(np.float32))
        penguins(n, seed=n).dropna().to_csv(folder / f"{more}penguins.csv", index=False)
        np.save(folder / f"{more}points.npy", chance.normal(size=(n, 3)).astype(np.float32))
    return folder


def made(folder):
    return {path for path in folder.rglob("*") if path.is_file() and ".lock" not in path.name}


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_of_commands_and_kinds(place, invoke, kind):
    preset, data, others, network = KINDS[kind]
    wrong = []
    for command, of, expected in table():
        if of != kind:
            continue
        words = shlex.split(command.replace("RUN", "run-" + data).replace("DATA", data).replace("NEW", others))
        brief = BRIEF.get(words[0], "").split()
        if words[0] == "train":
            brief += ["--preset", preset, *network]
        before = made(place)
        done = invoke(place, *words, *brief)
        assert "Traceback" not in done.stderr, done.stderr
        suffixes = {path.suffix.lstrip(".") for path in made(place) - before}
        made_now = "run folder" if "toml" in suffixes else ", ".join(sorted(suffixes)) or "text"
        found = "refused" if done.returncode == 2 else made_now
        if found != expected:
            wrong.append(f"{command} of {kind}: {expected!r} in docs; found {found!r}: {done.stderr[-300:]}")
        if done.returncode == 2:
            assert done.stderr.rstrip().splitlines()[-1].startswith("error: ")
    assert not wrong, "\n".join(wrong)
