"""Recipes with text: captions in, a run that `scorefield sample --text` obeys; with an encoder of three numbers."""

import importlib
import json

import numpy as np
import pytest
import torch

from scorefield import catalogue, recipes
from scorefield.cli import main
from scorefield.data import Arrays, captions
from scorefield.recipes import presets
from scorefield.recipes.reading import Read

building = importlib.import_module("scorefield.recipes.build")  # the package has a function of that name

NAMES = ("cat", "dog")


class Letters:
    """A caption's share of the letters c, d and o."""

    def __init__(self, size: float = 10.0):
        self.size = size

    def __call__(self, texts):
        return torch.tensor([[self.size * text.count(letter) / len(text) for letter in "cdo"] for text in texts])


@pytest.fixture(autouse=True)
def _tables(monkeypatch):
    monkeypatch.setattr(catalogue, "ENCODERS", {"Letters": f"{__name__}:Letters"})
    label = torch.arange(64) % 2
    x = (label[:, None, None, None] * 255).to(torch.uint8).expand(64, 1, 4, 4).clone()  # cats are black, dogs white
    x[:, 0, 0, 0] = torch.arange(64) * 4  # or nothing would vary within a class
    own = Arrays(x, label, class_names=NAMES)
    monkeypatch.setattr(building, "read", lambda spec, data_dir=None: Read(own, own, spec, ""))


def recipe(*more):
    changes = [
        "network.width=8", "network.patch=1", "training.batch_size=16", "optim.warmup=5", "training.bf16=false",
        "optim.lr=1e-2", "optim.optimizer=AdamW", "network.multipliers=[1]", "network.attention=false",
        "data.text=Letters", 'data.captions=["a {}", "one {} in the grass"]', "data.dequantize=true",
    ]  # fmt: skip
    return recipes.override(presets.mnist(), [*changes, *more])


def test_the_classes_become_captions_and_the_network_takes_vectors():
    built = recipes.build(recipe())
    assert len(built.source) == 128
    assert built.source.num_classes is None
    _, cond = built.source.batch(torch.tensor([0, 3]))
    assert torch.equal(cond["vector"], Letters()(["a cat", "one dog in the grass"]))
    assert (built.denoiser.net.vector_dim, built.denoiser.net.num_classes) == (3, None)  # type: ignore[union-attr]
    held_out, _ = recipes.held_out(recipe().data)
    assert len(held_out) == 128


def test_without_text_or_conditions_nothing_changes():
    plain = recipes.build(recipes.override(presets.mnist(), ["network.width=8"]))
    assert plain.source.num_classes == 2
    unconditional = recipes.build(recipe("data.conditional=false"))
    assert unconditional.source.batch(torch.arange(2)).cond == {}


def test_the_preset_has_the_captions_of_digits_and_clothes(monkeypatch):
    preset = presets.captions()
    assert preset.data.text is not None
    assert preset.data.text.type == "MiniLM"
    assert preset.training.condition_dropout > 0  # or there would be no null to guide away from
    own = Arrays(torch.randint(0, 256, (40, 1, 28, 28), dtype=torch.uint8), torch.arange(40) % 20)
    monkeypatch.setattr(building, "read", lambda spec, data_dir=None: Read(own, own, spec, ""))
    source = recipes.build(recipes.override(preset, ["data.text=Letters", "network.width=8"])).source
    assert len(source) == 2 * sum(map(len, captions.TRAINING))


def test_sample_draws_what_the_text_says(tmp_path, capsys):
    """Black cats, white dogs: the mean grey value of a picture says which it is."""
    (tmp_path / "cats.toml").write_text(recipes.dumps(recipe("training.steps=100", "logging.sample_every=100")))
    run = tmp_path / "run"

    def command(*args):
        with pytest.raises(SystemExit) as stop:
            main([str(arg) for arg in args])
        said = capsys.readouterr()
        return stop.value.code, said.out + said.err

    code, said = command("train", "--config", tmp_path / "cats.toml", "--out", run)
    assert code == 0, said
    meta = json.loads((run / "checkpoints" / "step-000100" / "state.json").read_text())
    assert meta["step"] == 100
    assert (run / "samples" / "step-000100.png").exists()
    texts = ("--text", "my cat", "--text", "that dog")
    code, said = command("sample", run, *texts, "--n", 16, "--nfe", 10, "--out", tmp_path / "s.png")
    assert code == 0, said
    grey = np.load(tmp_path / "s.npz")["raw"][:, 0, 1:, :].mean((1, 2))
    assert (grey[::2] < 100).all(), grey
    assert (grey[1::2] > 155).all(), grey
    code, said = command("sample", run, "--label", 1, "--out", tmp_path / "t.png")
    assert code == 2
    assert "--label was given, but this model was trained without labels" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["data.text=Leters"], "data.text.type: unknown 'Leters'. Did you mean 'Letters'?"),
        (['data.text={type="Letters", sise=1}'], "unknown key 'data.text.sise': Letters has no such argument"),
        (["data.captions=[]"], "data.text needs templates in data.captions"),
        (['data.captions=["a cat"]'], "data.captions: each needs one {} for the class name; got 'a cat'"),
    ],
)
def test_what_makes_no_captions_is_refused_by_its_key(changes, said):
    with pytest.raises(ValueError, match=r".") as caught:
        recipes.build(recipe(*changes))
    assert said in str(caught.value)


def test_captions_without_an_encoder_are_refused():
    with pytest.raises(ValueError, match=r"need an encoder: data\.text"):
        recipes.build(recipes.override(presets.mnist(), ['data.captions=["a {}"]']))


def test_text_for_a_model_of_labels_is_refused(tmp_path, capsys):
    """The checkpoint says whether it was trained on captions."""
    from scorefield.storage import models

    built = recipes.build(recipes.override(presets.mnist(), ["network.width=8"]))
    models.save(tmp_path / "c", built.denoiser, {"event_shape": [1, 4, 4]}, transform=built.transform)
    with pytest.raises(SystemExit) as stop:
        main(["sample", str(tmp_path / "c"), "--text", "a cat", "--out", str(tmp_path / "s.png")])
    assert stop.value.code == 2
    assert "--text was given, but this model was trained without captions" in capsys.readouterr().err
