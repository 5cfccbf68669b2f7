"""`scorefield sample --out folder/`: shards alone and under torchrun, and what is not for a folder."""

import subprocess
import sys

import pytest
import torch

import scorefield as sf

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
