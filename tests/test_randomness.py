"""Philox words against published vectors and NumPy; the statistics and the independence of what is made of them."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import scorefield as sf
from scorefield.randomness import Noise, Stream, _uniform, philox, randn_like, spread_uniforms, uniforms

f64 = torch.float64


def reference_philox(counter: list[int], key: list[int], bits: int) -> list[int]:
    """Salmon et al. 2011, section 3, in Python integers, for words of `bits` bits: 4x32 or 4x64."""
    multipliers, weyl = {
        32: ((0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)),
        64: ((0xD2E7470EE14C6C93, 0xCA5A826395121157), (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)),
    }[bits]
    mask, (x0, x1, x2, x3), (k0, k1) = (1 << bits) - 1, counter, key
    for _ in range(10):
        p0, p1 = multipliers[0] * x0, multipliers[1] * x2
        x0, x1, x2, x3 = (p1 >> bits) ^ x1 ^ k0, p1 & mask, (p0 >> bits) ^ x3 ^ k1, p0 & mask
        k0, k1 = (k0 + weyl[0]) & mask, (k1 + weyl[1]) & mask
    return [x0, x1, x2, x3]


PUBLISHED = [  # Random123's known-answer tests for philox4x32-10
    ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ([2**32 - 1] * 4, [2**32 - 1] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def words(counter, key) -> list[int]:
    tensors = tuple(torch.tensor([c]) for c in counter)
    out = philox(tensors, tuple(key))  # pyright: ignore[reportArgumentType]
    arrays = philox(tuple(x.numpy() for x in tensors), tuple(key))  # pyright: ignore[reportArgumentType]
    assert [int(w[0]) for w in arrays] == [int(w) for w in out]
    plain = philox(tuple(counter), tuple(key))  # pyright: ignore[reportArgumentType]
    assert [int(w) & 0xFFFFFFFF for w in plain] == [int(w) & 0xFFFFFFFF for w in out]
    return [int(w) & 0xFFFFFFFF for w in out]


@pytest.mark.parametrize(("counter", "key", "expected"), PUBLISHED)
def test_words_are_the_published_ones(counter, key, expected):
    expected = [int(w, 16) for w in expected.split()]
    assert reference_philox(counter, key, 32) == expected
    assert words(counter, key) == expected


def test_the_reference_at_64_bits_is_numpys_generator():
    rng = np.random.default_rng(0)
    for _ in range(5):
        counter, key = rng.integers(0, 2**63, 4).tolist(), rng.integers(0, 2**63, 2).tolist()
        raw = np.random.Philox(counter=counter, key=key).random_raw(4).tolist()  # NumPy adds one to the counter first
        assert reference_philox([counter[0] + 1, *counter[1:]], key, 64) == raw


def test_random_counters_agree_with_the_reference_also_when_broadcast():
    rng = np.random.default_rng(1)
    for _ in range(50):
        counter, key = rng.integers(0, 2**32, 4).tolist(), rng.integers(0, 2**32, 2).tolist()
        assert words(counter, key) == reference_philox(counter, key, 32)
    block, sample = torch.arange(5)[None, :], torch.arange(3)[:, None]
    out = philox((block, torch.tensor([[7]]), sample, torch.tensor([[0]])), (1, 2))
    for b in range(5):
        for i in range(3):
            assert [int(w[i, b]) & 0xFFFFFFFF for w in out] == reference_philox([b, 7, i, 0], [1, 2], 32)


@pytest.mark.parametrize("event", [(), (2,), (7,), (3, 8, 8), (1, 28, 28)])
@pytest.mark.parametrize("dtype", [torch.float32, f64, torch.bfloat16])
@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_a_sample_is_the_same_in_any_batch(event, dtype, kind):
    """Bitwise: alone, in a batch of 256, permuted, and far from zero."""
    index = torch.arange(256) + 2**33
    whole = getattr(Noise(9, index, event, dtype), kind)(3)
    assert whole.shape == (256, *event)
    assert whole.dtype == dtype
    for i in (0, 1, 15, 16, 100, 255):
        assert torch.equal(getattr(Noise(9, index[i : i + 1], event, dtype), kind)(3)[0], whole[i])
    order = torch.randperm(256)
    assert torch.equal(getattr(Noise(9, index[order], event, dtype), kind)(3), whole[order])


def test_an_empty_batch_is_empty():
    assert Noise(0, torch.arange(0), (3, 4)).normal(0).shape == (0, 3, 4)


@pytest.mark.parametrize("event", [(2,), (3, 5), (64,)])
@pytest.mark.parametrize("dtype", [torch.float32, f64])
def test_several_draws_at_once_are_the_same_numbers(event, dtype):
    noise = Noise(5, torch.arange(7, 18), event, dtype)
    assert torch.equal(noise.normals(range(3, 11, 2)), torch.stack([noise.normal(k) for k in range(3, 11, 2)]))
    assert torch.equal(noise.uniforms(range(3, 11, 2)), torch.stack([noise.uniform(k) for k in range(3, 11, 2)]))


def test_precisions_agree():
    single, double = (Noise(4, torch.arange(1000), (8,), dtype).normal(2) for dtype in (torch.float32, f64))
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=2e-6)


N = Noise(123, torch.arange(50_000), (8,), f64)


def test_distributions():
    """Kolmogorov-Smirnov on 400,000 numbers each: false alarm 1e-4."""
    assert stats.kstest(N.normal(0).flatten().numpy(), "norm").pvalue > 1e-4
    uniform = N.uniform(0)
    assert stats.kstest(uniform.flatten().numpy(), "uniform").pvalue > 1e-4
    assert 0 <= float(uniform.min()) < float(uniform.max()) < 1


def test_moments_and_tails():
    """Fourth moment and the number beyond 4 sigma, each within 4.5 standard errors."""
    z = N.normal(1).flatten()
    n = len(z)
    assert abs(float((z**4).mean()) - 3) < 4.5 * math.sqrt(96 / n)
    beyond = n * 2 * float(stats.norm.sf(4))
    assert abs(int((z.abs() > 4).sum()) - beyond) < 4.5 * math.sqrt(beyond)


def test_extremes_are_finite_and_far_out():
    """The largest of 6.4 million is beyond 4.9 (probability 0.998); a float of 24 random bits could not pass 5.8."""
    z = Noise(0, torch.arange(200_000), (32,)).normal(0)
    assert bool(torch.isfinite(z).all())
    assert float(z.abs().max()) > 4.9


@pytest.mark.parametrize("dtype", [torch.float32, f64])
@pytest.mark.parametrize(("sample", "word"), [(748_582_185, 0), (371_492_825, 1)])  # found by looking at all of them
def test_a_word_of_zeros_is_far_out_and_finite(sample, word, dtype):
    """u = 2^-32, the smallest there is, so a radius of sqrt(64 log 2) = 6.66; not log 0."""
    counter = tuple(torch.tensor([c]) for c in (0, 0, sample, 0))
    assert int(philox(counter, (0, 0))[word]) & 0xFFFFFFFF == 0  # pyright: ignore[reportArgumentType]
    z = Noise(0, torch.tensor([sample]), (4,), dtype).normal(0)[0]
    assert float(torch.hypot(z[word], z[word + 2])) == pytest.approx(math.sqrt(64 * math.log(2)), rel=1e-6)


def test_samples_draws_seeds_kinds_and_elements_are_uncorrelated():
    """Correlations of 400,000 pairs: 4.5 standard errors is 0.0071."""
    z = N.normal(0)
    others = {
        "next sample": Noise(123, torch.arange(50_000) + 1, (8,), f64).normal(0),
        "next draw": N.normal(1),
        "next seed": Noise(124, torch.arange(50_000), (8,), f64).normal(0),
        "high word of the seed": Noise(123 + 2**32, torch.arange(50_000), (8,), f64).normal(0),
        "high word of the index": Noise(123, torch.arange(50_000) + 2**32, (8,), f64).normal(0),
        "uniform of the same draw": N.uniform(0),
        "next element": z.roll(1, 1),
        "other of the pair": z.roll(4, 1),
    }
    for name, other in others.items():
        assert abs(np.corrcoef(z.flatten(), other.flatten())[0, 1]) < 0.0071, name
        assert abs(np.corrcoef(z.flatten() ** 2, other.flatten() ** 2)[0, 1]) < 0.0071, name


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Noise(-1, torch.arange(2), (2,)), r"seed must lie in \[0, 2\^64\); got -1"),
        (lambda: Noise(2**64, torch.arange(2), (2,)), "seed must lie in"),
        (lambda: Noise(0, torch.zeros(2), (2,)), "index must be int64"),
        (lambda: Noise(0, torch.zeros(2, 2, dtype=torch.int64), (2,)), r"of shape \(B,\)"),
        (lambda: Noise(0, torch.arange(2), (2,), torch.int32), "dtype must be floating point"),
        (lambda: Noise(0, torch.arange(2), (2,)).normal(-1), r"draw must lie in \[0, 2\^31\)"),
    ],
)
def test_bad_input_gets_one_clear_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_stream_takes_the_draws_of_its_samples_one_after_another():
    """Two processes with half the samples each draw, between them, what one draws with all of them."""
    index = torch.tensor([5, 2**40, 0, 17, 3, 4])
    whole = Stream(11, index)
    drawn = [whole.normal((3,), f64), whole.uniform(), whole.uniform((2,), torch.float32), whole.spread()]
    for half in (slice(0, 3), slice(3, 6)):
        part = Stream(11, index[half])
        same = [part.normal((3,), f64), part.uniform(), part.uniform((2,), torch.float32), part.spread()]
        for a, b in zip(drawn, same, strict=True):
            assert torch.equal(a[half], b)
    assert torch.equal(drawn[0], Noise(11, index, (3,), f64).normal(0))
    assert torch.equal(drawn[1], Noise(11, index, (), f64).uniform(1))
    assert whole.draw == 4


def test_draws_through_a_stream_have_the_shape_and_dtype_of_a_generators():
    x = torch.zeros(4, 2, 3, dtype=f64)
    for source in (None, torch.Generator().manual_seed(0), Stream(0, torch.arange(4))):
        assert (randn_like(x, source).shape, randn_like(x, source).dtype) == (x.shape, f64)
        for u in (uniforms(4, source), spread_uniforms(4, source)):
            assert (u.shape, u.dtype) == ((4,), f64)
    assert torch.equal(randn_like(x, Stream(3, torch.arange(4))), Noise(3, torch.arange(4), (2, 3), f64).normal(0))
    assert spread_uniforms(0, Stream(0, torch.arange(0))).shape == (0,)


@pytest.mark.parametrize("start", [0, 10**6, 2**50])
@pytest.mark.parametrize("n", [1, 2, 7, 64, 1000])
def test_spread_numbers_of_consecutive_samples_leave_no_wide_gap(start, n):
    """The largest gap of n multiples of the golden ratio, on the circle, is below (1 + 2/sqrt 5) / n = 1.894 / n."""
    u = Stream(0, start + torch.arange(n)).spread().sort().values
    gaps = torch.cat([u.diff(), u[:1] + 1 - u[-1:]])
    assert float(gaps.max()) <= (1 + 2 / math.sqrt(5)) / n
    independent = Stream(0, start + torch.arange(1000)).uniform().sort().values
    assert float(independent.diff().max()) > 4 / 1000  # what they would leave otherwise: about log(n) / n


def test_a_spread_number_is_uniform_over_seeds_and_over_draws():
    """Each sample's own number, Kolmogorov-Smirnov on 2,000: false alarm 1e-4."""
    seeds = [float(Stream(s, torch.tensor([41])).spread()) for s in range(2000)]
    stream = Stream(5, torch.tensor([2**33]))
    draws = [float(stream.spread()) for _ in range(2000)]
    assert stats.kstest(seeds, "uniform").pvalue > 1e-4
    assert stats.kstest(draws, "uniform").pvalue > 1e-4


