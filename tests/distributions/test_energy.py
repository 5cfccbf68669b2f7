import pytest
import torch

from scorefield.distributions import Energy, GaussianMixture

f64 = torch.float64
MIXTURE = GaussianMixture([0.3, 0.7], torch.tensor([[-1.0, 0.0], [1.0, 2.0]], dtype=f64), torch.ones(2, 2, dtype=f64))
ENERGY = Energy(lambda x: MIXTURE.log_prob(x) + 5, (2,), mean=MIXTURE.mean, variance=MIXTURE.variance)


def test_the_constant_shows_in_log_prob_and_not_in_the_score():
    x = torch.randn(50, 2, dtype=f64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ENERGY.log_prob(x), MIXTURE.log_prob(x) + 5)
    torch.testing.assert_close(ENERGY.score(x), MIXTURE.score(x))
    torch.testing.assert_close(ENERGY.mean, MIXTURE.mean)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_score_needs_no_gradient_mode(mode):
    x = torch.ones(3, 2, dtype=f64)
    with mode():
        score = ENERGY.score(x)
    torch.testing.assert_close(score.clone(), MIXTURE.score(x))


def test_the_score_can_be_differentiated():
    x = torch.randn(4, 2, dtype=f64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    v = torch.ones_like(x)
    (hvp,) = torch.autograd.grad(ENERGY.score(x), x, v)
    (expected,) = torch.autograd.grad(MIXTURE.score(x), x, v)
    torch.testing.assert_close(hvp, expected)
    forward = torch.func.jvp(ENERGY.score, (x.detach(),), (v,))[1]
    torch.testing.assert_close(forward, expected)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda: ENERGY.sample(3), NotImplementedError, "run Langevin or MALA"),
        (lambda: ENERGY.noised(0.5, 0.5), NotImplementedError, "noised law has no closed form"),
        (lambda: ENERGY.denoise(torch.ones(1, 2), 1.0, 0.5), NotImplementedError, "noised law has no closed form"),
        (lambda: Energy(lambda x: x.sum(1), (2,)).mean, ValueError, r"give it as Energy\(\.\.\., mean="),
        (
            lambda: Energy(lambda x: x, (2,)).log_prob(torch.ones(3, 2)),
            ValueError,
            r"return shape \(3,\).*got \(3, 2\)",
        ),
        (lambda: Energy(torch.ones(2), (2,)), ValueError, "log_density must be a function"),  # type: ignore[arg-type]
        (lambda: Energy(lambda x: x.sum(1), (2,), mean=[0.0]), ValueError, r"mean must have shape \(2,\); got \(1,\)"),
        (lambda: ENERGY.score(torch.ones(2)), ValueError, r"x must have shape \(B, 2\); got \(2,\)"),
    ],
)
def test_what_it_cannot_do_it_says_in_one_line(ask, error, message):
    with pytest.raises(error, match=message) as caught:
        ask()
    assert "\n" not in str(caught.value)
