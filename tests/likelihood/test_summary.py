"""The likelihood of many data in one account: each is the library's own, and the line about them adds up."""

import math

import pytest
import torch
from likelihood_cases import MIXTURE, f64, seeded
from scipy import stats

import scorefield as sf
from scorefield import data
from scorefield.data import Arrays
from scorefield.likelihood import (
    Effort,
    bits_per_dim,
    default_probes,
    dequantized,
    elbo,
    log_prob,
    over_data,
    per_datum,
)
from scorefield.likelihood.summary import CHUNK

EFFORT = Effort(tolerance=0.1, elbo_draws=2, seed=3)


def test_data_are_scored_in_chunks_as_if_at_once():
    denoiser = sf.NetworkDenoiser(sf.networks.MLP(2, 8, 1), sf.VP(), sf.Eps())
    x = MIXTURE.sample(CHUNK + 5, generator=seeded(0)).float()
    source, rows, done = Arrays(torch.cat([x, x])), torch.arange(CHUNK + 5, 2 * (CHUNK + 5)), []
    transform = data.Scale.to_standard(x)
    scored = per_datum(denoiser, source, rows, EFFORT, transform=transform, on_chunk=done.append)
    assert done == [CHUNK, 5]
    expected = log_prob(denoiser, x, transform=transform, tolerance=0.1, seed=3)
    # a chunk of 5 and one of 69 round float32 differently: far below the solver's tolerance, which chunks don't change
    torch.testing.assert_close(scored["log_prob"], expected.log_prob, rtol=1e-4, atol=1e-4)
    bound = elbo(denoiser, x, transform=transform, draws=2, seed=3)
    torch.testing.assert_close(scored["elbo"], bound.elbo, rtol=1e-4, atol=1e-4)
    assert scored["evaluations"].shape == (CHUNK + 5,)


def test_integers_get_bits_and_only_the_conditions_the_network_takes():
    torch.manual_seed(0)
    net = sf.networks.MLP(3, 8, 1, num_classes=2)
    torch.nn.init.normal_(next(net.parameters()))
    denoiser = sf.NetworkDenoiser(net, sf.VP(), sf.Eps())
    x, label = torch.randint(0, 4, (6, 3), generator=seeded(1)), torch.arange(6) % 2
    transform = data.Scale.to_standard(x, levels=4)
    source = Arrays(x, label, cond={"weather": torch.ones(6)}, levels=4)
    scored = per_datum(denoiser, source, torch.arange(6), EFFORT, transform=transform)
    told = {"cond": {"label": label}, "seed": 3}
    r = bits_per_dim(denoiser, x, transform, tolerance=0.1, **told)
    torch.testing.assert_close(scored["bits_per_dim"], r.bits)
    y = dequantized(x, 3, torch.arange(6))
    bound = elbo(denoiser, y, transform=transform, draws=2, **told)
    torch.testing.assert_close(scored["elbo"], -bound.elbo / (3 * math.log(2)))
    assert "importance_weighted" not in scored
    twice = per_datum(denoiser, source, torch.arange(6), Effort(None, 0.1, 2, 2, 3), transform=transform)
    assert (twice["importance_weighted"] <= twice["bits_per_dim"] + 1e-9).all()


def scored(n, **more):
    values = torch.arange(float(n), dtype=f64)
    same = torch.full((n,), 0.5, dtype=f64)
    return {"log_prob": 2 * values, "probe": 6 * same, "solver": same, "truncation": 2 * same, "elbo": values - 1,
            "evaluations": values + 10, **more}  # fmt: skip


def test_the_interval_holds_the_spread_and_what_does_not_average_out():
    s = over_data(scored(5), 2)
    assert s["unit"] == "nats per dimension"
    assert s["mean"] == 2.0
    spread = math.sqrt(2.5 / 5)
    assert s["spread"] == pytest.approx(spread)
    assert s["probe"] == pytest.approx(1.5 / math.sqrt(5))
    assert (s["solver"], s["truncation"]) == (0.25, 0.5)
    half = stats.t.ppf(0.975, 4) * math.sqrt(spread**2 + 0.25**2 + 0.5**2)
    assert (s["low"], s["high"]) == (pytest.approx(2 - half), pytest.approx(2 + half))
    assert s["elbo"] == 0.5
    assert (s["evaluations"], s["evaluations_most"], s["n"]) == (12.0, 14, 5)


def test_what_one_datum_does_not_say_is_none():
    s = over_data(scored(1, probe=torch.tensor([math.nan])), 2)
    assert s["mean"] == 0.0
    assert [s[key] for key in ("spread", "low", "high", "probe", "elbo_stderr")] == [None] * 5


def test_probes_are_exact_where_that_is_cheap():
    assert default_probes(16) is None
    assert default_probes(17) == 8
