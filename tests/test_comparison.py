"""The comparison measures what it says, keeps what it made, and tells collapse from blur."""

import json

import pytest
import torch

import scorefield as sf
from scorefield import recipes
from scorefield.comparison import METHODS, NETWORKS, compare, load, methods, sentences, table, write
from scorefield.comparison.measure import judge
from scorefield.data import Arrays
from scorefield.networks.latent import count

NAMES = ["flow matching, 10 steps", "VAE", "GAN, relativistic"]
SMALL = {"seconds": 0.05, "seeds": 2, "samples": 60, "evaluations": 12}


@pytest.fixture(scope="module")
def law():
    return sf.distributions.gaussian_grid()


@pytest.fixture(scope="module")
def measure(law):
    x = law.sample(100, generator=torch.Generator().manual_seed(0))
    return judge("25-gaussians", Arrays(x), Arrays(x), 500)


def test_exact_samples_are_at_the_floor(law, measure):
    found = measure(law.sample(500, generator=torch.Generator().manual_seed(1)))
    assert found.modes == 25
    assert found.good > 0.99  # exp(-8) lie beyond four deviations
    assert found.coverage > 0.9
    assert found.weights == pytest.approx(measure.floor.weights, rel=0.6)
    # of 500 samples E 1/2 sum |share - 1/25| = 25/2 sqrt(2/pi) sqrt(.04 .96 / 500) = .087 by the normal law
    assert measure.floor.weights == pytest.approx(0.087, rel=0.25)


def test_a_lost_mode_is_seen_and_blur_is_none(law, measure):
    x = law.sample(2000, generator=torch.Generator().manual_seed(2))
    kept = x[torch.cdist(x, law.means).argmin(1) >= 3][:500]
    found = measure(kept)
    assert found.modes == 22
    assert found.shares[:3] == [0, 0, 0]
    assert found.weights > 3 / 25
    assert found.coverage < 0.95
    blurred = measure(x[:500] + 0.2 * torch.randn(500, 2, generator=torch.Generator().manual_seed(3)))
    assert blurred.modes == 25
    assert blurred.good < 0.7


def test_pictures_are_measured_by_their_classes():
    spec = methods.recipe("EDM", "digits", 1, 0).data.model_copy(update={"conditional": True})
    train, test = recipes.training_data(spec), recipes.held_out(spec)[0]
    measure = judge("digits", train, test, 200)
    real = train.batch(torch.arange(200)).x
    assert measure(real).modes == 10
    assert measure(real).distance < 3 * measure.floor.distance
    ones = train.batch(torch.arange(len(train))[train.batch(torch.arange(len(train))).cond["label"] == 1][:80]).x
    assert measure(ones).modes < 4
    assert measure(ones).coverage < 0.5
    with pytest.raises(ValueError, match="at most half of the"):
        judge("digits", train, test, 500)
    with pytest.raises(ValueError, match="separate modes"):
        judge("two-moons", train, test, 200)


def test_every_network_is_built_and_is_of_one_size():
    sizes = {}
    for data in ("25-gaussians", "digits"):
        for name in NETWORKS:
            made = methods.recipe(name, data, 1, 0)
            if name != "student":  # which needs a teacher
                built = recipes.build(made).denoiser
                model = getattr(built, "model", built)
                sizes[data, name] = count(getattr(model, "decoder", model))
        plain = sizes[data, "VP"]
        for name in NETWORKS:
            if name != "student":
                assert sizes[data, name] == pytest.approx(plain, rel=0.06)
    assert {method.network for method in METHODS} == set(NETWORKS)


def test_every_method_draws_within_its_evaluations(law):
    """With the exact score in the network's place each chain ends near the law, and none takes more than it may."""
    for method in METHODS:
        if method.draw is None:
            continue
        schedule = recipes.build(methods.recipe(method.network, "25-gaussians", 1, 0)).denoiser.schedule
        solver, times = method.draw(sf.ExactDenoiser(law, schedule), 120)
        made = sf.sample(sf.ExactDenoiser(law, schedule), (200, 2), solver=solver, times=times, seed=1)
        assert made.nfe <= 240
        assert bool(made.x.isfinite().all())
        near = torch.cdist(made.x, law.means).min(1).values
        assert float(near.median()) < 0.12, method.name


def test_a_comparison_is_kept_goes_on_and_says_what_it_found(tmp_path):
    said = []
    first = compare(tmp_path, methods=NAMES[:2], say=said.append, **SMALL)
    assert list(first.results) == NAMES[:2]
    again = []
    whole = compare(tmp_path, methods=NAMES, say=again.append, **SMALL)
    assert not [line for line in again if "VAE" in line or "flow" in line]  # only what was not there
    for name in NAMES[:2]:
        assert whole.results[name] == first.results[name]
    assert [r.seed for r in whole.results["GAN, relativistic"]] == [0, 1]
    made = whole.results["VAE"][0]
    assert made.trained > 1.8 * made.parameters
    assert made.nfe == 1
    assert made.likelihood is not None
    assert whole.results["GAN, relativistic"][0].likelihood is None
    assert write(whole).read_text().count("<h2>") == 3
    told = json.loads((tmp_path / "comparison.json").read_text())
    assert len(told["results"]) == 6
    assert told["sentences"] == sentences(whole)
    assert "real data have" in sentences(whole)[0]
    row = dict(zip([name for name, *_ in table(whole)], table(whole), strict=True))
    assert row["VAE"][7].startswith(">= ")
    assert row["GAN, relativistic"][7] == "none"
    assert load(tmp_path).results == whole.results


def test_what_makes_no_sense_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"unknown method 'VAES'\. Did you mean 'VAE'"):
        compare(tmp_path, methods=["VAES"])
    with pytest.raises(ValueError, match=r"unknown data 'digit'\. Did you mean 'digits'"):
        compare(tmp_path, "digit")
    with pytest.raises(ValueError, match="seconds must be positive"):
        compare(tmp_path, seconds=0)
    (tmp_path / "plan.json").write_text(json.dumps({"format": 1, "data": "digits", "costs": {}}))
    with pytest.raises(ValueError, match="compares with data 'digits'; got '25-gaussians'"):
        compare(tmp_path, methods=NAMES)
    with pytest.raises(FileNotFoundError, match="no comparison at"):
        load(tmp_path / "none")
    with pytest.raises(ValueError, match="unknown network"):
        methods.recipe("VAEs", "digits", 1, 0)
