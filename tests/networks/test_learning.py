"""Each way of telling a network something teaches it something: conditional Gaussians, whose denoiser is known.

Given condition c the data are N(mu_c, s^2 I), so with k = alpha s^2 / (alpha^2 s^2 + sigma^2)

    E[x0 | x_t, c] = mu_c + k (x_t - alpha mu_c),      and the least loss of D is sigma^2 s^2 / (alpha^2 s^2 + sigma^2).
"""

import pytest
import torch
from torch import Tensor

import scorefield as sf
from scorefield import losses, networks

STD, SCHEDULE = 0.5, sf.Cosine()
MEANS = torch.tensor([[1.0, 1.0, -1.0, 0.5], [-1.0, 0.0, 1.0, 1.0], [0.0, -1.5, 0.5, -1.0]])


def as_label(c: Tensor) -> dict[str, Tensor]:
    return {"label": c}


def as_vector(c: Tensor) -> dict[str, Tensor]:
    return {"vector": MEANS[c, :2]}


def as_tokens(c: Tensor) -> dict[str, Tensor]:
    """Class c is one that counts among three tokens, in any place, the others being of other classes."""
    place = torch.arange(len(c)) % 3
    kinds = (c[:, None] + torch.arange(3) - place[:, None]) % 3
    return {"tokens": MEANS[kinds, 1:], "token_mask": torch.arange(3) == place[:, None]}


CASES = {
    "mlp, film, sinusoidal, label": (lambda: networks.MLP(4, 64, 2, num_classes=3), (4,), as_label),
    "mlp, add, fourier, vector": (
        lambda: networks.MLP(4, 64, 2, vector_dim=2, conditioning="add", level_embedding="fourier"),
        (4,),
        as_vector,
    ),
    "mlp, concat, learned, tokens": (
        lambda: networks.MLP(4, 64, 2, token_dim=3, conditioning="concat", level_embedding="learned"),
        (4,),
        as_tokens,
    ),
    "unet, film, learned, tokens": (
        lambda: networks.UNet(1, 16, (1,), token_dim=3, level_embedding="learned"),
        (1, 2, 2),
        as_tokens,
    ),
    "unet, add, vector": (lambda: networks.UNet(1, 16, (1,), vector_dim=2, conditioning="add"), (1, 2, 2), as_vector),
    "unet, concat, series, label": (
        lambda: networks.UNet(1, 16, (1,), num_classes=3, conditioning="concat", dims=1),
        (1, 4),
        as_label,
    ),
    "dit, label": (lambda: networks.DiT(1, 1, 32, 2, 2, num_classes=3), (1, 2, 2), as_label),
    "dit, tokens": (lambda: networks.DiT(1, 1, 32, 2, 2, token_dim=3), (1, 2, 2), as_tokens),
}


def batch(n, event, generator):
    c = torch.randint(3, (n,), generator=generator)
    return c, (MEANS[c] + STD * torch.randn(n, 4, generator=generator)).reshape(n, *event)


@pytest.mark.parametrize(("make", "event", "told"), CASES.values(), ids=CASES.keys())
def test_a_conditional_network_learns_the_classes_to_a_few_percent_of_the_least_loss(make, event, told):
    """Told nothing, the same networks stay 160% above it. Measured: 0.5 to 1.5%."""
    denoiser = sf.NetworkDenoiser(make(), SCHEDULE, sf.V())
    generator, steps = torch.Generator().manual_seed(0), 300
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=4e-3, fused=True)
    decay = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        c, x0 = batch(192, event, generator)
        value = losses.denoising(
            denoiser, x0, generator=generator, cond=told(c), times=losses.Stratified(losses.Uniform())
        ).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        decay.step()

    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64).repeat_interleave(100)
    c, x0 = batch(len(t), event, generator)
    x_t = SCHEDULE.perturb(x0, t, torch.randn(x0.shape, generator=generator))
    alpha, sigma = (a.float()[:, None] for a in SCHEDULE(t))
    variance = alpha**2 * STD**2 + sigma**2
    with torch.no_grad():
        got = denoiser.eval()(x_t, t, **told(c)).flatten(1)
    exact = MEANS[c] + alpha * STD**2 / variance * (x_t.flatten(1) - alpha * MEANS[c])
    least = (sigma**2 * STD**2 / variance).mean()
    assert float((got - exact).square().mean() / least) < 0.03