def test_a_stream_of_another_length_is_refused():
    for draw in (lambda s: randn_like(torch.zeros(3, 2), s), lambda s: uniforms(3, s), lambda s: spread_uniforms(3, s)):
        with pytest.raises(ValueError, match="a Stream of 3 samples is needed, one index for each; got 4"):
            draw(Stream(0, torch.arange(4)))
    with pytest.raises(ValueError, match="seed must lie in"):
        Stream(-1, torch.arange(4))


@pytest.mark.parametrize(("seed", "draw"), [(0, 0), (5, 3), (2**63 + 7, 12)])
def test_the_number_a_batch_shares_is_that_of_sample_minus_one(seed, draw):
    """Computed in Python's integers, it is the draw that `Noise` makes in arrays."""
    expected = Noise(seed, torch.tensor([-1]), (), f64).uniform(draw)
    assert _uniform(seed, -1, draw) == float(expected)


def test_no_two_draws_are_the_same():
    """A counter has 32 bits for the draw: from 2^31 on the first would come again, as measurement noise once did."""
    noise = Noise(0, torch.arange(4), (2,))
    assert not torch.equal(noise.normal(2**31 - 1), noise.normal(0))
    for draw in (2**31, 2**40, -1):
        with pytest.raises(ValueError, match=r"draw must lie in \[0, 2\^31\); got"):
            noise.normal(draw)
        with pytest.raises(ValueError, match=r"draw must lie in \[0, 2\^31\); got"):
            noise.uniform(draw)


def test_a_simulated_measurements_noise_is_no_samplers():
    """With the draw 2^40 it was the noise that `sample` of the same seed starts from, to the bit."""
    operator = sf.inverse.operators.Dense(torch.eye(2))
    truth = torch.zeros(5, 2)
    measured = sf.inverse.simulate(operator, truth, 1.0, seed=3).y
    assert not torch.equal(measured, Noise(3, torch.arange(5), (2,)).normal(0))
    assert torch.equal(measured, Noise(3, torch.arange(5), (2,)).normal(2**31 - 1))
