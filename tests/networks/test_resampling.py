"""Filters against explicit convolutions, folding against torch's, one dimension against two."""

import numpy as np
import pytest
import torch
from network_cases import scrambled

from scorefield import networks
from scorefield.networks.resampling import Down, Up, crop, fold, pad_to, unfold

f64 = torch.float64
TAPS = {"nearest": np.array([1.0, 1.0]), "fir": np.array([1.0, 3.0, 3.0, 1.0])}
kinds = pytest.mark.parametrize("kind", ["nearest", "fir"])
sizes = pytest.mark.parametrize("n", [1, 2, 5, 8])


def explicit_down(x: np.ndarray, kind: str) -> np.ndarray:
    """Extends the edge values, convolves with the taps over their sum, keeps every second."""
    taps = TAPS[kind]
    margin = len(taps) // 2 - 1
    long = np.pad(x, (margin, margin + len(x) % 2), mode="edge")
    return np.convolve(long, taps / taps.sum(), mode="valid")[::2]


def explicit_up(x: np.ndarray, kind: str, n: int) -> np.ndarray:
    """Extends the edge values, puts a zero after each, convolves with twice the taps over their sum."""
    taps = TAPS[kind]
    between = np.stack([np.pad(x, 1, mode="edge"), np.zeros(len(x) + 2)], 1).reshape(-1)
    full = np.convolve(between, 2 * taps / taps.sum())
    start = 2 + len(taps) // 2 - 1  # where the first sample's own pair begins
    return full[start : start + 2 * len(x)][:n]


@kinds
@sizes
def test_filters_are_the_stated_convolutions(kind, n):
    x = torch.randn(n, dtype=f64)
    down = Down(1, kind)(x.reshape(1, 1, n)).flatten()
    np.testing.assert_allclose(down.numpy(), explicit_down(x.numpy(), kind), atol=1e-15)
    up = Up(1, kind)(down.reshape(1, 1, -1), (n,)).flatten()
    np.testing.assert_allclose(up.numpy(), explicit_up(down.numpy(), kind, n), atol=1e-15)


@kinds
@sizes
def test_in_two_dimensions_rows_and_columns_are_filtered_one_after_the_other(kind, n):
    x = torch.randn(3, 2, n, 7, dtype=f64)
    rows = Down(1, kind)(x.transpose(2, 3).reshape(3, 14, n)).reshape(3, 2, 7, -1).transpose(2, 3)
    both = Down(1, kind)(rows.reshape(3, -1, 7)).reshape(3, 2, -1, 4)
    torch.testing.assert_close(Down(2, kind)(x), both)
    wide = Up(1, kind)(both.flatten(1, 2), (7,)).unflatten(1, both.shape[1:3])
    tall = Up(1, kind)(wide.transpose(2, 3).flatten(1, 2), (n,)).reshape(3, 2, 7, n).transpose(2, 3)
    torch.testing.assert_close(Up(2, kind)(both, (n, 7)), tall)


@kinds
@sizes
@pytest.mark.parametrize("dims", [1, 2])
def test_constants_stay_as_they_are_at_the_edges_too(kind, n, dims):
    x = torch.full((2, 3, *(n, n + 3)[:dims]), 0.7, dtype=f64)
    down = Down(dims, kind)(x)
    assert down.shape[2:] == tuple(-(-m // 2) for m in x.shape[2:])
    torch.testing.assert_close(down, torch.full_like(down, 0.7), rtol=1e-15, atol=0)
    torch.testing.assert_close(Up(dims, kind)(down, x.shape[2:]), x, rtol=1e-15, atol=0)


def test_the_highest_frequency_is_removed_to_third_order():
    """At frequency pi - d the response of (1, 3, 3, 1) / 8 is sin(d / 2)^3, of (1, 1) / 2 it is sin(d / 2)."""
    d = 0.01
    wave = torch.cos((np.pi - d) * torch.arange(400, dtype=f64) + 0.3).reshape(1, 1, -1)
    for kind, order in (("nearest", 1), ("fir", 3)):
        amplitude = Down(1, kind)(wave)[0, 0, 10:-10].abs().amax()
        assert float(amplitude) == pytest.approx(np.sin(d / 2) ** order, rel=0.02)


def test_folding_is_torchs_and_undone():
    x = torch.randn(2, 3, 6, 4)
    assert torch.equal(fold(x, 2), torch.nn.functional.pixel_unshuffle(x, 2))
    assert torch.equal(unfold(fold(x, 2), 2), x)
    series = torch.randn(2, 3, 6)
    assert torch.equal(fold(series, 2)[:, 2:4], series[:, 1].reshape(2, 3, 2).transpose(1, 2))
    assert torch.equal(unfold(fold(series, 3), 3), series)
    odd = torch.randn(2, 3, 5, 7)
    assert torch.equal(crop(pad_to(odd, 4), (5, 7)), odd)
    assert pad_to(odd, 4).shape == (2, 3, 8, 8)


VARIANTS = {
    "plain": lambda dims: networks.UNet(2, 8, (1, 2, 2), dims=dims),
    "ddpm++": lambda dims: networks.UNet.ddpmpp(2, 8, blocks=1, dims=dims),
    "ncsn++": lambda dims: networks.UNet.ncsnpp(2, 8, blocks=1, dims=dims),
    "adm": lambda dims: networks.UNet.adm(2, 8, blocks=1, dims=dims),
}


@pytest.mark.parametrize("make", VARIANTS.values(), ids=VARIANTS.keys())
def test_the_network_in_one_dimension_is_the_one_in_two_on_a_map_one_column_wide(make):
    one, two = scrambled(make(1)).double(), make(2).double().eval()
    weights = one.state_dict()
    with torch.no_grad():
        for name, p in two.named_parameters():
            w = weights[name]
            p.zero_()
            # a kernel of three rows is the middle column of a kernel of nine
            (p[..., p.shape[3] // 2] if p.ndim == 4 else p).copy_(w)
    x, level = torch.randn(3, 2, 13, dtype=f64), torch.rand(3, dtype=f64)
    torch.testing.assert_close(two(x[..., None], level)[..., 0], one(x, level))
