"""Classifier-free guidance and autoguidance: weights 0 and 1, evaluations, intervals, negatives, each sample's own."""

import pytest
import torch
from guidance_cases import Counting, classes, f64, network, points

import scorefield as sf
from scorefield import grids
from scorefield.guidance import Interval, Projected, Rescaled, line

LABEL = torch.tensor([0, 1, 2, 0, 1, 2])
T = torch.tensor(0.4, dtype=f64)


@pytest.fixture(params=["exact", "network"])
def model(request):
    return classes() if request.param == "exact" else network()


def test_one_is_the_conditional_model_and_zero_the_unconditional_to_the_bit(model):
    x = points()
    assert torch.equal(sf.ClassifierFreeGuidance(model, 1.0)(x, T, label=LABEL), model(x, T, label=LABEL))
    assert torch.equal(sf.ClassifierFreeGuidance(model, 0.0)(x, T, label=LABEL), model(x, T))


def test_the_noise_prediction_is_extrapolated(model):
    """eps = eps(none) + w (eps(y) - eps(none)), written as it is in the literature."""
    x, w = points(), 2.5
    guided = sf.eps(sf.ClassifierFreeGuidance(model, w), x, T, label=LABEL)
    none, given = sf.eps(model, x, T), sf.eps(model, x, T, label=LABEL)
    torch.testing.assert_close(guided, none + w * (given - none))


def test_the_score_is_bayes_rule_with_a_sharper_likelihood():
    """score + w grad log p(y | x_t), by differentiating the exact posterior of the class."""
    model, x, w = classes(), points(), 3.0
    alpha, sigma = (float(v) for v in model.schedule(T))

    def log_class(x):
        logs = torch.stack([law.noised(alpha, sigma).log_prob(x) for law in model.laws], 1) + model.weights.log()
        return torch.log_softmax(logs, 1)[torch.arange(len(x)), LABEL]

    x.requires_grad_()
    (gradient,) = torch.autograd.grad(log_class(x).sum(), x)
    x = x.detach()
    guided = sf.score(sf.ClassifierFreeGuidance(model, w), x, T, label=LABEL)
    torch.testing.assert_close(guided, sf.score(model, x, T) + w * gradient, rtol=1e-9, atol=1e-9)


def test_a_network_is_called_once_with_twice_the_batch_and_once_with_the_batch_at_one_and_zero():
    model = network()
    seen = Counting(model.net)
    for w, rows in ((2.0, 12), (1.0, 6), (0.0, 6)):
        sf.ClassifierFreeGuidance(model, w)(points(), T, label=LABEL)
        assert seen.rows.pop() == rows
        assert not seen.rows


def test_one_call_and_two_calls_agree_for_every_kind_of_condition():
    model = network(num_classes=3, vector_dim=2, token_dim=4)
    g = torch.Generator().manual_seed(0)
    tokens = torch.randn(6, 3, 4, dtype=f64, generator=g)
    cond = {"label": LABEL, "vector": points(), "tokens": tokens, "token_mask": tokens[:, :, 0] > 0}
    cond["null"] = torch.tensor([False, True, False, False, False, False])
    x = points()
    t = torch.linspace(0.2, 0.7, 6, dtype=f64)
    guided = sf.ClassifierFreeGuidance(model, 2.0)(x, t, **cond)
    expected = line(model(x, t, **cond), model(x, t), 2.0)
    torch.testing.assert_close(guided, expected)
    torch.testing.assert_close(guided[1], model(x, t)[1])  # null: there is nothing to guide to


def test_a_negative_condition_takes_the_place_of_none(model):
    x, other = points(), torch.full((6,), 2)
    guided = sf.ClassifierFreeGuidance(model, 2.0, negative={"label": 2})(x, T, label=LABEL)
    torch.testing.assert_close(guided, 2 * model(x, T, label=LABEL) - model(x, T, label=other))


