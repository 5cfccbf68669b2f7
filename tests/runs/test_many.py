"""Shards are the same bytes in one process and in several, whatever was killed in between, and damage is made good."""

import io
import json
import random
import tarfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import scorefield as sf
from scorefield.inverse import simulate
from scorefield.inverse.operators import as_operator
from scorefield.likelihood import Effort, log_prob
from scorefield.runs import each, many
from scorefield.storage import files, shards
from scorefield.storage.shards import Plan


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.manual_seed(0)
    net = sf.networks.MLP(2, hidden=8, depth=1, num_classes=3)
    for p in net.parameters():
        p.data += 0.1 * torch.randn_like(p)
    path = tmp_path_factory.mktemp("run") / "model.safetensors"
    sf.save(path, sf.NetworkDenoiser(net, sf.VP(), sf.V()), {"event_shape": [2]}, transform=sf.data.Scale(2.0, -1.0))
    return sf.load(path)


@pytest.fixture(scope="module")
def planned(run):
    return many.plan(run, 50, shard=8, chunk=4, nfe=3, seed=5, label=[2, 0, 1])


@pytest.fixture(scope="module")
def source():
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
    return sf.data.Arrays(x / 4 + 0.5, torch.arange(50) % 3, num_classes=3)


@pytest.fixture(scope="module")
def measured(source):
    def of(rows):
        truth = source.batch(rows).x.double()
        operator = as_operator(torch.tensor([[1.0, 0.5]], dtype=torch.float64), (2,))
        return each.Measured(simulate(operator, truth, 0.1, seed=7, index=rows), truth)

    return of


EFFORT = Effort(tolerance=0.1, elbo_draws=2, seed=7)
POSTERIOR: dict[str, Any] = {"samples": 2, "nfe": 3, "seed": 7}


class Job(NamedTuple):
    """Fifty results in shards of eight: what `write` needs to make them."""

    planned: Plan
    go: Callable[..., Any]  # of a folder and how


@pytest.fixture(scope="module", params=["samples", "likelihoods", "posteriors"])
def job(request, run, planned, source, measured):
    rows = torch.arange(50)
    if request.param == "samples":
        return Job(planned, lambda folder, **how: many.sample_shards(run, folder, planned, **how))
    if request.param == "likelihoods":
        plan = each.likelihood_plan(run, source, rows, EFFORT, shard=8, chunk=4)
        make = each.likelihoods(run, source, rows, EFFORT)
    else:
        plan = each.posterior_plan(run, 50, 1, {}, samples=2, shard=8, chunk=2)
        make = each.posteriors(run, measured, rows, **POSTERIOR)
    return Job(plan, lambda folder, **how: many.write(folder, plan, make, **how))


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("shard-*"))}


@pytest.fixture(scope="module")
def whole(job, tmp_path_factory):
    """What one process writes, undisturbed."""
    folder = tmp_path_factory.mktemp("whole")
    job.go(folder)
    return contents(folder)


@pytest.fixture(scope="module")
def alone(run, planned, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    many.sample_shards(run, folder, planned)
    return folder


def test_shards_hold_the_samples_that_one_call_draws(run, planned, alone):
    found = list(shards.read(alone))
    whole = run.sample(50, label=[2, 0, 1], nfe=3, seed=5, exact=True, chunk=4)
    assert np.array_equal(np.concatenate([s["samples"] for s in found]), whole.raw.numpy())
    assert np.array_equal(np.concatenate([s["label"] for s in found]), whole.label.numpy())
    assert np.array_equal(np.concatenate([s["index"] for s in found]), np.arange(50))


@pytest.mark.parametrize("world", [2, 3])
def test_any_number_of_processes_writes_the_same_bytes(job, whole, tmp_path, monkeypatch, world):
    for rank in range(world):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(world))
        done = job.go(tmp_path)
        assert done.made == len(range(rank, 7, world))
    assert done.missing == 0
    assert contents(tmp_path) == whole
    assert len(whole) == 7


def test_a_restart_makes_what_is_missing_or_damaged_and_nothing_else(job, whole, tmp_path):
    job.go(tmp_path)
    (tmp_path / "shard-000002.npz").unlink()
    (tmp_path / "shard-000004.npz").write_bytes(b"cut")
    assert job.go(tmp_path)[:3] == (2, 5, 0)
    assert contents(tmp_path) == whole


