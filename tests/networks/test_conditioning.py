"""Level embeddings against their kernels, and the three mechanisms against their formulas."""

import functools

import pytest
import torch
from network_cases import scrambled
from torch import nn

from scorefield import networks
from scorefield.networks.conditioning import MECHANISMS, Add, Concat, Film, Unconditional
from scorefield.networks.embeddings import grid_positions
from scorefield.networks.layers import norm


@pytest.mark.parametrize("embed", [networks.Sinusoidal(32), networks.RandomFourier(32)], ids=["sinusoidal", "fourier"])
def test_the_inner_product_of_features_depends_on_the_distance_alone(embed):
    """cos a cos b + sin a sin b = cos(a - b), summed over the frequencies."""
    a, b = torch.tensor([0.2, -1.5]), torch.tensor([0.2, 0.9])
    expected = torch.cos(embed.frequencies * (a - b)[:, None]).sum(1)
    torch.testing.assert_close((embed(a) * embed(b)).sum(1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("features", [32, 512])
def test_fourier_features_approximate_the_gaussian_kernel_with_the_error_of_their_variance(features):
    """Var cos(w d) = (1 - k^2)^2 / 2 with k = exp(-(scale d)^2 / 2): errors of size (1 - k^2) features^-1/2.

    The root mean square of 400 errors has a standard error of at most 5%.
    """
    a, b, scale = torch.tensor([0.3]), torch.tensor([-0.1]), 2.0
    kernel = torch.exp(-((scale * (a - b)) ** 2) / 2)
    embeddings = (networks.RandomFourier(features, scale=scale, seed=seed) for seed in range(400))
    errors = torch.cat([(2 / features) * (e(a) * e(b)).sum(1) - kernel for e in embeddings])
    assert float(errors.square().mean().sqrt()) == pytest.approx(float((1 - kernel**2) / features**0.5), rel=0.15)
    assert abs(float(errors.mean())) < 4 * float((1 - kernel**2) / features**0.5) / 20


def test_fourier_frequencies_come_from_their_seed_and_are_saved():
    torch.manual_seed(0)
    one = networks.RandomFourier(16, seed=5)
    torch.manual_seed(1)
    assert torch.equal(networks.RandomFourier(16, seed=5).frequencies, one.frequencies)
    other = networks.RandomFourier(16, seed=6)
    assert not torch.equal(other.frequencies, one.frequencies)
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.frequencies, one.frequencies)


def test_positions_of_a_grid_depend_on_the_offset_alone_and_are_all_apart():
    e = grid_positions(40, 60, 32)
    grid = e.reshape(40, 60, 32)
    torch.testing.assert_close((grid[:-3, :-7] * grid[3:, 7:]).sum(2), (grid[0, 0] * grid[3, 7]).sum().expand(37, 53))
    distances = torch.cdist(e, e).fill_diagonal_(torch.inf)
    # Neighbours differ by 1 in the first frequency's angle at least: 2 (1 - cos 1) = 0.96^2.
    assert float(distances.amin()) > 0.95
    torch.testing.assert_close(grid_positions(3, 5, 32), grid[:3, :5].reshape(15, 32), rtol=0, atol=0)


@pytest.mark.parametrize("event", [(), (5,), (3, 4)])
def test_mechanisms_are_their_formulas(event):
    channels, make_norm = 8, functools.partial(norm, 8)
    h, c = torch.randn(2, channels, *event), torch.randn(2, 6)
    plain = nn.GroupNorm(2, channels, affine=False)
    shape = (2, -1, *(1,) * len(event))

    film = Film(channels, 6, make_norm)
    a, b = film.linear(c).reshape(*shape).split(channels, 1)
    torch.testing.assert_close(film(h, c), plain(h) * (1 + a) + b)

    add = Add(channels, 6, make_norm)
    torch.testing.assert_close(add(h, c), plain(h + add.linear(c).reshape(*shape)))

    torch.testing.assert_close(Unconditional(channels, 6, make_norm)(h, c), plain(h))

    both = Concat(6)(h, c)
    assert torch.equal(both[:, :channels], h)
    assert torch.equal(both[:, channels:], c.reshape(*shape).expand(2, 6, *event))


def test_concatenating_a_constant_level_is_another_bias_of_the_first_layer():
    net = scrambled(networks.MLP(3, hidden=8, conditioning="concat"))
    assert isinstance(net, networks.MLP)
    x, level = torch.randn(5, 3), torch.full((5,), 0.7)
    c = net.condition(level[:1]).vector
    w = net.entry.weight
    h = nn.functional.linear(x, w[:, :3], net.entry.bias + w[:, 3:] @ c[0])
    for block in net.blocks:
        h = block(h, c)
    torch.testing.assert_close(net(x, level), net.exit(h), rtol=1e-4, atol=1e-5)


def test_pooling_tokens_is_the_mean_over_those_that_count():
    condition = networks.Condition(8, token_dim=3, pool=True)
    tokens, mask = torch.randn(2, 4, 3), torch.tensor([[True, False, True, True], [False] * 4])
    got = condition(torch.zeros(2), tokens=tokens, token_mask=mask).vector
    mean = torch.stack([tokens[0, [0, 2, 3]].mean(0), condition.null_token])
    expected = nn.functional.silu(condition.level(torch.zeros(2)) + condition.tokens(mean))
    torch.testing.assert_close(got, expected)


def test_every_mechanism_is_in_the_table():
    assert list(MECHANISMS) == ["film", "add", "concat"]
