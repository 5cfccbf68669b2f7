"""VAE and GAN are runs as any other: recipes, checkpoints that go on to the bit, `sf.load`, samples, and refusals."""

import os
import re
import signal
from typing import Any

import pytest
import torch

import scorefield as sf
from scorefield import networks, recipes, runs
from scorefield.baselines import GAN, VAE
from scorefield.networks import latent
from scorefield.recipes import presets
from scorefield.runs import training as runs_training
from scorefield.storage import checkpoints, models

SMALL = ("training.batch_size=16", "optim.warmup=2", "optim.ema_decay=0.5", "logging.checkpoint_every=3")
KINDS = {
    "vae of pictures": (presets.vae, "digits", ["network.width=8", "network.latent=3"]),
    "vae of grey values": (presets.vae, "digits", ["network.width=8", "objective.likelihood='logistic'"]),
    "gan of points": (presets.gan, "two-moons", ["network.hidden=16"]),
    "wasserstein of pictures": (lambda s: presets.gan(s, "wasserstein"), "digits", ["network.width=8"]),
    "non-saturating of points": (lambda s: presets.gan(s, "non-saturating"), "two-moons", ["network.hidden=16"]),
}


def left(folder, step):
    """Every file of a checkpoint: weights, averages, optimisers, state."""
    path = folder / "checkpoints" / f"step-{step:06d}"
    checkpoints.verify(path)
    return {file.name: file.read_bytes() for file in path.iterdir()}


def recipe(kind, steps=8, *more):
    make, source, changes = KINDS[kind]
    return recipes.override(make(source), [*SMALL, f"training.steps={steps}", *changes, *more])


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_stopped_ends_as_one_that_never_was(tmp_path, kind, monkeypatch):
    whole = runs.train(tmp_path / "whole", recipe(kind))
    fit = runs_training.fit

    def stopping(*args: Any, **options: Any):
        return fit(*args, on_step=lambda p: os.kill(os.getpid(), signal.SIGTERM) if p.step == 4 else None, **options)

    monkeypatch.setattr("scorefield.runs.training.fit", stopping)
    with pytest.raises(runs.Interrupted):
        runs.train(tmp_path / "parts", recipe(kind))
    monkeypatch.undo()
    parts = runs.train(tmp_path / "parts", recipe(kind))
    assert left(tmp_path / "parts", 8) == left(tmp_path / "whole", 8)
    assert whole is not None
    assert parts is not None
    assert torch.equal(sf.load(tmp_path / "parts").sample(5, seed=2).x, whole.sample(5, seed=2).x)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, kind in (("vae", "vae of grey values"), ("gan", "gan of points")):
        runs.train(folder / name, recipe(kind, 4))
    return folder


def test_what_is_loaded_draws_in_the_units_of_the_data(folder):
    vae, gan = sf.load(folder / "vae"), sf.load(folder / "gan")
    assert isinstance(vae.model, VAE)
    assert isinstance(gan.model, GAN)
    drawn = vae.sample(7, seed=1)
    assert drawn.raw.shape == (7, 1, 8, 8)
    assert drawn.raw.dtype == torch.int64
    assert 0 <= int(drawn.raw.min()) <= int(drawn.raw.max()) <= 16
    assert (drawn.nfe, drawn.stepped) == (1, False)
    assert torch.equal(vae.sample(3, seed=1, first_index=2).raw, drawn.raw[2:5])
    assert gan.sample(5).raw.shape == (5, 2)
    x = vae.to_model(vae.held_out().source.batch(torch.arange(6)).x, torch.arange(6))
    assert isinstance(vae.model, VAE)
    assert bool((vae.model.bound(x, importance=4) < 0).all())  # of masses
    titles = re.findall("<h2>(.*?)</h2>", vae.report().read_text())
    assert titles == ["Samples beside data", "Training", "Nearest training data"]  # and no noise levels
    with pytest.raises(ValueError, match="by no solver"):
        _ = drawn.solver


def test_what_they_lack_is_refused_in_a_line_with_the_reason(folder):
    vae, gan = sf.load(folder / "vae"), sf.load(folder / "gan")
    with pytest.raises(ValueError, match="is a GAN and has no score: a GAN learns to draw and nothing else"):
        _ = gan.denoiser
    with pytest.raises(ValueError, match="is a VAE and has no score"):
        models.load(folder / "vae" / "checkpoints" / "step-000004" / "ema.safetensors")
    with pytest.raises(ValueError, match="is a VAE, not a classifier"):
        _ = vae.classifier
    with pytest.raises(ValueError, match="nfe: a GAN draws in one evaluation"):
        gan.sample(3, nfe=5)
    with pytest.raises(ValueError, match="solver: a VAE draws in one evaluation"):
        vae.sample(3, solver="heun")
    with pytest.raises(ValueError, match="trained without labels"):
        vae.sample(3, label=1)


REFUSED = {
    "objective.loss=denoising": r"objective.loss: task = 'vae' takes elbo; got 'denoising'",
    "objective.loss=relativistic": r"objective.loss: task = 'vae' takes elbo; got 'relativistic'",
    "data.conditional=true": r"data.conditional: must be false for task = 'vae'",
    "network.type=UNet": r"network.type: task = 'vae' takes MLPGenerator or ConvGenerator; got 'UNet'",
    "objective.penalty=1.0": r"objective.penalty: is for task = 'gan'; got 'vae'",
}


@pytest.mark.parametrize("change", REFUSED)
def test_a_recipe_of_parts_that_do_not_go_together_is_refused(change):
    with pytest.raises(ValueError, match=REFUSED[change]):
        recipes.build(recipes.override(presets.vae(), [change]))


def test_further_recipes_that_are_refused():
    with pytest.raises(ValueError, match=r"objective.loss: task = 'denoiser' has another; got 'elbo'"):
        recipes.build(recipes.override(presets.two_moons(), ["objective.loss=elbo"]))
    with pytest.raises(ValueError, match=r"network.type: task = 'denoiser' needs a network that is told"):
        recipes.build(recipes.override(presets.two_moons(), ["network.type=MLPGenerator"]))
    with pytest.raises(ValueError, match=r"objective.likelihood: 'logistic' is for data of whole numbers"):
        recipes.build(recipes.override(presets.vae("two-moons"), ["objective.likelihood='logistic'"]))


@pytest.mark.parametrize("event", [(1, 8, 8), (3, 9, 5), (2, 11)])
@pytest.mark.parametrize("patch", [1, 2])
def test_convolutions_go_both_ways_at_any_size(event, patch):
    up = networks.ConvGenerator(4, event, width=8, multipliers=(1, 2, 2), patch=patch)
    down = networks.ConvFeatures(event, 3, width=8, multipliers=(1, 2, 2), patch=patch)
    x = up(torch.randn(2, 4, generator=torch.Generator().manual_seed(0)))
    assert x.shape == (2, *event)
    assert down(x).shape == (2, 3)
    for wrong in ((4,), (1, 2, 3, 4)):
        with pytest.raises(ValueError, match=r"event_shape must be \(C, L\) or \(C, H, W\)"):
            networks.ConvFeatures(wrong, 3)


def test_a_width_is_found_for_a_number_of_parameters():
    def make(width):
        return networks.MLPGenerator(2, (2,), hidden=width, depth=3)

    target = latent.count(make(100)) + 300
    assert latent.match(make, target) == 100
    assert latent.match(make, latent.count(make(101)) - 1) == 101
