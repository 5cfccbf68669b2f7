"""Predictions kept in the data's range, and samples that leave it: a field that is right inside, not outside."""

import math
import warnings

import pytest
import torch

import scorefield as sf
from scorefield import data, networks, storage

f64 = torch.float64
LAW = sf.GaussianMixture(
    torch.tensor([0.5, 0.5], dtype=f64),
    torch.tensor([[0.5, 0.5], [-0.5, -0.5]], dtype=f64),
    torch.full((2, 2), 0.01, dtype=f64),
)


class Extrapolating(sf.Denoiser):
    """The denoiser of LAW while x / alpha lies within `known` of 0, which noise may leave, and a straight line beyond.

    The line grows twice as fast as x itself: what a network that predicts noise makes of what it never saw.
    """

    data_range = (-1.0, 1.0)

    def __init__(self, schedule, known=3.0):
        super().__init__()
        self.exact, self.schedule, self.known = sf.ExactDenoiser(LAW, schedule), schedule, known
        self.data_std = self.exact.data_std

    def forward(self, x_t, t):
        alpha, sigma = self.schedule(torch.as_tensor(t, dtype=f64))
        far = x_t.abs() > self.known * torch.sqrt(alpha**2 * self.data_std**2 + sigma**2)
        return torch.where(far.any(1, keepdim=True), 2 * x_t / max(float(alpha), 0.1), self.exact(x_t, t))


@pytest.mark.parametrize("schedule", [sf.VP(), sf.VE(), sf.Cosine()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("solver", [None, sf.DDPM(), sf.UniPC()], ids=str)
def test_escapes_are_counted_said_once_and_kept_in_by_clipping(schedule, solver):
    field = Extrapolating(schedule)
    options = {"solver": solver, "nfe": 41, "dtype": f64, "chunk": 700}
    with pytest.warns(
        UserWarning, match=r"of 2000 samples left the data's range \[-1, 1\], to .*ClippedDenoiser"
    ) as said:
        wild = sf.sample(field, (2000, 2), **options)
    told = [w for w in said if "left the data's range" in str(w.message)]  # DDPM's short grid is told of, too
    assert len(told) == 1
    assert told[0].filename == __file__
    assert wild.escaped is not None
    assert torch.equal(wild.escaped, (wild.x.abs() > 1.2).any(1))
    assert f"{int(wild.escaped.sum())} of 2000" in str(told[0].message)
    # a start beyond 3 standard deviations in one of two entries: 1 in 200; noise, and the errors of long steps,
    # bring some more
    assert 0 < float(wild.escaped.double().mean()) < 0.5
    assert float(wild.x.abs().max()) > 5
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*left the data's range")
        tame = sf.sample(sf.ClippedDenoiser(field), (2000, 2), **options)
    assert tame.escaped is not None
    assert not bool(tame.escaped.any())
    assert float(tame.x.abs().max()) <= 1.2
    # nobody else notices: their predictions lay inside
    quiet = ~wild.escaped & (wild.x.abs() < 0.9).all(1)
    assert float((tame.x[quiet] - wild.x[quiet]).abs().max()) < 0.05


@pytest.mark.parametrize("dtype", [torch.float32, f64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("event", [(3,), (1, 4, 4), (5, 7)], ids=str)
@pytest.mark.parametrize("dynamic", [None, 0.6, 0.995])
def test_a_clip_is_its_formula_and_nothing_inside_the_range(dtype, event, dynamic):
    low, high = -1.0, 3.0

    class Told(sf.Denoiser):
        schedule = sf.Rectified()

        def forward(self, x_t, t, *, x0):
            return x0

    x0 = 1 + 3 * torch.randn(6, *event, dtype=f64, generator=torch.Generator().manual_seed(0)).to(dtype)
    x0[0] = x0[0].clamp(low, high)  # nothing to do
    clip = sf.ClippedDenoiser(Told(), (low, high), dynamic=dynamic)
    got = clip(x0, 0.5, x0=x0)
    assert got.dtype == dtype
    assert torch.equal(got[0], x0[0])
    assert float(got.min()) >= low
    assert float(got.max()) <= high
    for row, x in zip(got, x0, strict=True):
        u = (x.double() - 1) / 2
        a = 1.0
        if dynamic is not None:
            a = max(1.0, float(u.abs().flatten().sort().values[math.ceil(dynamic * u.numel()) - 1]))
        # bfloat16 keeps eight bits, float32 24; three operations on numbers of up to 3
        torch.testing.assert_close(row.double(), 1 + 2 * u.clamp(-a, a) / a, rtol=0, atol=12 * torch.finfo(dtype).eps)
        assert torch.equal(clip(x[None], 0.5, x0=x[None])[0], row)  # of its own sample alone


def test_the_range_is_that_of_the_transform_and_goes_with_the_model(tmp_path):
    pixels = torch.randint(0, 256, (40, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    scales = [
        data.Scale.to_unit_range(pixels, levels=256),
        data.Scale.to_standard(pixels, levels=256),
        data.Scale(-0.5),
    ]
    assert scales[0].data_range == (-1.0, 1.0)
    low, high = scales[1].data_range or (0.0, 0.0)
    assert low < -1.5
    assert high > 1.5
    assert data.Scale(-0.5, 1.0, 4).data_range == (-1.0, 1.0)
    assert scales[2].data_range is None  # continuous
    model = sf.NetworkDenoiser(networks.MLP(2, hidden=8), sf.VP(), sf.Eps())
    for name, transform in {"picture": scales[0], "table": None, "continuous": scales[2]}.items():
        storage.save(tmp_path / name, model, transform=transform)
        loaded = storage.load(tmp_path / name).denoiser
        assert loaded.data_range == ((-1.0, 1.0) if name == "picture" else None)
    guided = sf.Autoguidance(Extrapolating(sf.VP()), Extrapolating(sf.VP()), 2.0)
    assert guided.data_range == (-1.0, 1.0)
    assert sf.ExactDenoiser(LAW, sf.VP()).data_range is None
    assert sf.sample(sf.ExactDenoiser(LAW, sf.VP()), (3, 2), nfe=5).escaped is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sf.ClippedDenoiser(sf.ExactDenoiser(LAW, sf.VP())), r"data_range is not known of this denoiser: give"),
        (lambda: sf.ClippedDenoiser(Extrapolating(sf.VP()), (1.0, -1.0)), r"low below high; got \(1.0, -1.0\)"),
        (lambda: sf.ClippedDenoiser(Extrapolating(sf.VP()), (-math.inf, 1.0)), r"must be \(low, high\), finite"),
        (lambda: sf.ClippedDenoiser(Extrapolating(sf.VP()), dynamic=1.0), r"dynamic must lie in \(0, 1\).*got 1.0"),
    ],
)
def test_bad_arguments_get_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
