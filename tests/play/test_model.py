"""Scene `Your model`: what the page is told of a run is what the same lines of Python give."""

import base64
import math

import numpy as np
import pytest
import torch
from scipy import stats

import scorefield as sf
from scorefield import inverse, recipes, runs
from scorefield.data import units
from scorefield.inverse import Units, operators
from scorefield.likelihood import bits_per_dim
from scorefield.play import models
from scorefield.randomness import Noise
from scorefield.recipes import presets

# of a network that has learned for a second
pytestmark = pytest.mark.filterwarnings("ignore:.*left the data's range")

HALF = np.repeat([[0] * 4 + [1] * 4], 8, 0).astype(np.uint8)
PICTURE = (16 * np.arange(64) % 256).astype(np.uint8)


def coded(array):
    return base64.b64encode(array.tobytes()).decode()


def answer(run, kind, **said):
    return models.asked(kind, {"run": "digits", **said}).answer(run)


def grey(raw):
    """Bytes `(N, H, W, C)` of raw data with 17 levels."""
    return (255 * raw.double() / 16).round().byte().movedim(1, -1).numpy()


@pytest.mark.parametrize("solver", [None, "ddim", "ddpm", "heun", "adaptive", "stochastic-adams"])
def test_samples_are_the_librarys_to_the_bit(run, solver):
    nfe = None if solver == "adaptive" else 12
    said, arrays = answer(run, "sample", n=10, solver=solver, nfe=nfe, seed=3, label=4)
    drawn = run.sample(10, label=4, solver=solver, nfe=nfe, seed=3)
    np.testing.assert_array_equal(arrays["samples"], grey(drawn.raw))
    assert (said["nfe"], said["solver"]) == (drawn.nfe, type(drawn.solver).__name__)
    assert said["grey"] == int(drawn.raw[0].sum())
    np.testing.assert_array_equal(arrays["film_x0"][-1], arrays["samples"][:8])  # it ends with what was drawn


def test_guided_samples_are_the_librarys_to_the_bit(run):
    arrays = answer(run, "sample", n=4, nfe=6, label=7, guidance=2.5).arrays
    drawn = run.guided(2.5).sample(4, label=7, nfe=6)
    np.testing.assert_array_equal(arrays["samples"], grey(drawn.raw))


def test_the_film_is_the_trajectory(run):
    """x_t as noise at every level looks: of the data's mean and standard deviation; E[x0 | x_t] at that x_t."""
    said, arrays = answer(run, "sample", n=10, solver="ddim", nfe=6, seed=1)
    made = sf.sample(run.denoiser, (10, 1, 8, 8), solver=sf.DDIM(), nfe=6, seed=1, trajectory=True)
    assert arrays["film_x"].shape == (7, 8, 8, 8, 1)
    assert made.times is not None
    assert made.trajectory is not None
    d = run.denoiser
    for k, t in enumerate(made.times):
        alpha, sigma = (float(v) for v in d.schedule(t))
        spread = math.hypot(alpha * d.data_std, sigma)
        x = d.data_mean + (made.trajectory[k, :8] - alpha * d.data_mean) * d.data_std / spread
        shown = grey(units.raw(x, run.transform))
        assert np.mean(arrays["film_x"][k] != shown) < 0.02  # but for rounding at an edge of a grey level
        if k < 6:
            np.testing.assert_array_equal(
                arrays["film_x0"][k], grey(units.raw(d(made.trajectory[k, :8], t), run.transform))
            )
        assert said["noise"][k] == pytest.approx(sigma / alpha)


def test_a_tuned_sampler_is_used_when_it_is_asked_for(digits, run):
    with pytest.raises(ValueError, match="no tuned sampler of 3 evaluations"):
        answer(run, "sample", nfe=3, solver="tuned")
    run.keep(3, run.tune(3, paths=4))
    assert models.described("digits", run)["tuned"] == [3]
    tuned, default = answer(run, "sample", nfe=3, solver="tuned"), answer(run, "sample", nfe=3)
    np.testing.assert_array_equal(tuned.arrays["samples"], grey(run.sample(16, nfe=3).raw))
    assert (tuned.said["solver"], default.said["solver"]) == ("Tuned", "Kriging")
    (digits / "tuned" / "nfe-3.json").unlink()


def test_interpolation_is_the_decoded_arc(run):
    said, arrays = answer(run, "interpolate", seed=5, other=9, steps=4, nfe=8, label=2)
    a, b = (Noise(seed, torch.zeros(1, dtype=torch.int64), (1, 8, 8)).normal(0) for seed in (5, 9))
    z = torch.cat([sf.slerp(a, b, w) for w in torch.linspace(0, 1, 4, dtype=torch.float64).tolist()])
    x = sf.decode(run.denoiser, z, nfe=8, cond={"label": torch.full((4,), 2)})
    np.testing.assert_array_equal(arrays["path"], grey(units.raw(x, run.transform)))
    assert len(said["apart"]) == 3