class Killed(BaseException):
    """As SIGKILL is: nothing below catches it."""


def test_twenty_kills_at_any_moment_leave_the_same_bytes(job, whole, tmp_path, monkeypatch):
    """Dies before or in the midst of writing a file, before its rename or its line, or in the midst of the line."""
    rng, real = random.Random(0), {name: getattr(files.os, name) for name in ("replace", "fsync")}
    fuse = [0]

    def deadly(name):
        def call(*args):
            fuse[0] -= 1
            if fuse[0] == 0:
                raise Killed
            return real[name](*args)

        return call

    kills = 0
    for name in real:
        monkeypatch.setattr(files.os, name, deadly(name))
    while kills < 20:
        fuse[0] = rng.randint(1, 8)
        for path in list(contents(tmp_path))[: rng.randint(0, 3)]:  # some are lost in between, or there would be no 20
            (tmp_path / path).unlink()
        try:
            job.go(tmp_path)
        except Killed:
            kills += 1
            if (manifest := tmp_path / shards.MANIFEST).is_file() and rng.random() < 0.3:
                manifest.write_bytes(manifest.read_bytes()[:-3])
    fuse[0] = -1
    job.go(tmp_path)
    assert contents(tmp_path) == whole
    assert not list(tmp_path.glob(".shard*"))


def test_out_of_memory_halves_the_chunk_and_the_samples_are_the_same(run, planned, alone, tmp_path, monkeypatch):
    sample, said = type(run).sample, []

    def small(self, n, **options):
        if options["chunk"] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return sample(self, n, **options)

    monkeypatch.setattr(type(run), "sample", small)
    assert many.sample_shards(run, tmp_path, planned, warn=said.append).chunk == 2
    assert said == ["out of memory: going on with 2 at a time"]
    for ours, theirs in zip(shards.read(tmp_path), shards.read(alone), strict=True):
        np.testing.assert_allclose(ours["samples"], theirs["samples"], atol=1e-5)
    assert json.loads((tmp_path / shards.MANIFEST).read_text().splitlines()[0])["chunk"] == 2


