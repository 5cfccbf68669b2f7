"""Products and mixtures of experts against densities in closed form."""

import pytest
import torch
from guidance_cases import Counting, classes, f64, network, points

import scorefield as sf
from scorefield.guidance import Conjunction, Mixture, ProductOfExperts

T = torch.tensor(0.35, dtype=f64)


def mixtures(schedule=None):
    generator = torch.Generator().manual_seed(7)

    def one(k):
        means = torch.randn(k, 2, dtype=f64, generator=generator)
        variances = 0.1 + torch.rand(k, 2, dtype=f64, generator=generator)
        return sf.ExactDenoiser(sf.GaussianMixture(torch.full((k,), 1 / k), means, variances), schedule or sf.VP())

    return [one(2), one(3)]


@pytest.mark.parametrize("weights", [(0.5, 0.5), (2.0, -1.0), (1.0, 1.0), (0.3, 0.2)])
def test_the_score_of_a_product_is_that_of_its_log_density(weights):
    experts, x = mixtures(), points().requires_grad_()
    alpha, sigma = (float(v) for v in experts[0].schedule(T))
    log_p = sum(
        w * e.distribution.noised(alpha, sigma).log_prob(x).sum() for w, e in zip(weights, experts, strict=True)
    )
    assert isinstance(log_p, torch.Tensor)
    (expected,) = torch.autograd.grad(log_p, x)
    score = sf.score(ProductOfExperts(experts, weights), x.detach(), T)
    torch.testing.assert_close(score, expected, rtol=1e-8, atol=1e-8)


def test_one_expert_of_weight_one_is_that_expert_to_the_bit():
    a, b = mixtures()
    assert torch.equal(ProductOfExperts([a, b], [0.0, 1.0])(points(), T), b(points(), T))
    model = classes()
    for one in (Conjunction(model, [{"label": 1}]), Conjunction(model, [{"label": 1}, {"label": 2}], [1.0, 0.0])):
        assert torch.equal(one(points(), T), model(points(), T, label=torch.full((6,), 1)))


def test_a_conjunction_adds_what_each_condition_says_and_a_negation_takes_it_away():
    """p(x | y1) p(x | y2)^-w / p(x)^-w: scores by differentiation of exact densities."""
    model, x = classes(), points().requires_grad_()
    alpha, sigma = (float(v) for v in model.schedule(T))
    log_all, *logs = (law.noised(alpha, sigma).log_prob(x) for law in (model.all, *model.laws))
    weights = (1.0, 0.7, -0.5)
    log_p = log_all + sum(w * (log - log_all) for w, log in zip(weights, logs, strict=True))
    (expected,) = torch.autograd.grad(log_p.sum(), x)
    guided = Conjunction(model, [{"label": 0}, {"label": 1}, {"label": 2}], weights)
    torch.testing.assert_close(sf.score(guided, x.detach(), T), expected, rtol=1e-8, atol=1e-8)


def test_a_conjunction_of_one_condition_is_classifier_free_guidance():
    model, x = network(), points()
    cfg = sf.ClassifierFreeGuidance(model, 2.5)(x, T, label=torch.full((6,), 1))
    torch.testing.assert_close(Conjunction(model, [{"label": 1}], [2.5])(x, T), cfg)


def test_a_network_is_called_once_for_all_conditions():
    model = network(num_classes=3, vector_dim=2)
    seen = Counting(model.net)
    x, vector = points(), torch.tensor([0.3, -0.2], dtype=f64)
    ours = Conjunction(model, [{"label": 0}, {"label": 2}], [1.0, 1.5])(x, T)
    assert seen.rows == [18]
    expected = -1.5 * model(x, T)
    for label, w in ((0, 1.0), (2, 1.5)):
        expected = expected + w * model(x, T, label=torch.full((6,), label))
    torch.testing.assert_close(ours, expected)
    mixed = Conjunction(model, [{"label": 0}, {"vector": vector}])(x, T)  # of different kinds
    expected = model(x, T, label=torch.full((6,), 0)) + model(x, T, vector=vector.expand(6, 2)) - model(x, T)
    torch.testing.assert_close(mixed, expected)


def test_a_mixture_is_the_denoiser_of_the_mixture():
    a, b = mixtures()
    w = torch.tensor([0.3, 0.7], dtype=f64)
    laws = (a.distribution, b.distribution)
    one = sf.GaussianMixture(
        torch.cat([share * law.weights for share, law in zip(w, laws, strict=True)]),  # type: ignore[attr-defined]
        torch.cat([law.means for law in laws]),  # type: ignore[attr-defined]
        torch.cat([law.covariances for law in laws]),  # type: ignore[attr-defined]
    )
    mixed, exact = Mixture([a, b], [3.0, 7.0]), sf.ExactDenoiser(one, a.schedule)
    for t in (0.02, 0.4, 0.9):
        t = torch.tensor(t, dtype=f64)
        torch.testing.assert_close(mixed(points(), t), exact(points(), t), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(mixed.data_mean, exact.data_mean)
    assert mixed.data_std == pytest.approx(exact.data_std)


def test_products_keep_the_contract():
    a, b = mixtures()
    for guided in (
        ProductOfExperts([a, b], [1.5, 0.5]),
        Mixture([a, b], [1, 1]),
        Conjunction(network(), [{"label": 1}]),
    ):
        sf.checks.check_denoiser(guided, (2,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a, b: ProductOfExperts([a, b], [1.0]), "weights must be one number for each of the 2 parts; got 1"),
        (lambda a, b: ProductOfExperts([a, b], [1.0, -1.0]), "positive sum"),
        (lambda a, b: ProductOfExperts([a, b], [1.0, float("inf")]), "finite and not all 0"),
        (lambda a, b: ProductOfExperts([a, mixtures(sf.EDM())[0]], [1, 1]), "share one schedule"),
        (lambda a, b: Mixture([a, network()], [1, 1]), "must be ExactDenoisers"),  # pyright: ignore[reportArgumentType]
        (lambda a, b: Mixture([a, b], [1, -1]), "must not be negative"),
        (lambda a, b: Conjunction(network(), []), "conditions must hold at least one"),
        (
            lambda a, b: ProductOfExperts(mixtures(sf.Rectified()), [1, 1])(points(), torch.tensor(1.0)),
            "must add up to 1 where alpha = 0",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(make, message):
    with pytest.raises(ValueError, match=message):
        make(*mixtures())