def test_each_sample_may_have_its_own_weight(model):
    x, w = points(), torch.tensor([0.0, 1.0, 2.0, 4.0, 0.5, -1.0], dtype=f64)
    guided = sf.ClassifierFreeGuidance(model, 7.0)
    together = guided(x, T, label=LABEL, guidance=w)
    for i in range(6):
        alone = sf.ClassifierFreeGuidance(model, float(w[i]))(x[i : i + 1], T, label=LABEL[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone)
    run = sf.sample(guided, (6, 2), nfe=5, cond={"label": LABEL, "guidance": w}, chunk=4, dtype=f64)
    alone = sf.sample(guided, (1, 2), nfe=5, cond={"label": LABEL[4:5], "guidance": w[4:5]}, first_index=4, dtype=f64)
    torch.testing.assert_close(run.x[4:5], alone.x)
    with pytest.raises(ValueError, match=r"guidance must have an entry for each of the 6 samples; got shape \(2,\)"):
        guided(x, T, label=LABEL, guidance=w[:2])
    with pytest.raises(ValueError, match=r"guidance must have shape \(6,\), one for each of x_t; got \(6, 1\)"):
        guided(x, T, label=LABEL, guidance=w[:, None])


def test_an_interval_guides_within_it_and_costs_one_evaluation_outside():
    model = classes()
    guided = sf.ClassifierFreeGuidance(model, Interval(3.0, low=0.2, high=2.0))
    x = points()
    for ratio, w, calls in ((0.1, 1.0, 1), (1.0, 3.0, 2), (5.0, 1.0, 1)):
        t = model.schedule.time_of_log_snr(-torch.tensor(ratio, dtype=f64).log())
        expected = line(model(x, t, label=LABEL), model(x, t), w)
        model.calls = 0
        assert torch.equal(guided(x, t, label=LABEL), expected)
        assert model.calls == calls
    each = guided(x, torch.tensor([0.01, 0.4, 0.9, 0.01, 0.4, 0.9], dtype=f64), label=LABEL)
    for i, t in enumerate((0.01, 0.4, 0.9)):
        one = guided(x[i : i + 1], torch.tensor(t, dtype=f64), label=LABEL[i : i + 1])
        torch.testing.assert_close(each[i : i + 1], one)


def test_no_sample_depends_on_its_batch_to_the_bit():
    model = classes()
    x, label = points(40), torch.arange(40) % 3
    w = torch.linspace(-1, 5, 40, dtype=f64)
    for rule in (line, Rescaled(), Projected(0.3, 0.5)):
        guided = sf.ClassifierFreeGuidance(model, 3.0, rule=rule)
        whole, own = guided(x, T, label=label), guided(x, T, label=label, guidance=w)
        for i in (0, 7, 39):
            row = slice(i, i + 1)
            assert torch.equal(guided(x[row], T, label=label[row]), whole[row])
            assert torch.equal(guided(x[row], T, label=label[row], guidance=w[row]), own[row])


@pytest.mark.parametrize("rule", [line, Rescaled(), Projected()], ids=["line", "rescaled", "projected"])
def test_guided_models_keep_the_contract(model, rule):
    guided = sf.ClassifierFreeGuidance(
        model.float() if model.__class__ is sf.NetworkDenoiser else model, 2.0, rule=rule
    )
    sf.checks.check_denoiser(guided, (2,), cond={"label": torch.tensor([0, 1, 2, 0])})


def test_autoguidance_goes_from_the_bad_model_past_the_good_one():
    good, bad, x = classes(), classes(), points()
    bad.all = sf.GaussianMixture(bad.weights, bad.all.means, 4 * torch.ones(3, 2, dtype=f64))
    for w, expected in ((1.0, good(x, T)), (0.0, bad(x, T))):
        assert torch.equal(sf.Autoguidance(good, bad, w)(x, T), expected)
    torch.testing.assert_close(sf.Autoguidance(good, bad, 2.0)(x, T), 2 * good(x, T) - bad(x, T))
    a, b = network(), classes()  # two models of different kinds, a condition for both
    guided = sf.Autoguidance(a, b, 1.5)(x, T, label=LABEL)
    torch.testing.assert_close(guided, 1.5 * a(x, T, label=LABEL) - 0.5 * b(x, T, label=LABEL))
    with pytest.raises(ValueError, match="models must share one schedule"):
        sf.Autoguidance(good, classes(sf.EDM()), 2.0)


def test_what_is_guided_is_solved_encoded_and_has_a_likelihood():
    """The flow of two Gaussians with the score extrapolated is affine: a round trip, and a density that integrates."""
    model = classes(dim=1)
    guided = sf.ClassifierFreeGuidance(model, 2.0)
    x = torch.linspace(-6, 6, 121, dtype=f64)[:, None]
    cond = {"label": torch.zeros(121, dtype=torch.int64)}
    lp = sf.log_prob(guided, x, cond=cond).log_prob
    assert float(torch.trapezoid(lp.exp(), x[:, 0])) == pytest.approx(1, abs=0.01)  # 1e-3 nats a point, and the grid
    times = grids.uniform_log_snr(model.schedule, 20)
    drawn = sf.sample(guided, (4, 1), times=times, cond={"label": torch.zeros(4, dtype=torch.int64)}, dtype=f64)
    assert bool(torch.isfinite(drawn.x).all())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: sf.ClassifierFreeGuidance(m, float("nan")), "weight must be finite; got nan"),
        (
            lambda m: sf.ClassifierFreeGuidance(m, torch.ones(2)),  # pyright: ignore[reportArgumentType]
            r"each sample's own go in as cond\['guidance'\]",
        ),
        (lambda m: sf.ClassifierFreeGuidance(m, 2.0)(points(), T), "needs a condition"),
        (lambda m: Interval(2.0, low=1.0, high=0.5), "0 <= low < high"),
        (lambda m: Rescaled(1.5), r"amount must lie in \[0, 1\]; got 1.5"),
        (lambda m: Projected(radius=0.0), "radius must be positive"),
    ],
)
def test_bad_input_is_refused_in_one_line(make, message):
    with pytest.raises(ValueError, match=message):
        make(classes())
