"""Every preset builds what it says and trains; what cannot be built is refused in a line that names its key."""

import numpy as np
import pytest
import torch
from PIL import Image

import scorefield as sf
from scorefield import catalogue, losses, recipes, training
from scorefield.recipes import presets


def pictures(folder):
    """Two classes of three pictures, of different sizes."""
    generator = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for i in range(3):
            grey = generator.integers(0, 256, (40 + 8 * i, 36, 3), dtype=np.uint8)
            Image.fromarray(grey).save(folder / label / f"{i}.png")
    return str(folder)


def small(recipe, *more):
    """Two steps of it, with a network of the same kind and a few hundred weights."""
    size = ["network.hidden=16"] if recipe.network.type == "MLP" else ["network.width=8"]
    return recipes.override(recipe, ["training.steps=2", "training.batch_size=4", "optim.warmup=1", *size, *more])


PLAIN, OF_FOLDERS = (
    ("digits", "two_moons", "tabular", "series", "mnist", "fashion"),
    ("image_folder", "photos", "photos_gpu"),
)


@pytest.mark.parametrize("name", [*PLAIN, *OF_FOLDERS])
def test_every_preset_builds_and_trains(name, tmp_path):
    maker = getattr(presets, name)
    recipe = small(maker(pictures(tmp_path / "images")) if name in OF_FOLDERS else maker())
    try:
        built = recipes.build(recipe)
    except FileNotFoundError:
        assert name in ("mnist", "fashion")
        pytest.skip(f"{name} is not on this machine")
    before = [p.detach().clone() for p in built.denoiser.parameters()]
    result = training.fit(built.denoiser, built.source, **built.fit)
    assert result.history.step == [1, 2]
    assert any(not torch.equal(a, b) for a, b in zip(before, built.denoiser.parameters(), strict=True))
    # the denoiser knows its data: the transform's moments are its own, and the weights are the seed's alone
    assert built.transform is not None
    assert (built.denoiser.data_std, built.denoiser.data_mean) == (built.transform.sigma_data, built.transform.mean)
    torch.manual_seed(99)
    again = recipes.build(recipe).denoiser
    assert all(torch.equal(a, b) for a, b in zip(before, again.parameters(), strict=True))
    assert not all(
        torch.equal(a, b)
        for a, b in zip(before, recipes.build(recipe.model_copy(update={"seed": 1})).denoiser.parameters(), strict=True)
    )


def test_the_image_folder_keeps_its_classes_and_size(tmp_path):
    built = recipes.build(small(presets.image_folder(pictures(tmp_path / "images"))))
    assert built.source.event_shape == (3, 32, 32)
    assert built.source.num_classes == 2
    plain = recipes.build(small(presets.image_folder(str(tmp_path / "images")), "data.conditional=false"))
    assert plain.source.num_classes is None
    assert plain.source.batch(torch.arange(2)).cond == {}


def test_what_the_data_decide_is_filled_in_and_what_is_said_is_kept():
    built = recipes.build(small(presets.two_moons()))
    assert isinstance(built.denoiser.parameterization, sf.EDMPreconditioning)
    assert built.denoiser.parameterization.sigma_data == pytest.approx(1.0)
    said = recipes.build(small(presets.two_moons(), "parameterization.sigma_data=0.3"))
    assert said.denoiser.parameterization == sf.EDMPreconditioning(sigma_data=0.3)
    assert isinstance(built.fit["times"], losses.Stratified)
    plain = recipes.build(small(presets.two_moons(), "objective.stratified=false", "objective.times=Uniform"))
    assert isinstance(plain.fit["times"], losses.Uniform)


def test_a_weight_is_a_function_or_a_class_that_makes_one():
    """`EDM` is EDM's own, told the data's standard deviation."""
    for word, weight in (
        ("EDM", losses.weights.EDMWeight(1.0)),
        ('{type="EDM", sigma_data=0.3}', losses.weights.EDMWeight(0.3)),
        ("eps", losses.weights.eps),
        ('{type="MinSNR", gamma=4.0}', losses.weights.MinSNR(4.0)),
    ):
        built = recipes.build(small(presets.two_moons(), f"objective.weight={word}"))
        assert built.fit["weight"] == weight
    assert recipes.build(small(presets.two_moons())).fit["weight"] is None


@pytest.mark.parametrize("name", sorted(catalogue.SCHEDULES))
def test_every_schedule_can_be_trained(name):
    built = recipes.build(small(presets.two_moons(), f"schedule.type={name}", "objective.times.type=Uniform"))
    assert isinstance(built.denoiser.schedule, sf.Schedule)
    if name in ("VEPower", "Brownian", "EDM", "VE", "Rectified"):
        return  # the weight of this target is unbounded, or this noise too small, for a uniform time
    losses_seen = training.fit(built.denoiser, built.source, **built.fit).history.loss
    assert 0 < max(losses_seen) < 10


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["network.type=MPL"], "network.type: unknown 'MPL'. Did you mean 'MLP'?"),
        (["network.hiden=5"], "unknown key 'network.hiden': MLP has no such argument. Did you mean 'hidden'?"),
        (["network.hidden=wide"], "network.hidden: input should be a valid integer"),
        (["schedule.sigma_min=[1]"], "schedule.sigma_min: input should be a valid number"),
        (["objective.loss=denoise"], "objective.loss: unknown 'denoise'. Did you mean 'denoising'?"),
        (["objective.weight=minsnr"], "objective.weight.type: unknown 'minsnr'. Did you mean"),
        (
            ['objective.weight={type="eps", k=1}'],
            "unknown key 'objective.weight.k': eps has no such argument. Known: none.",
        ),
        (["data.transform=standrd"], "data.transform: unknown 'standrd'. Did you mean 'standard'?"),
        (["objective.times.mena=1"], "unknown key 'objective.times.mena': LogNormal has no such argument"),
        (["optim.optimizer=Adam"], "optim.optimizer.type: unknown 'Adam'. Did you mean 'AdamW'?"),
        (["optim.decay=cosin"], "optim.decay: unknown 'cosin'. Did you mean 'cosine'?"),
        (["data.source=two-mons"], "data.source: 'two-mons' is no path, and no name. Did you mean 'two-moons'?"),
    ],
)
def test_what_cannot_be_built_is_refused_by_its_key(changes, said):
    with pytest.raises(ValueError, match=r".") as caught:
        recipes.build(recipes.override(presets.two_moons(), changes))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
