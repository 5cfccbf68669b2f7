"""Where the two predictions agree, a rule has a derivative: that of no guidance at all."""

import pytest
import torch

import scorefield as sf
from scorefield import guidance, inverse

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


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.0, torch.tensor([0.0, 1.0, 3.0], dtype=f64).reshape(3, 1, 1, 1)])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_they_are_right_there_by_differences(rule, weight):
    """With channels, the last sample's predictions apart. Central differences of 1e-6 err by 1e-10 and rounding."""
    generator = torch.Generator().manual_seed(0)
    c = torch.randn(3, 2, 2, 1, dtype=f64, generator=generator)
    b = c.clone()
    b[2] += torch.randn(2, 2, 1, dtype=f64, generator=generator)
    step = 1e-6 * torch.eye(12, dtype=f64).reshape(12, 3, 2, 2, 1)
    found = torch.autograd.functional.jacobian(lambda c, b: rule(c, b, weight), (c, b))
    for i, got in enumerate(found):
        moved = [(c + e, b) if i == 0 else (c, b + e) for e in (*step, *-step)]
        ends = torch.stack([rule(*pair, weight) for pair in moved])
        slopes = ((ends[:12] - ends[12:]) / 2e-6).movedim(0, -1)
        torch.testing.assert_close(got.reshape(slopes.shape), slopes, rtol=1e-6, atol=1e-6)


METHODS = {
    "DPS": inverse.DPS(),
    "PiGDM": inverse.Guidance(inverse.PiGDM),
    "twisted": inverse.TwistedSMC(particles=4),
    "bridge": inverse.Bridge(particles=4),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_posteriors_of_null_samples_are_those_of_the_model_itself(rule, method):
    """Where the predictions agree guidance does nothing, in value and derivative: to rounding of float32."""
    torch.manual_seed(0)
    net = sf.networks.MLP(2, hidden=16, depth=1, num_classes=3)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    plain = sf.NetworkDenoiser(net, sf.VP(), sf.V(), data_std=1.0)
    operator = inverse.operators.Dense(torch.tensor([[1.0, 0.0]]))
    given = inverse.GaussianNoise(operator, torch.full((4, 1), 0.5), 0.1)
    null = torch.tensor([True, False, True, False])
    cond = {"label": torch.zeros(4, dtype=torch.int64), "null": null}
    weights = torch.tensor([3.0, 0.0, 3.0, 3.0])
    guided = sf.ClassifierFreeGuidance(plain, 3.0, rule=rule)
    x = inverse.condition(guided, given, method, cond={**cond, "guidance": weights}).sample(4, nfe=8).x
    want = inverse.condition(plain, given, method, cond=cond).sample(4, nfe=8).x
    assert bool(x.isfinite().all())
    torch.testing.assert_close(x[null], want[null], rtol=0, atol=1e-4)
    assert float((x[3] - want[3]).abs().max()) > 1e-3
