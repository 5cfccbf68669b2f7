"""Every reader, on files that began as whole ones: what it was made for, or one line; no hang, no growth, no writing.

`CASES` of each in the usual run, the same ones each time; thousands, new ones, with `pytest -m slow`.
"""

import gzip
import json
import math
import os
import random
import struct
import time
import warnings

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from PIL import Image

import scorefield as sf
from growth import grows_less_than
from scorefield import data, recipes
from scorefield.anomaly import Detector, NegativeElbo, Statistic
from scorefield.cli import _latents
from scorefield.comparison import study
from scorefield.data import opening
from scorefield.runs import tunings
from scorefield.sampling.tuning import Distance, Tuning
from scorefield.solvers import Tuned
from scorefield.storage import checkpoints, models, weights
from scorefield.training import log

CASES, MANY = 200, 1500
SECONDS = 3.0  # of the processor, for one file
ODD = [
    None,
    True,
    -1,
    0,
    1 << 62,
    10**400,
    1e308,
    math.nan,
    math.inf,
    "",
    "x",
    "../../x",
    "\x00",
    [],
    {},
    [[]],
    [None] * 9,
]


def model(folder):
    net = sf.networks.MLP(2, 4, 1)
    models.save(
        folder / "m.safetensors", sf.NetworkDenoiser(net, sf.VP(), sf.V()), {"event_shape": [2], "class_names": ["a"]}
    )
    return folder / "m.safetensors"


def plain_weights(folder):
    (folder / "w.safetensors").write_bytes(weights.dumps(torch.nn.Linear(2, 2), {"a": 1}))
    return folder / "w.safetensors"


def a_recipe(folder):
    (folder / "recipe.toml").write_text(recipes.dumps(recipes.presets.two_moons()))
    return folder / "recipe.toml"


def a_log(folder):
    row = {"step": 1, "loss": 0.5, "lr": 0.1, "gradient_norm": 1.0, "seconds": 0.1}
    (folder / "metrics.jsonl").write_bytes(b"".join(log.line({**row, "step": i}) for i in range(1, 9)))
    return folder / "metrics.jsonl"


def checkpoint(name):
    def make(folder):
        return checkpoints.write(folder, 1, {"a.json": b"{}"}, {"step": 1, "recipe": "name = 'x'"}) / name

    return make


def tuned(folder):
    return tunings.write(
        folder, 3, Tuning(Tuned((math.inf, 1.0, 0.0), ((1.0, 1.0),) * 2), *[Distance(0.1, 0.1)] * 3), "x"
    )


def detector(folder):
    Detector(Statistic(NegativeElbo()), torch.arange(5, dtype=torch.float64)).save(folder / "d.json")
    return folder / "d.json"


def plan(folder):
    (folder / "plan.json").write_text(json.dumps({"data": "digits", "seconds": 1.0, "costs": {"x": 1.0}}))
    return folder / "plan.json"


def saved(name, write):
    def make(folder):
        write(folder / name)
        return folder / name

    return make


TEXT = "a,b,kind\n" + "".join(f"{i}.5,{i % 3},{'xyz'[i % 3]}\n" for i in range(30))
IMAGES = bytes([0, 0, 8, 3]) + struct.pack(">3I", 4, 3, 3) + bytes(range(36))
ARRAY = np.arange(60, dtype=np.float32).reshape(20, 3)
FRAME = pd.DataFrame({"a": np.arange(9.0), "k": list("xyz") * 3})
PICTURE = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))


def series(folder):
    (folder / "series").mkdir()
    (folder / "series" / "a.csv").write_text("".join(f"{i}.5,{i}\n" for i in range(20)))
    return folder / "series" / "a.csv"


def padded(path):
    return data.load(path, lengths="pad")


READERS = {
    "recipe": (a_recipe, recipes.load),
    "log": (a_log, log.read),
    "manifest": (checkpoint("manifest.json"), lambda path: checkpoints.verify(path.parent)),
    "newest": (checkpoint("manifest.json"), lambda path: checkpoints.latest(path.parents[1], lambda line: None)),
    "state": (checkpoint("state.json"), lambda path: checkpoints.read_state(path.parent)),
    "model": (model, sf.load),
    "weights": (plain_weights, weights.load),
    "tuned": (tuned, lambda path: tunings.read(path.parents[1], 3)),
    "detector": (detector, Detector.load),
    "plan": (plan, lambda path: study._plan(path.parent, {})),
    "npy": (saved("a.npy", lambda path: np.save(path, ARRAY)), data.load),
    "npz": (saved("a.npz", lambda path: np.savez_compressed(path, x=ARRAY, label=np.arange(20) % 3)), data.load),
    "stored npz": (saved("a.npz", lambda path: np.savez(path, x=ARRAY, y=np.array(["a", "b"] * 10))), data.load),
    "series npz": (saved("a.npz", lambda path: np.savez(path, x=ARRAY, y=ARRAY[:9])), padded),
    "series csv": (series, lambda path: data.load(path.parent)),
    "idx": (saved("a-idx3-ubyte", lambda path: path.write_bytes(IMAGES)), data.load),
    "idx.gz": (saved("a-idx3-ubyte.gz", lambda path: path.write_bytes(gzip.compress(IMAGES, mtime=0))), data.load),
    "csv": (saved("a.csv", lambda path: path.write_text(TEXT)), data.load),
    "tsv": (saved("a.tsv", lambda path: path.write_text(TEXT.replace(",", "\t"))), data.load),
    "parquet": (saved("a.parquet", FRAME.to_parquet), data.load),
    "png": (saved("a.png", PICTURE.save), data.load),
    "jpeg": (saved("a.jpg", PICTURE.save), data.load),
    "gif": (saved("a.gif", PICTURE.save), data.load),
    "tiff": (saved("a.tiff", PICTURE.save), data.load),
    "webp": (saved("a.webp", PICTURE.save), data.load),
    "latents": (saved("a.npz", lambda path: np.savez(path, z=ARRAY, nfe=3, label=np.arange(20))), _latents.read),
}  # fmt: skip


