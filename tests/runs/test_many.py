"""Shards are the same bytes in one process and in several, whatever was killed in between, and damage is made good."""

import io
import json
import random
import tarfile

import numpy as np
import pytest
import torch

import scorefield as sf
from scorefield.runs import many
from scorefield.storage import files, shards


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


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("shard-*"))}


def in_processes(run, folder, planned, world, monkeypatch):
    for rank in range(world):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(world))
        done = many.sample_shards(run, folder, planned)
    return done


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
def test_any_number_of_processes_writes_the_same_bytes(run, planned, alone, tmp_path, monkeypatch, world):
    assert in_processes(run, tmp_path, planned, world, monkeypatch).missing == 0
    assert contents(tmp_path) == contents(alone)


def test_a_restart_makes_what_is_missing_or_damaged_and_nothing_else(run, planned, alone, tmp_path):
    many.sample_shards(run, tmp_path, planned)
    (tmp_path / "shard-000002.npz").unlink()
    (tmp_path / "shard-000004.npz").write_bytes(b"cut")
    assert many.sample_shards(run, tmp_path, planned)[:3] == (2, 5, 0)
    assert contents(tmp_path) == contents(alone)


class Killed(BaseException):
    """As SIGKILL is: nothing below catches it."""


def test_twenty_kills_at_any_moment_leave_the_same_bytes(run, planned, alone, tmp_path, monkeypatch):
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
            many.sample_shards(run, tmp_path, planned)
        except Killed:
            kills += 1
            if (manifest := tmp_path / shards.MANIFEST).is_file() and rng.random() < 0.3:
                manifest.write_bytes(manifest.read_bytes()[:-3])
    fuse[0] = -1
    many.sample_shards(run, tmp_path, planned)
    assert contents(tmp_path) == contents(alone)
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
