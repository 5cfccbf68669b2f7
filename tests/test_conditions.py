"""A condition has one meaning wherever it enters: each sample's own, or all samples'."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import scorefield as sf
from scorefield import anomaly, data, guidance, inverse, likelihood, losses, networks, solvers
from scorefield.conditions import Conditions, Shared, for_each
from scorefield.schedules import as_time, pad_right

f64 = torch.float64
B, EVENT = 3, (1, 4, 4)
VP = sf.VP()
SHIFT = torch.tensor([-0.5, 0.25, 1.0, 0.75], dtype=f64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=f64, generator=torch.Generator().manual_seed(seed))


class Told(sf.Denoiser):
    """Data N(shift, 0.5^2), the shift told; it writes down what else it is told."""

    schedule, data_std = VP, 0.8

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Tensor | None] = []

    def forward(self, x_t: Tensor, t: Tensor | float, *, shift: Any = 0.0, table: Any = None, taste: Any = 0) -> Tensor:
        self.heard.append(table)
        assert not isinstance(shift, Tensor) or shift.dtype == x_t.dtype
        alpha, sigma = (pad_right(c, x_t) for c in self.schedule(t))
        m = pad_right(shift, x_t)
        return m + alpha * 0.25 / (alpha**2 * 0.25 + sigma**2) * (x_t - alpha * m)


X = normal(B, *EVENT)
RAW = torch.randint(4, (B, *EVENT), generator=torch.Generator().manual_seed(0))
GREYS = data.Scale(0.5, -1.0, 4)
MEASURED = inverse.simulate(inverse.operators.Mask(torch.arange(16).reshape(EVENT) % 2 == 0), X, 0.1)
GRID = torch.tensor([0.9, 0.6, 0.3, 0.0], dtype=f64)


def classifier(x: Tensor, t: Tensor | float) -> Tensor:
    return x.flatten(1)[:, :2]


def _measured(measurement: anomaly.Measurement) -> Callable[..., Tensor]:
    return lambda d, c, n: measurement(d, X, cond=c, chunk=n)


def _sampled(**options: Any) -> Callable[..., Tensor]:
    return lambda d, c, n: sf.sample(d, (B, *EVENT), cond=c, chunk=n, dtype=f64, **options).x


def _guided(wrapped: Callable[[sf.Denoiser], sf.Denoiser]) -> Callable[..., Tensor]:
    return lambda d, c, n: sf.sample(wrapped(d), X, times=GRID, cond=c, chunk=n).x


def _called(wrapped: Callable[[sf.Denoiser], sf.Denoiser]) -> Callable[..., Tensor]:
    return lambda d, c, n: wrapped(d)(X, 0.5, **c)


def _posterior(method: inverse.Method | None) -> Callable[..., Tensor]:
    return lambda d, c, n: inverse.condition(d, MEASURED, method, cond=c).sample(2, nfe=4, chunk=n, dtype=f64).x


def _loss(loss: Callable[..., Tensor], **options: Any) -> Callable[..., Tensor]:
    return lambda d, c, n: loss(d, X, cond=c, generator=torch.Generator().manual_seed(0), **options)


def _fitted(d: sf.Denoiser, c: Any, n: int | None) -> Tensor:
    torch.manual_seed(0)
    dequantizer = likelihood.Dequantizer.dense(16, GREYS, hidden=4).double()
    flat = RAW.flatten(1)
    return torch.tensor(likelihood.fit_dequantizer(dequantizer, d, flat, steps=2, batch_size=4, cond=c), dtype=f64)


def _interpolated(d: sf.Denoiser, c: Any, n: int | None) -> Tensor:
    return sf.interpolate(d, X, X.flip(0), 2, nfe=4, cond=c, chunk=n)


def _corrected(d: sf.Denoiser, c: Any, n: int | None) -> Tensor:
    product = guidance.ProductOfExperts([d, Told()], [0.7, 0.5])
    run = guidance.feynman_kac(product, (B, *EVENT), particles_each=4, times=GRID, cond=c, dtype=f64)
    return run.x


CLASSIFIED = guidance.ClassifierGuidance
ENTRIES: dict[str, Callable[[Told, Any, int | None], Tensor]] = {
    "sample": _sampled(nfe=4),
    "sample, exact": _sampled(nfe=4, exact=True),
    "sample, adaptive": _sampled(solver=sf.Adaptive(rtol=0.1, atol=0.1)),
    "sample, adaptive sde": _sampled(solver=sf.AdaptiveSDE(rtol=0.5)),
    "sample, picard": _sampled(solver=sf.Picard(), nfe=6),
    "log_prob": lambda d, c, n: sf.log_prob(d, X, tolerance=0.1, probes=1, cond=c, chunk=n).log_prob,
    "bits_per_dim": lambda d, c, n: sf.bits_per_dim(d, RAW, GREYS, tolerance=0.1, probes=1, cond=c, chunk=n).bits,
    "elbo": lambda d, c, n: sf.elbo(d, X, draws=2, cond=c).elbo,
    "encode": lambda d, c, n: sf.encode(d, X, nfe=4, cond=c, chunk=n, round_trip=True).z,
    "decode": lambda d, c, n: sf.decode(d, X, nfe=4, cond=c, chunk=n),
    "interpolate": _interpolated,
    "move": lambda d, c, n: sf.move(d, X, X[0], nfe=4, cond=c, chunk=n),
    "edit": lambda d, c, n: sf.edit(d, X, 0.5, nfe=4, cond=c, chunk=n).x,
    "inpaint": lambda d, c, n: sf.inpaint(d, X, X[0] > 0, nfe=10, cond=c, chunk=n).x,
    "posterior, recommended": _posterior(None),
    "posterior, moment matching": _posterior(inverse.Guidance(inverse.MomentMatching)),
    "posterior, bridge": _posterior(inverse.Bridge(particles=4)),
    "posterior, twisted": _posterior(inverse.TwistedSMC(particles=4)),
    "posterior, dps": _posterior(inverse.DPS()),
    "guided, called": lambda d, c, n: inverse.PiGDM(d, MEASURED)(X, 0.5, observation=torch.arange(B), **c),
    "feynman_kac": _corrected,
    "product": _guided(lambda d: guidance.ProductOfExperts([d, Told()], [0.7, 0.5])),
    "product, called": _called(lambda d: guidance.ProductOfExperts([d, Told()], [0.7, 0.5])),
    "classifier-free": _guided(lambda d: sf.ClassifierFreeGuidance(d, 2.0)),
    "classifier-free, called": _called(lambda d: sf.ClassifierFreeGuidance(d, 2.0)),
    "conjunction": _guided(lambda d: guidance.Conjunction(d, [{"taste": 1}], [0.5])),
    "autoguidance": _guided(lambda d: sf.Autoguidance(d, Told(), 2.0)),
    "classifier": _called(lambda d: CLASSIFIED(d, classifier)),
    "patches": _guided(lambda d: sf.PatchDenoiser(d, 2, 1)),
    "patches, called": lambda d, c, n: sf.PatchDenoiser(d, 2, 1, chunk=n)(X, 0.5, **c),
    "likelihood of data": _measured(anomaly.NegativeLogLikelihood(tolerance=0.1)),
    "elbo of data": _measured(anomaly.NegativeElbo(draws=2)),
    "score norms": _measured(anomaly.ScoreNorms(levels=2)),
    "denoising errors": _measured(anomaly.DenoisingErrors(levels=2)),
    "denoising": _loss(losses.denoising),
    "explicit": _loss(losses.explicit, exact=Told()),
    "implicit": _loss(losses.implicit),
    "sliced": _loss(losses.sliced),
    "finite_difference": _loss(losses.finite_difference),
    "continuous_bound": _loss(losses.continuous_bound),
    "discrete_bound": _loss(losses.discrete_bound, grid=GRID[:-1]),
    "fit_dequantizer": _fitted,
    "calibrate": lambda d, c, n: (
        solvers.calibrate(d, X, levels=2, generator=torch.Generator().manual_seed(0), **c).variance
    ),
    "calibrate_spectrum": lambda d, c, n: (
        inverse.calibrate_spectrum(d, X, levels=2, generator=torch.Generator().manual_seed(0), **c).variance
    ),
}
"""Everything that takes a condition, on B samples: (denoiser, cond, chunk) to a result."""


class Entry(NamedTuple):
    run: Callable[[Told, Any, int | None], Tensor]
    batch: int


ALL = {name: Entry(run, B) for name, run in ENTRIES.items()} | {
    "tune": Entry(lambda d, c, n: torch.tensor(sf.tune(d, EVENT, 2, paths=2, teacher_steps=8, cond=c).tuned), 4),
    "check_denoiser": Entry(lambda d, c, n: torch.tensor(sf.checks.check_denoiser(d, EVENT, cond=c) is None), 4),
}
"""With those that choose the number of samples themselves."""

everywhere = pytest.mark.parametrize("entry", ALL.values(), ids=ALL.keys())


@pytest.fixture(autouse=True)
def one_group_at_a_time(monkeypatch):
    """`feynman_kac` has no `chunk`, and is cut all the same."""
    monkeypatch.setattr(sys.modules["scorefield.guidance.feynman_kac"], "CHUNK_ELEMENTS", 1)


def refused(run: Callable[[], Any]) -> str:
    with pytest.raises(ValueError, match="shared") as error:
        run()
    return str(error.value)


@everywhere
@pytest.mark.parametrize("chunk", [None, 1, 2])
def test_a_wrong_length_is_refused_before_the_network_is_called(entry, chunk):
    for wrong in (1, 2, entry.batch + 1):  # the lengths of a chunk are wrong too
        told = Told()
        line = refused(lambda told=told, wrong=wrong: entry.run(told, {"shift": torch.zeros(wrong)}, chunk))
        assert line.startswith(f"shift must have an entry for each of the {entry.batch} ")
        assert line.endswith(f"; got shape ({wrong},). What all of them share is sf.shared(...)")
        assert "\n" not in line
        assert told.heard == []


@everywhere
@pytest.mark.parametrize("chunk", [None, 1])
def test_what_is_shared_reaches_the_network_whole_even_if_it_is_as_long_as_the_batch(entry, chunk):
    told, table = Told(), torch.arange(2.0 * entry.batch).reshape(-1, 2)
    entry.run(told, {"table": sf.shared(table), "shift": SHIFT[: entry.batch]}, chunk)
    heard = [t for t in told.heard if t is not None]  # guidance asks without a condition too
    assert heard
    assert all(torch.equal(t, table.to(t.dtype)) for t in heard)


@everywhere
def test_lists_and_arrays_are_the_tensors_they_hold(entry):
    tensor = entry.run(Told(), {"shift": SHIFT[: entry.batch]}, None)
    values = SHIFT[: entry.batch].tolist()  # float32 holds them
    for same in (values, np.array(values[::-1], dtype=np.float32)[::-1]):
        assert torch.equal(entry.run(Told(), {"shift": same}, None), tensor)


@everywhere
def test_a_number_is_for_all(entry):
    tensor = entry.run(Told(), {"shift": torch.full((entry.batch,), 2.0, dtype=f64)}, 1)
    for same in (2, np.float32(2), torch.tensor(2.0)):  # times 2 is exact, whatever type it is
        assert torch.equal(entry.run(Told(), {"shift": same}, 1), tensor)


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES.keys())
def test_a_sample_keeps_its_own_in_any_chunk(entry):
    whole, cut = (entry(Told(), {"shift": SHIFT[:B]}, chunk) for chunk in (None, 1))
    torch.testing.assert_close(whole, cut)
    others = entry(Told(), {"shift": SHIFT[1 : B + 1]}, 1)
    assert not torch.allclose(whole, others)  # or nothing was heard


# What is refused though no network is called, and what the wrappers take beside a condition


def test_editing_by_nothing_refuses_too():
    told = Told()
    assert torch.equal(sf.edit(told, X, 0.0, cond={"shift": [0.0] * B}).x, X)
    refused(lambda: sf.edit(told, X, 0.0, cond={"shift": [0.0]}))


def test_a_dequantizer_is_not_asked_either():
    dequantizer = likelihood.Dequantizer.dense(16, GREYS, hidden=4)
    calls: list[int] = []
    dequantizer.register_forward_pre_hook(lambda net, args: calls.append(1))

    def bits(shift):
        return sf.bits_per_dim(
            Told(), RAW.flatten(1), GREYS, dequantizer=dequantizer, tolerance=0.1, probes=1, cond={"shift": shift}
        )

    refused(lambda: bits([0.0]))
    assert calls == []
    bits([0.0] * B)
    assert calls == [1]


def test_the_posterior_refuses_where_the_condition_enters():
    line = refused(lambda: inverse.condition(Told(), MEASURED, cond={"shift": torch.zeros(6)}))  # 2 samples of each
    assert "each of the 3 observations; got shape (6,)" in line


def test_the_label_of_a_classifier_is_a_condition():
    guided = guidance.ClassifierGuidance(Told(), classifier)
    expected = guided(X, 0.5, label=torch.ones(B, dtype=torch.int64))
    for label in (1, [1, 1, 1], np.ones(B, dtype=np.int64), torch.tensor(1)):
        assert torch.equal(guided(X, 0.5, label=label), expected)
    assert not torch.equal(guided(X, 0.5, label=0), expected)
    assert refused(lambda: guided(X, 0.5, label=[1])).startswith("label must have an entry for each of the 3 samples")


def test_the_observation_of_a_guided_denoiser_is_a_condition():
    guided = inverse.PiGDM(Told(), MEASURED)
    expected = guided(X, 0.5, observation=torch.tensor([1, 1, 1]))
    for same in (1, [1, 1, 1], np.int64(1)):
        assert torch.equal(guided(X, 0.5, observation=same), expected)
    assert not torch.equal(guided(X, 0.5, observation=torch.arange(B)), expected)
    refused(lambda: guided(X, 0.5, observation=[1, 1]))


@pytest.mark.parametrize("chunk", [None, 1, B, 2 * B])
def test_how_many_rows_there_are_does_not_say_which_observation_they_have(chunk):
    """In chunks of B each would have had the first B observations again."""
    guided, start = inverse.PiGDM(Told(), MEASURED), torch.cat([X, X.flip(0)])

    def drawn(**told):
        return sf.sample(guided, start, times=GRID, cond=told, chunk=chunk).x

    with pytest.raises(ValueError, match=f"^observation must say which of the {B} observations each row has"):
        drawn()
    back = drawn(observation=torch.cat([torch.arange(B), torch.arange(B).flip(0)]))
    torch.testing.assert_close(back[:B], back[B:].flip(0), rtol=1e-10, atol=1e-10)
    alone = inverse.PiGDM(Told(), MEASURED.rows(torch.tensor([1])))  # one is everybody's
    assert torch.equal(alone(X, 0.5), alone(X, 0.5, observation=0))


def test_the_labels_of_a_classification_loss_are_conditions():
    class Linear(torch.nn.Module):
        schedule = VP

        def forward(self, x, t):
            return classifier(x, t)

    def loss(label):
        return losses.classification(Linear(), X, t=torch.tensor(0.5), eps=X, cond={"label": label})

    assert torch.equal(loss([1, 1, 1]), loss(torch.ones(B, dtype=torch.int64)))
    assert torch.equal(loss(1), loss([1, 1, 1]))
    refused(lambda: loss([1, 1]))


# Networks of this library


def network() -> sf.NetworkDenoiser:
    torch.manual_seed(0)
    net = networks.MLP(2, hidden=8, num_classes=4, vector_dim=2, token_dim=5)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return sf.NetworkDenoiser(net.eval(), VP, sf.V())


LABEL = torch.tensor([3, 3])
VECTOR = torch.tensor([[2.0, -1.0]] * 2)
TOKENS = (normal(1, 4, 5) * 3).round().float().expand(2, 4, 5)
MASK = torch.tensor([[True, True, False, True]] * 2)
FORMS = {
    "label": (LABEL, [3, [3, 3], np.array([3, 3], dtype=np.uint8), torch.tensor(3), np.int32(3), sf.shared(3)]),
    "vector": (VECTOR, [[[2, -1]] * 2, VECTOR.double().numpy(), list(VECTOR), sf.shared([2.0, -1.0])]),
    "tokens": (TOKENS, [TOKENS.double(), TOKENS.long().numpy(), sf.shared(TOKENS[0])]),
    "null": (torch.tensor([True, True]), [True, [True, True], np.bool_(True)]),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_network_takes_a_condition_in_any_form(name):
    denoiser, x = network(), normal(2, 2, seed=1).float()
    tensor, others = FORMS[name]
    beside = {"label": LABEL} if name == "null" else {}
    expected = denoiser(x, 0.5, **{name: tensor}, **beside)
    assert not torch.equal(expected, denoiser(x, 0.5, **beside))  # or it was not heard
    for other in others:
        assert torch.equal(denoiser(x, 0.5, **{name: other}, **beside), expected)
        drawn = (sf.sample(denoiser, (2, 2), nfe=3, cond={name: v, **beside}).x for v in (other, tensor))
        assert torch.equal(*drawn)


def test_a_mask_is_shared_with_its_tokens():
    denoiser, x = network(), normal(2, 2, seed=1).float()
    expected = denoiser(x, 0.5, tokens=TOKENS, token_mask=MASK)
    shared = denoiser(x, 0.5, tokens=sf.shared(TOKENS[0]), token_mask=sf.shared([True, True, False, True]))
    assert torch.equal(shared, expected)


@pytest.mark.parametrize("chunk", [None, 1])
def test_a_vector_without_a_mark_is_never_taken_for_one_that_all_share(chunk):
    """Two samples and a vector of two numbers: it looks right, and is not."""
    with pytest.raises(ValueError, match=r"vector must have shape \(\d, 2\), one for each x; got \(\d,\)"):
        sf.sample(network(), (2, 2), nfe=3, cond={"vector": torch.zeros(2)}, chunk=chunk)


def test_a_label_that_is_no_integer_is_refused():
    for label, dtype in (([0.0, 1.0], "float32"), (True, "bool"), (torch.tensor([0.5, 1.5]), "float32")):
        with pytest.raises(ValueError, match=f"label must be integers; got torch.{dtype}"):
            network()(torch.zeros(2, 2), 0.5, label=label)


@pytest.mark.parametrize("solver", [sf.DDIM(), sf.Adaptive(rtol=0.1, atol=0.1)])
def test_guidance_of_one_class_for_all_is_one_call_of_the_network(solver):
    guided = sf.ClassifierFreeGuidance(network(), 2.0, negative={"label": 1})
    assert isinstance(guided.denoiser, sf.NetworkDenoiser)
    rows: list[int] = []
    guided.denoiser.net.register_forward_pre_hook(lambda net, args: rows.append(len(args[0])))
    results = [sf.sample(guided, (2, 2), solver=solver, cond={"label": v}).x for v in (LABEL, 3, sf.shared(3))]
    assert set(rows) <= {4, 2}  # two samples or the one that is left, each with and without
    assert len(rows) % 3 == 0
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_guidance_with_a_negative_of_the_same_shape_keeps_what_is_shared():
    guided = sf.ClassifierFreeGuidance(network(), 2.0)
    x, t = normal(2, 2).float(), as_time(0.5)
    assert torch.equal(guided(x, t, tokens=sf.shared(TOKENS[0])), guided(x, t, tokens=TOKENS))
    own = guided(x, t, label=LABEL, guidance=torch.tensor([2.0, 2.0]))
    torch.testing.assert_close(own, guided(x, t, label=LABEL, guidance=2))
    assert torch.equal(own, guided(x, t, label=LABEL, guidance=[2.0, 2.0]))


def test_what_guided_terms_share_reaches_a_network_of_yours_whole():
    class Yours(torch.nn.Module):
        conditions = ("label",)  # it takes `null`, so guidance asks it once for both terms

        def forward(self, x, level, *, label, table, null):
            assert table.shape == (B, 2)
            assert len(x) == len(label) == len(null) == 2 * B
            return x * 0 + torch.where(null, 0, label)[:, None] * table.sum()

    guided = sf.ClassifierFreeGuidance(sf.NetworkDenoiser(Yours(), VP, sf.X0()), 2.0)
    x0 = guided(torch.zeros(B, 2), 0.5, label=[1, 2, 3], table=sf.shared(torch.ones(B, 2)))
    assert x0[:, 0].tolist() == [12, 24, 36]


# The rules themselves


def test_what_enters_and_what_comes_out():
    thing = object()
    given = {"a": 3, "b": None, "c": "text", "d": thing, "e": 0.5, "f": {"k": torch.zeros(7)}}
    assert Conditions.of(given, B, f64, torch.device("cpu")) == given
    told = Conditions.of(
        {"ints": (1, 2, 3), "bytes": np.arange(3, dtype=np.uint8), "range": range(3), "floats": np.zeros((3, 2)),
         "half": torch.zeros(3, dtype=torch.float16), "one": np.float32(0.1), "flags": [True, False, True]},
        B, torch.float32,
    )  # fmt: skip
    dtypes = [v.dtype for v in told.values()]
    assert dtypes == [torch.int64, torch.uint8, torch.int64, *[torch.float32] * 3, torch.bool]
    assert told["one"].shape == ()
    assert Conditions.of(None, B) == {}


def test_tensors_go_to_the_device_of_x_and_keep_their_gradient():
    leaf = torch.ones(B, requires_grad=True)
    told = Conditions.of({"own": leaf, "all": sf.shared([1, 2]), "number": torch.tensor(1.0)}, B, f64)
    listed = Conditions.of({"own": list(leaf)}, B)
    (told["own"] + listed["own"]).sum().backward()
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, 2 * torch.ones(B))
    there = Conditions.of(told, B, f64, torch.device("meta"))
    assert all(v.is_meta for v in there.values())
    assert isinstance(there["all"], Shared)
    assert all(v.is_meta for v in there.rows(torch.tensor([0])).values())


def test_rows_are_cut_repeated_and_tiled_and_what_is_shared_is_not():
    given = {"own": torch.tensor([[1], [2], [3]]), "all": sf.shared([4, 5, 6]), "number": 7, "one": torch.tensor(8)}
    told = Conditions.of(given, B)

    def own(changed):
        assert isinstance(changed, Conditions)
        assert changed["all"].tolist() == [4, 5, 6]
        assert isinstance(changed["all"], Shared)
        assert (changed["number"], changed["one"]) == (7, 8)
        return changed["own"].flatten().tolist()

    assert own(told.rows(slice(1, 3))) == [2, 3]
    assert own(told.rows(torch.tensor([2, 0, 2]))) == [3, 1, 3]
    assert own(told.rows(slice(0, 0))) == []
    assert own(told.repeated(2)) == [1, 1, 2, 2, 3, 3]
    assert own(told.tiled(2)) == [1, 2, 3, 1, 2, 3]
    assert own(Conditions.of(told, B)) == [1, 2, 3]


def test_a_shared_tensor_is_a_tensor_and_what_is_made_of_it_is_a_plain_one():
    table = sf.shared(torch.tensor([[1.0, 2.0]]))
    assert type(table) is Shared
    assert type(sf.shared(table)) is Shared
    for made in (table + 1, table[0], table @ table.T, table.expand(2, 2), torch.cat([table, table])):
        assert type(made) is Tensor
    grow = torch.compile(lambda x, table: x + table, backend="eager", fullgraph=True)
    assert torch.equal(grow(torch.ones(1, 2), table), torch.tensor([[2.0, 3.0]]))


def test_for_each_expands_what_all_share():
    x = torch.zeros(2, 5, dtype=f64)
    assert torch.equal(for_each("label", 3, x), torch.tensor([3, 3]))
    assert torch.equal(for_each("weight", 0.1, x), torch.tensor([0.1, 0.1], dtype=f64))
    assert torch.equal(for_each("vector", sf.shared([0.1, 2]), x), torch.tensor([[0.1, 2.0]] * 2, dtype=f64))
    assert torch.equal(for_each("own", [1, 2, 3], x), torch.tensor([1, 2, 3]))


@pytest.mark.parametrize("words", [["a cat", "a dog", "a bird"], [[1, 2], [3]], [None] * 3, np.array(["a", "b", "c"])])
def test_what_holds_no_numbers_is_refused(words):
    for use in (lambda: Conditions.of({"caption": words}, B), lambda: for_each("caption", words, X)):
        with pytest.raises(ValueError, match=r"^caption must hold numbers, in a tensor or what becomes one; got .+$"):
            use()
    with pytest.raises(ValueError, match=r"^shared must hold numbers"):
        sf.shared(words)


def test_a_condition_has_a_name():
    with pytest.raises(TypeError, match=r"cond must map names to values, such as \{'label': 3\}; got Tensor"):
        sf.sample(Told(), (B, *EVENT), cond=SHIFT[:B])  # type: ignore[arg-type]