def test_other_errors_are_not_taken_for_memory(run, planned, tmp_path, monkeypatch):
    def broken(self, n, **options):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(type(run), "sample", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        many.sample_shards(run, tmp_path, planned)


def test_a_folder_of_something_else_is_refused(run, planned, tmp_path):
    many.sample_shards(run, tmp_path, planned)
    with pytest.raises(ValueError, match="seed was 5 and now is 6"):
        many.sample_shards(run, tmp_path, many.plan(run, 50, shard=8, chunk=4, nfe=3, seed=6, label=[2, 0, 1]))
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty"):
        many.sample_shards(run, other, planned)
    with pytest.raises(ValueError, match="multiple of chunk"):
        many.plan(run, 50, shard=6, chunk=4)


def test_a_tar_is_what_webdataset_reads(run, alone, tmp_path):
    many.sample_shards(run, tmp_path, many.plan(run, 50, shard=8, chunk=4, nfe=3, seed=5, label=[2, 0, 1], kind="tar"))
    first = next(shards.read(alone))
    with tarfile.open(tmp_path / "shard-000000.tar") as tar:
        assert tar.getnames()[:4] == [
            "000000000.samples.npy",
            "000000000.cls",
            "000000001.samples.npy",
            "000000001.cls",
        ]
        held = {member.name: tar.extractfile(member) for member in tar.getmembers()}
        content = {name: file.read() for name, file in held.items() if file is not None}
    assert np.array_equal(np.load(io.BytesIO(content["000000003.samples.npy"])), first["samples"][3])
    assert int(content["000000003.cls"]) == first["label"][3]


@pytest.mark.rounding
def test_a_likelihood_is_that_of_its_row_alone(run, source, tmp_path):
    """As `log_prob` has it of one datum with its number; adaptive steps turn rounding into less than the tolerance."""
    rows = torch.arange(50)
    plan = each.likelihood_plan(run, source, rows, EFFORT, shard=16, chunk=16)
    many.write(tmp_path, plan, each.likelihoods(run, source, rows, EFFORT))
    found = shards.numbers(tmp_path)
    for i in (0, 17, 49):
        x, cond = source.batch(rows[i : i + 1])
        one = log_prob(run.denoiser, x, cond=cond, transform=run.transform, tolerance=0.1, seed=7, first_index=i)
        assert found["log_prob"][i] == pytest.approx(float(one.log_prob), abs=2 * 0.1)
        assert found["solver"][i] < 0.2
    assert np.array_equal(found["row"], rows.numpy())


@pytest.mark.rounding
def test_probes_are_keyed_by_the_number_of_the_datum(run, source, tmp_path):
    """With one probe two data of one value differ, and shards begin where the one before ended."""
    same = sf.data.Arrays(source.batch(torch.zeros(12, dtype=torch.int64)).x)
    rows, effort = torch.arange(12), Effort(probes=1, tolerance=1e-3, elbo_draws=2, seed=7)
    for name, size in (("a", 4), ("b", 12)):
        plan = each.likelihood_plan(run, same, rows, effort, shard=size, chunk=4)
        many.write(tmp_path / name, plan, each.likelihoods(run, same, rows, effort))
    fours, twelve = (shards.numbers(tmp_path / name)["elbo"] for name in "ab")
    np.testing.assert_allclose(fours, twelve, rtol=1e-5)
    assert len(np.unique(twelve.round(4))) == 12


@pytest.mark.rounding
def test_a_posterior_is_that_of_one_call(run, measured, tmp_path):
    rows = torch.arange(50)
    plan = each.posterior_plan(run, 50, 1, {}, samples=2, shard=8, chunk=2)
    many.write(tmp_path, plan, each.posteriors(run, measured, rows, **POSTERIOR))
    found = [dict(shard) for shard in shards.read(tmp_path)]
    given = measured(rows)
    assert run.transform is not None
    posterior = run.posterior(given.likelihood.for_model(run.transform), seed=7)
    expected = posterior.sample(2, nfe=3, seed=7, exact=True, chunk=2, dtype=torch.float32)
    x = run.transform.inverse(expected.x.double().flatten(0, 1)).reshape(50, 2, 2)
    np.testing.assert_allclose(np.concatenate([part["samples"] for part in found]), x, atol=1e-5)
    numbers = shards.numbers(tmp_path)
    np.testing.assert_allclose(numbers["reduced_chi2"], expected.reduced_chi2.mean(1), rtol=1e-3)
    error = (x.mean(1) - given.truth).square().mean(1)
    np.testing.assert_allclose(numbers["psnr"], -10 * torch.log10(error), rtol=1e-3)


def test_out_of_memory_halves_the_chunk_of_likelihoods(run, source, tmp_path, monkeypatch):
    per_datum, said, rows = each.per_datum, [], torch.arange(50)

    def small(*args, chunk, **options):
        if chunk > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return per_datum(*args, chunk=chunk, **options)

    monkeypatch.setattr(each, "per_datum", small)
    plan = each.likelihood_plan(run, source, rows, EFFORT, shard=8, chunk=4)
    assert many.write(tmp_path, plan, each.likelihoods(run, source, rows, EFFORT), warn=said.append).chunk == 2
    assert said == ["out of memory: going on with 2 at a time"]


def test_other_data_another_seed_or_model_are_refused(run, source, tmp_path):
    rows = torch.arange(50)
    plan = each.likelihood_plan(run, source, rows, EFFORT)
    many.write(tmp_path, plan, each.likelihoods(run, source, rows, EFFORT))

    def again(source, effort, name):
        other = each.likelihood_plan(run, source, rows, effort)
        with pytest.raises(ValueError, match=f"holds others: {name} was .* choose another folder"):
            many.write(tmp_path, other, each.likelihoods(run, source, rows, effort))

    x = source.batch(rows).x.clone()
    x[13] += 1e-3
    again(sf.data.Arrays(x, rows % 3, num_classes=3), EFFORT, "data")
    again(sf.data.Arrays(source.batch(rows).x, (rows + 1) % 3, num_classes=3), EFFORT, "data")
    again(source, Effort(tolerance=0.1, elbo_draws=2, seed=8), "seed")
    net = sf.networks.MLP(2, hidden=8, depth=1, num_classes=3)
    sf.save(tmp_path.parent / "other.safetensors", sf.NetworkDenoiser(net, sf.VP(), sf.V()), {"event_shape": [2]})
    foreign = sf.load(tmp_path.parent / "other.safetensors")
    with pytest.raises(ValueError, match="holds others: model was"):
        many.write(tmp_path, each.likelihood_plan(foreign, source, rows, EFFORT), lambda *_: {})
