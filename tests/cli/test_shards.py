"""`--out folder/` of `sample`, `likelihood`, `reconstruct`: shards alone, under torchrun, and what is no folder's."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import scorefield as sf
from scorefield.storage import shards

ASKED = ("-n", 40, "--nfe", 2, "--shard", 8, "--chunk", 4, "--label", 1, "--label", 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.manual_seed(0)
    net = sf.networks.MLP(2, hidden=8, depth=1, num_classes=2)
    for p in net.parameters():
        p.data += 0.1 * torch.randn_like(p)
    path = tmp_path_factory.mktemp("run") / "model.safetensors"
    sf.save(path, sf.NetworkDenoiser(net, sf.VP(), sf.V()), {"event_shape": [2]})
    return path


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "points.npy"
    np.save(path, torch.randn(40, 2, generator=torch.Generator().manual_seed(1)).numpy())
    return path


LIKELIHOOD = ("likelihood", "--tolerance", 0.1, "--elbo-draws", 2)
RECONSTRUCT = ("reconstruct", "--operator", "denoise", "--noise-std", 0.1, "--samples", 2, "--nfe", 3)
CUT = ("--shard", 8, "--chunk", 4)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("shard-*")}


def test_a_second_call_keeps_what_is_there(cli, refused, run, tmp_path):
    first = cli("sample", run, *ASKED, "--out", "shards")
    assert (first.returncode, first.stdout) == (0, "40 samples in 5 shards of 8: shards; 0 were there\n")
    before = contents(tmp_path / "shards")
    assert "5 were there" in cli("sample", run, *ASKED, "--out", "shards").stdout
    assert contents(tmp_path / "shards") == before
    assert "seed was 0 and now is 1" in refused("sample", run, *ASKED, "--seed", 1, "--out", "shards")


def test_guided_samples_are_others_and_the_plan_says_so(cli, refused, run, tmp_path):
    assert cli("sample", run, *ASKED, "--out", "plain").returncode == 0
    assert cli("sample", run, *ASKED, "--guidance", 3, "--out", "guided").returncode == 0
    assert contents(tmp_path / "plain") != contents(tmp_path / "guided")
    assert "guidance was 3.0 and now is None" in refused("sample", run, *ASKED, "--out", "guided")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--kind", "tar"), "--kind is for shards"),
        (("--out", "f", "--json", "-"), "are not for a folder of shards"),
        (("--out", "f", "--kind", "zip"), "kind must be npz or tar; got 'zip'"),
        (("--out", "f", "--shard", 6, "--chunk", 4), "shard must be a multiple of chunk = 4; got 6"),
        (("--out", "f", "--label", 7), "--label|label must lie in 0..1; got 7"),
    ],
)
def test_what_does_not_go_together_is_refused(refused, run, tmp_path, args, said):
    assert any(part in refused("sample", run, *args) for part in said.split("|"))
    assert not (tmp_path / "f").exists()


@pytest.mark.distributed
def test_processes_of_torchrun_write_what_one_writes(cli, run, tmp_path, environment):
    assert cli("sample", run, *ASKED, "--out", "alone").returncode == 0
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "-m",
        "scorefield",
        "sample",
        run,
    ]
    done = subprocess.run(
        [str(arg) for arg in (*command, *ASKED, "--out", tmp_path / "both")],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "40 samples in 5 shards of 8" in done.stdout
    assert contents(tmp_path / "both") == contents(tmp_path / "alone")


def test_likelihoods_of_a_whole_set_are_those_of_the_picture_beside_their_mean(cli, refused, run, points, tmp_path):
    command = (LIKELIHOOD[0], run, *LIKELIHOOD[1:], "--data", points)
    done = cli(*command, *CUT, "--out", "all")
    assert done.returncode == 0, done.stderr
    assert "40 likelihoods of data of" in done.stdout
    assert "in 5 shards of 8: all; 0 were there" in done.stdout
    assert cli(*command, "--out", "a.png").returncode == 0
    found, expected = shards.numbers(tmp_path / "all"), np.load(tmp_path / "a.npz")
    np.testing.assert_allclose(found["log_prob"], expected["log_prob"], atol=0.2)  # the tolerance, of adaptive steps
    np.testing.assert_allclose(found["elbo"], expected["elbo"], rtol=1e-4)
    summary = json.loads((tmp_path / "all" / "summary.json").read_text())
    assert summary["mean"] == pytest.approx(found["log_prob"].mean() / 2)
    assert summary["n"] == 40
    assert summary["data"].startswith("data of ")
    again = cli(*command, *CUT, "--out", "all")
    assert "5 were there" in again.stdout
    assert "seed was 0 and now is 1" in refused(*command, *CUT, "--seed", 1, "--out", "all")
    assert "chunk was 4 and now is 8" in refused(*command, "--shard", 8, "--out", "all")


def test_likelihoods_of_some_are_of_the_rows_that_the_picture_takes(cli, run, points, tmp_path):
    command = (LIKELIHOOD[0], run, *LIKELIHOOD[1:], "--data", points, "--n", 9)
    assert cli(*command, *CUT, "--out", "some").returncode == 0
    assert cli(*command, "--out", "a.png").returncode == 0
    found, expected = shards.numbers(tmp_path / "some"), np.load(tmp_path / "a.npz")
    assert np.array_equal(found["row"], expected["rows"])
    np.testing.assert_allclose(found["elbo"], expected["elbo"], rtol=1e-4)


def test_posteriors_of_a_whole_set_are_those_of_the_picture(cli, refused, run, points, tmp_path):
    command = (RECONSTRUCT[0], run, *RECONSTRUCT[1:], "--data", points)
    done = cli(*command, *CUT, "--out", "all")
    assert done.returncode == 0, done.stderr
    assert "40 posteriors of data of" in done.stdout
    assert cli(*command, "--out", "a.png").returncode == 0
    expected = np.load(tmp_path / "a.npz")
    found = [dict(shard) for shard in shards.read(tmp_path / "all")]
    for name in ("y", "truth", "samples", "mean", "low", "high"):
        np.testing.assert_allclose(np.concatenate([part[name] for part in found]), expected[name], atol=2e-4)
    summary = json.loads((tmp_path / "all" / "summary.json").read_text())
    assert summary["psnr"] == pytest.approx(json.loads((tmp_path / "a.json").read_text())["psnr"], rel=1e-3)
    assert "noise_std was 0.1 and now is 0.2" in refused(*command, *CUT, "--noise-std", 0.2, "--out", "all")
    assert "5 were there" in cli(*command, *CUT, "--out", "all").stdout


def test_measurements_of_a_file_are_reconstructed_in_shards(cli, run, points, tmp_path):
    assert cli(RECONSTRUCT[0], run, *RECONSTRUCT[1:], "--data", points, "--out", "a.png").returncode == 0
    np.save(tmp_path / "y.npy", np.load(tmp_path / "a.npz")["y"])
    done = cli(RECONSTRUCT[0], run, *RECONSTRUCT[1:], "--measurement", "y.npy", *CUT, "--out", "all")
    assert done.returncode == 0, done.stderr
    found = [dict(shard) for shard in shards.read(tmp_path / "all")]
    expected = np.load(tmp_path / "a.npz")["samples"]
    np.testing.assert_allclose(np.concatenate([part["samples"] for part in found]), expected, atol=2e-4)
    assert "truth" not in found[0]


@pytest.mark.parametrize("command", [LIKELIHOOD, RECONSTRUCT])
def test_what_is_for_shards_alone_is_refused_elsewhere(refused, run, points, tmp_path, command):
    whole = (command[0], run, *command[1:], "--data", points)
    assert "--shard is for shards" in refused(*whole, "--shard", 8, "--out", "a.png")
    assert "are not for a folder of shards" in refused(*whole, "--overwrite", "--out", "all")
    assert not (tmp_path / "all").exists()
