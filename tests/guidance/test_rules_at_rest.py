"""Where the two predictions agree, a rule has a derivative: that of no guidance at all."""

import pytest
import torch

import scorefield as sf
from scorefield import guidance

f64 = torch.float64
RULES = {
    "line": guidance.line,
    "rescaled": guidance.Rescaled(),
    "projected": guidance.Projected(),
    "cut": guidance.Projected(radius=1.0),
    "cut, parallel": guidance.Projected(parallel=1.0, radius=1.0),
}


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.0, torch.full((2, 1), 3.0, dtype=f64)], ids=["0", "1", "3", "each"])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_derivatives_are_finite_where_predictions_agree_or_are_zero(rule, weight):
    for c in (torch.zeros(2, 3, dtype=f64), torch.ones(2, 3, dtype=f64)):
        b = c.clone()
        grads = torch.autograd.functional.jacobian(lambda c, b: rule(c, b, weight), (c, b))
        assert all(bool(g.isfinite().all()) for g in grads)


@pytest.mark.parametrize("radius", [1.0, 1e3])
def test_a_bounded_update_that_is_0_is_not_cut(radius):
    """d/dc and d/db at c = b are those of the rule without a bound, by differences of 1e-6 too."""
    c = torch.tensor([[1.0, -2.0, 0.5]], dtype=f64)
    cut, free = (
        torch.autograd.functional.jacobian(lambda c, b, r=r: r(c, b, 3.0), (c, c.clone()))
        for r in (guidance.Projected(radius=radius), guidance.Projected())
    )
    for a, b in zip(cut, free, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    step, rule = 1e-6 * torch.eye(3, dtype=f64), guidance.Projected(radius=radius)
    by_differences = torch.cat([(rule(c + e, c, 3.0) - rule(c - e, c, 3.0)) / 2e-6 for e in step]).T
    torch.testing.assert_close(cut[0][0, :, 0], by_differences, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_likelihoods_of_a_new_network_and_of_null_samples_are_numbers(rule):
    torch.manual_seed(0)
    net = sf.networks.MLP(2, hidden=16, depth=1, num_classes=3)  # its last layer is 0: the predictions agree
    denoiser = sf.ClassifierFreeGuidance(sf.NetworkDenoiser(net, sf.VP(), sf.V(), data_std=1.0), 3.0, rule=rule)
    x, label = torch.randn(6, 2), torch.arange(6) % 3
    assert bool(sf.log_prob(denoiser, x, cond={"label": label}, tolerance=0.1).log_prob.isfinite().all())
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    null = torch.arange(6) < 3
    found = sf.log_prob(denoiser, x, cond={"label": label, "null": null}, tolerance=0.1).log_prob
    assert bool(found.isfinite().all())
    plain = sf.ClassifierFreeGuidance(denoiser.denoiser, 1.0)
    alone = sf.log_prob(plain, x, cond={"label": label, "null": null}, tolerance=0.1).log_prob
    torch.testing.assert_close(found[null], alone[null], rtol=0, atol=0.05)


def test_the_weight_of_an_interval_keeps_its_digits():
    weight = guidance.Interval(1.1, 0.5, 2.0)(torch.tensor([0.1, 1.0], dtype=f64))
    assert weight.tolist() == [1.0, 1.1]
