"""What `fit` takes for data, labels and numbers, and in which precision it trains."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset, WeightedRandomSampler
from training_cases import data, denoiser, fit

import scorefield as sf
from scorefield import losses, networks, training
from scorefield.data import Arrays, Batch, HorizontalFlip, Scale

X, LABEL = data(), torch.arange(50) % 3


def trained(given, *, classes=None, **options):
    """The losses of a short training, and how the averaged network ends."""
    options = {"steps": 6, "batch_size": 12, **options}
    result = training.fit(denoiser(classes=classes), given, **options)
    return result.history.loss, [p.tolist() for p in result.denoiser.parameters()]


class Pairs(Dataset):
    """Items (array, label), as of torchvision."""

    classes = ("a", "b", "c")

    def __getitem__(self, i):
        return X[i].numpy(), int(LABEL[i])

    def __len__(self):
        return len(X)


READ_ONLY = X.numpy().copy()
READ_ONLY.flags.writeable = False
SAME = {
    "array": lambda: X.numpy(),
    "read-only array": lambda: READ_ONLY,
    "view that runs backwards": lambda: X.numpy()[::-1].copy()[::-1],
    "big-endian doubles, as of FITS": lambda: X.numpy().astype(">f8"),
    "double tensor": lambda: X.double(),
    "rows of numbers": lambda: X.double().tolist(),
    "data set of arrays": lambda: list(X),
    "TensorDataset": lambda: TensorDataset(X),
    "Subset": lambda: Subset(TensorDataset(torch.cat([X, X])), range(50)),
    "DataLoader": lambda: DataLoader(TensorDataset(X), batch_size=5, shuffle=True),
    "source": lambda: Arrays(X),
}


@pytest.mark.parametrize("kind", SAME)
def test_data_of_every_kind_train_alike(kind):
    assert trained(SAME[kind]()) == trained(X)


LABELLED = {
    "pairs": Pairs,
    "pairs of tensors": lambda: TensorDataset(X, LABEL),
    "loader of pairs": lambda: DataLoader(TensorDataset(X, LABEL), batch_size=12),
}


@pytest.mark.parametrize("kind", LABELLED)
def test_labels_of_a_data_set_are_those_given_beside_a_tensor(kind):
    assert trained(LABELLED[kind](), classes=3) == trained(X, labels=LABEL, classes=3)


@pytest.mark.parametrize(
    "labels", [LABEL.tolist(), LABEL.numpy(), LABEL.numpy().astype(np.uint8), tuple(LABEL.tolist()), LABEL.int()]
)
def test_labels_may_be_lists_and_arrays(labels):
    assert trained(X, labels=labels, classes=3) == trained(X, labels=LABEL, classes=3)


@pytest.mark.parametrize("label", [2, np.int64(2), torch.tensor(2)])
def test_one_label_is_for_all(label):
    assert trained(X, labels=label, classes=3) == trained(X, labels=torch.full((50,), 2), classes=3)


class Told:
    """A source whose conditions are what comes to hand."""

    event_shape, levels, num_classes = (2,), None, 3

    def __init__(self, told):
        self.told = told

    def __len__(self):
        return len(X)

    def batch(self, rows):
        return Batch(X[rows], {"label": self.told(LABEL[rows])})


@pytest.mark.parametrize("told", [lambda v: v.tolist(), lambda v: v.numpy(), lambda v: v])
def test_conditions_of_a_source_may_be_lists_and_arrays(told):
    assert trained(Told(told), classes=3, channels_last=True) == trained(X, labels=LABEL, classes=3)


def test_a_condition_of_all_is_one_for_each():
    one = Told(lambda v: 1)
    assert trained(one, classes=3, channels_last=True) == trained(X, labels=1, classes=3)


def test_vectors_of_conditions_may_be_arrays():
    def losses_of(vector):
        torch.manual_seed(0)
        model = sf.NetworkDenoiser(networks.MLP(2, 16, 2, vector_dim=4), sf.VP(), sf.V())
        return training.fit(model, Arrays(X, cond={"vector": vector}), steps=3, batch_size=12).history.loss

    vector = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    assert losses_of(vector.numpy()) == losses_of(vector.tolist()) == losses_of(vector)


def test_a_network_that_takes_no_labels_goes_without_those_of_a_data_set():
    with pytest.warns(UserWarning, match="MLP takes no label: it is trained without those of the data"):
        found = trained(TensorDataset(X, LABEL.float()))  # whatever stands there
    assert found == trained(X)
    with pytest.raises(ValueError, match="labels need a network that takes them"):  # they were asked for
        trained(X, labels=LABEL)


def test_a_loader_brings_its_batch_size_unless_one_is_given():
    loader = DataLoader(TensorDataset(X), batch_size=5)
    assert trained(loader, batch_size=12) == trained(X)
    train: Any = training.fit
    short = [train(denoiser(), given, steps=2, **more) for given, more in ((loader, {}), (X, {"batch_size": 5}))]
    assert short[0].history.loss == short[1].history.loss


def test_a_run_on_a_loader_goes_on_where_it_was(tmp_path):
    loader = DataLoader(Pairs(), batch_size=12, shuffle=True)
    model = {"model": denoiser(classes=3), "data": loader}
    whole = fit(tmp_path / "whole", **model)
    fit(tmp_path / "parts", model=denoiser(classes=3), data=loader, steps=10, decay=training.cosine)
    again = fit(tmp_path / "parts", model=denoiser(classes=3), data=loader)
    assert again.history.step == whole.history.step
    # the same data in the same order, though a shorter course had other learning rates: its first step's loss says so
    assert again.history.loss[0] == whole.history.loss[0]


class Endless(IterableDataset):
    def __iter__(self):
        yield from X


def loader(**how):
    return DataLoader(TensorDataset(X, LABEL), **{"batch_size": 4, **how})


REFUSED = [
    (None, TypeError, "data must be a tensor or array .* a torch Dataset or DataLoader.*; got NoneType"),
    ("digits", TypeError, "data must be a tensor or array .*; got str"),
    ({"x": X}, TypeError, "data must be a tensor or array .*; got dict"),
    (Endless(), TypeError, "data must have rows to read by number, len and dataset.i.; got Endless"),
    (DataLoader(Endless()), TypeError, "data must have rows to read by number, .*; got Endless"),
    (loader(sampler=WeightedRandomSampler([1.0] * 50, 50)), ValueError, "brings the sampler WeightedRandomSampler"),
    (loader(collate_fn=lambda items: items), ValueError, "brings a collate_fn: give its dataset"),
    (loader(batch_size=1, batch_sampler=[[1, 2]]), ValueError, "brings batches of its own"),
    (torch.zeros(0, 2), ValueError, "not empty; got shape .0, 2."),
    (torch.tensor(1.0), ValueError, "not empty; got shape .."),
    (torch.zeros(4, 2, dtype=torch.complex64), ValueError, "x must be real; got torch.complex64"),
    (np.array([["a", "b"]]), ValueError, "data must hold numbers; got ndarray of <U1"),
    ([[1.0, 2.0], [3.0]], ValueError, "data must hold numbers; got list of object"),
    (torch.zeros(4, 3), ValueError, "x must have 2 entries in each event"),
]


@pytest.mark.parametrize(("given", "error", "said"), REFUSED)
def test_what_is_no_data_is_refused_in_one_line(given, error, said):
    with pytest.raises(error, match=said) as refused:
        trained(given)
    assert "\n" not in str(refused.value)


def test_labels_beside_a_data_set_and_of_another_length_are_refused():
    with pytest.raises(ValueError, match="labels go with a tensor or an array; TensorDataset brings its own"):
        trained(TensorDataset(X), labels=LABEL, classes=3)
    with pytest.raises(ValueError, match=r"labels must have shape \(50,\), one for each datum; got \(10,\)"):
        trained(X, labels=LABEL[:10], classes=3)


def test_options_are_numbers_of_any_library():
    plain = trained(X, lr=0.25, warmup=3, seed=1, power_ema=(0.125,), ema_decay=0.5)
    assert plain == trained(
        X.numpy(), steps=np.int64(6), batch_size=torch.tensor(12), lr=np.float32(0.25), warmup=np.int32(3),
        seed=np.uint8(1), power_ema=np.array([0.125]), ema_decay=torch.tensor(0.5),
    )  # fmt: skip
    for name, value, said in (
        ("steps", 10.5, "steps must be a whole number; got 10.5"),
        ("batch_size", "8", "batch_size must be a whole number; got '8'"),
        ("lr", "fast", "lr must be a number; got 'fast'"),
        ("step", 3, "fit takes no 'step'. Did you mean 'steps'?"),
    ):
        with pytest.raises(TypeError) as refused:
            trained(X, **{name: value})
        assert str(refused.value) == said


# Precision

NETS = {
    "MLP": (lambda: networks.MLP(2, 16, 2), X),
    "UNet": (lambda: networks.UNet(1, width=8), torch.randn(16, 1, 4, 4)),
    "DiT": (lambda: networks.DiT(1, width=16, depth=1, heads=2), torch.randn(16, 1, 4, 4)),
}


def in_precision(net, dtype, x, **how):
    torch.manual_seed(0)
    model = sf.NetworkDenoiser(NETS[net][0]().to(dtype), sf.VP(), sf.V())
    return model, training.fit(model, x, steps=4, batch_size=12, warmup=1, lr=1e-2, **how)


@pytest.mark.parametrize("given", [torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("net", NETS)
def test_a_network_trains_in_its_own_precision(tmp_path, net, dtype, given):
    x = NETS[net][1].to(given)
    model, result = in_precision(net, dtype, x, run=training.Run(tmp_path))
    assert {p.dtype for p in model.parameters()} == {dtype}
    # an average of half precision needs more bits than its terms
    assert {p.dtype for p in result.denoiser.parameters()} == {torch.promote_types(dtype, torch.float32)}
    single = in_precision(net, torch.float32, x)[1].history.loss
    eps = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
    assert result.history.loss[0] == pytest.approx(single[0], rel=10 * eps)  # of order 1: a few roundings of its terms
    assert result.history.loss[-1] < 1.1 * single[-1]
    loaded = sf.load(tmp_path).denoiser
    for mine, theirs in zip(result.denoiser.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.dtype == theirs.dtype


def test_doubles_stay_doubles_on_their_way_to_a_network_of_doubles():
    far = X.double() + 1e6  # float32 knows it to 1/16

    class Seen(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(2, dtype=torch.float64))
            self.seen = []

        def forward(self, x, level):
            self.seen.append(x.detach())
            return self.w * x

    net = Seen()
    training.fit(sf.NetworkDenoiser(net, sf.VE(), sf.X0()), far, steps=1, batch_size=50, times=losses.Uniform(0, 1e-9))
    gap = (net.seen[0][:, None] - far).abs().sum(2).amin(1)
    assert float(gap.max()) < 0.1  # the noise of VE at t = 0 is 0.01


def test_the_default_dtype_may_be_double():
    single = trained(X)
    torch.set_default_dtype(torch.float64)
    try:
        model = denoiser()
        assert next(model.parameters()).dtype == torch.float64
        result = training.fit(model, X, steps=6, batch_size=12)  # float32 data
        assert all(np.isfinite(result.history.loss))
        of_single = training.fit(denoiser().float(), X.double(), steps=6, batch_size=12)
        assert all(np.isfinite(of_single.history.loss))
        scaled = training.fit(denoiser(), torch.arange(100).reshape(50, 2) % 7, steps=2, transform=Scale(0.5, -1.5, 7))
        assert all(np.isfinite(scaled.history.loss))
    finally:
        torch.set_default_dtype(torch.float32)
    assert trained(X) == single


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_times_transforms_and_muon_go_with_any_precision(dtype):
    model = denoiser().to(dtype)
    result = training.fit(
        model, torch.arange(100).reshape(50, 2) % 7, steps=3, batch_size=12, transform=Scale(0.5, -1.5, 7),
        augment=HorizontalFlip(0.5), times=losses.LogNormal(sf.EDM()), weight=losses.weights.MinSNR(),
        optimizer=training.Muon(),
    )  # fmt: skip
    assert all(np.isfinite(result.history.loss))


def test_an_average_of_half_precision_moves():
    """By a thousandth of the way: in bfloat16, of 8 bits, it would stay where it was."""
    net = nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    nn.init.constant_(net.weight, 1.0)
    average = training.EMA(net, 0.999, ramp=False)
    nn.init.constant_(net.weight, 2.0)
    for _ in range(100):
        average.update()
    assert float(average.module.weight) == pytest.approx(2 - 0.999**100, rel=1e-5)