def bent(content: bytes, chance: random.Random) -> bytes:
    """The file with one to three things done to it."""
    raw = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        at = chance.randrange(len(raw) + 1)
        end = min(len(raw), at + chance.choice((1, 2, 4, 8, 64)))
        match chance.randrange(8):
            case 0:
                raw[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                raw = raw[:at]
            case 2:
                raw[at:end] = b""
            case 3:
                raw[at:at] = raw[at:end] * chance.choice((1, 9, 200))
            case 4:
                raw[at:end] = chance.choice((b"\xff", b"\x00", b"\x80", b"[", b'"', b"\n")) * (end - at)
            case 5:
                raw[at:at] = chance.choice(
                    (b"\xff\xfe", b"\x00" * 9, b"NaN", b"1e999", b"9" * 400, b"[" * 99_999, b"\r", b",")
                )
            case 6 if end - at:
                raw[at] ^= 1 << chance.randrange(8)
            case _:
                raw += bytes(chance.randrange(256) for _ in range(9))
        raw = raw or bytearray(b"\x00")
    return bytes(raw)


def twisted(content: bytes, chance: random.Random) -> bytes:
    """A text of JSON, or a safetensors file by its description, with a value in it replaced; other files are bent."""
    try:
        if content[:1] == b"{":
            return json.dumps(_with_odd(json.loads(content), chance)).encode()
        size = int.from_bytes(content[:8], "little")
        head = json.loads(content[8 : 8 + size])
        said = json.loads(head["__metadata__"]["scorefield"])
        tensors = safetensors.torch.load(content)
        return safetensors.torch.save(tensors, {"scorefield": json.dumps(_with_odd(said, chance))})
    except (ValueError, KeyError, TypeError):
        return bent(content, chance)


def _with_odd(value, chance):
    here, path = value, []
    while isinstance(here, dict | list) and here and chance.random() < 0.85:
        key = chance.choice(list(here) if isinstance(here, dict) else range(len(here)))
        path.append((here, key))
        here = here[key]
    if not path:
        return chance.choice(ODD)
    inside, key = path[-1]
    if chance.random() < 0.2 and isinstance(inside, dict):
        del inside[key]
    else:
        inside[key] = chance.choice(ODD)
    return value


def tried(name, folder, cases, chance):
    """How many of the files were read as what they are; all others gave a line."""
    make, read = READERS[name]
    folder.mkdir()
    path = make(folder)
    content, fine = path.read_bytes(), 0
    read(path)
    there = sorted(folder.rglob("*"))
    for case in range(cases):
        spoiled = (twisted if case % 2 else bent)(content, chance)
        path.write_bytes(spoiled)
        began = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(path)
            fine += 1
        except (ValueError, OSError) as error:
            line = str(error)
            assert line, spoiled
            assert "\n" not in line, (line, spoiled)
            assert str(folder) in line, (line, spoiled)
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}; for {spoiled[:2000]!r}") from error
        assert time.process_time() - began < SECONDS, spoiled[:2000]
        assert sorted(folder.rglob("*")) == there
    return fine


@pytest.mark.parametrize("name", READERS)
def test_whatever_is_in_a_file_it_is_read_or_gets_a_line(tmp_path, name):
    if name == "parquet":
        pytest.importorskip("pyarrow")
    with grows_less_than(4 * opening.ALWAYS):
        fine = tried(name, tmp_path / "here", CASES, random.Random(name))
    assert fine < CASES or name == "log"  # of which it reads what it can
    assert os.listdir(tmp_path) == ["here"]


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_the_same_for_thousands(tmp_path, name, chance):
    with grows_less_than(4 * opening.ALWAYS):
        fine = tried(name, tmp_path / "here", MANY, chance)
    print(f"{name}: {MANY:,} files, {fine:,} read, {MANY - fine:,} refused in a line")