def test_likelihood_is_the_librarys(run):
    said, arrays = answer(run, "likelihood", picture=coded(PICTURE), seed=2)
    raw = torch.from_numpy(np.rint(PICTURE / 255 * 16)).long().reshape(1, 1, 8, 8)
    found = bits_per_dim(run.denoiser, raw, run.transform, probes=8, seed=2)
    assert said["bits"] == float(found.bits)
    error = math.sqrt(float(found.probe) ** 2 + float(found.solver) ** 2 + float(found.truncation) ** 2)
    assert said["high"] - said["low"] == pytest.approx(2 * stats.t.ppf(0.975, 7) * error)
    assert said["uniform"] == math.log2(17)
    np.testing.assert_array_equal(arrays["picture"], grey(raw))


def test_likelihood_of_a_model_of_bare_integers_is_refused_with_its_reason(tmp_path):
    recipe = recipes.override(presets.digits(), ["network.width=8", "training.steps=1", "data.dequantize=false"])
    run = runs.train(tmp_path / "bare", recipe)
    assert run is not None
    reason = "bits per dimension need a model of dequantised data; this one saw the bare integers"
    assert models.described("bare", run)["no_likelihood"] == reason
    with pytest.raises(ValueError, match=reason):
        answer(run, "likelihood", picture=coded(PICTURE))


@pytest.mark.parametrize("picture", [None, coded(PICTURE)])
@pytest.mark.parametrize("kind", ["inpaint", "ct"])
def test_posteriors_are_the_librarys(run, kind, picture):
    more = {"mask": coded(HALF)} if kind == "inpaint" else {"views": 5}
    said, arrays = answer(run, kind, picture=picture, draws=3, nfe=6, seed=1, noise=0.05, **more)
    raw = run.sample(1, seed=1).raw
    if picture is not None:
        raw = torch.from_numpy(np.rint(PICTURE / 255 * 16)).long().reshape(1, 1, 8, 8)
    scale = Units.of(run.transform)
    operator = operators.Radon((1, 8, 8), torch.pi * torch.arange(5, dtype=torch.float64) / 5)
    if kind == "inpaint":
        operator = operators.Mask(torch.from_numpy(HALF) == 0, (1, 8, 8))
    likelihood = inverse.simulate(operator, scale.of_raw(raw), 0.05, seed=1)
    posterior = run.posterior(scale.in_model(likelihood), seed=1)
    x = scale.of_model(posterior.sample(3, nfe=6, seed=1, dtype=torch.float32).x)[0]
    shown = (255 * x.clamp(0, 1)).round().byte().movedim(1, -1).numpy()
    np.testing.assert_array_equal(arrays["draws"], shown)
    np.testing.assert_array_equal(arrays["sd"], x.std(0).movedim(0, -1).float().numpy())
    np.testing.assert_array_equal(arrays["truth"], grey(raw)[0])
    assert said["psnr"] == pytest.approx(float(-10 * (x.mean(0) - raw[0] / 16).square().mean().log10()))


def test_what_is_no_run_of_pictures_is_refused_in_one_line(tmp_path, digits):
    table = recipes.override(presets.two_moons(), ["training.steps=1", "network.hidden=8"])
    runs.train(tmp_path / "moons", table)
    with pytest.raises(ValueError, match=r"moons: the page shows pictures, .*; this run's data are \(2,\), continuous"):
        models.loaded([tmp_path / "moons"], print)
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        models.loaded([tmp_path], print)
    with pytest.raises(FileNotFoundError, match="no run at"):
        models.loaded([tmp_path / "none"], print)
    assert list(models.loaded([digits, digits], print)) == ["digits", "digits (2)"]


def test_colour_pictures_that_are_not_square_keep_their_shape_and_channels(tmp_path):
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    for i in range(8):
        Image.new("RGB", (12, 8), (255, 20 * i, 0)).save(tmp_path / "pictures" / f"{i}.png")
    recipe = presets.image_folder(str(tmp_path / "pictures"))
    changes = ["network.width=8", "training.batch_size=8", "training.steps=2", "data.policy.size=[8, 12]"]
    run = runs.train(tmp_path / "colour", recipes.override(recipe, changes))
    assert run is not None
    assert run.event_shape == (3, 8, 12)
    said = models.described("colour", run)
    assert (said["shape"], said["classes"], said["guided"]) == ([3, 8, 12], 0, False)
    picture = np.random.default_rng(0).integers(0, 256, (8, 12, 3)).astype(np.uint8)
    for kind, more in {
        "ct": {"views": 3},
        "inpaint": {"mask": coded(np.repeat([[0] * 6 + [1] * 6], 8, 0).astype("u1"))},
    }.items():
        arrays = answer(run, kind, picture=coded(picture), draws=2, nfe=2, **more).arrays
        np.testing.assert_array_equal(arrays["truth"], picture)
        assert arrays["draws"].shape == (2, 8, 12, 3)
        assert arrays["sd"].shape == (8, 12, 3)
    drawn = run.sample(2, nfe=2)
    np.testing.assert_array_equal(
        answer(run, "sample", n=2, nfe=2).arrays["samples"], drawn.raw.movedim(1, -1).byte().numpy()
    )
