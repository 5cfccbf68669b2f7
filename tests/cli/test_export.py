"""`scorefield export` writes what others load; what it cannot write it refuses before the work."""

import json

import pytest
import torch

import scorefield as sf


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.manual_seed(0)
    net = sf.networks.MLP(2, hidden=8, depth=1)
    for p in net.parameters():
        p.data += 0.1 * torch.randn_like(p)
    path = tmp_path_factory.mktemp("run") / "model.safetensors"
    sf.save(path, sf.NetworkDenoiser(net, sf.VP(), sf.V()), {"event_shape": [2]}, transform=sf.data.Scale(2.0, -1.0))
    return path


def test_a_program_of_torch(cli, run, tmp_path):
    done = cli("export", run, "--to", "torch-export", "--out", "m.pt2")
    assert done.returncode == 0, done.stderr
    assert "0.5 x + 0.5 are the data's" in done.stdout
    x, t = torch.randn(3, 2), torch.tensor([0.1, 0.5, 0.9])
    got = torch.export.load(tmp_path / "m.pt2").module()(x, t)
    torch.testing.assert_close(got, sf.load(run).denoiser(x, t))


def test_a_folder_for_a_hub(cli, refused, run, tmp_path):
    assert cli("export", run, "--to", "hub", "--out", "hub").returncode == 0
    assert json.loads((tmp_path / "hub" / "config.json").read_text())["schedule"]["type"] == "VP"
    assert torch.equal(sf.load(tmp_path / "hub" / "model.safetensors").sample(2).x, sf.load(run).sample(2).x)
    assert "not empty" in refused("export", run, "--to", "hub", "--out", "hub")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--to", "onx"), "onnx"),
        (("--to", "onnx", "--out", "m.pt2"), "must end in .onnx"),
    ],
)
def test_what_cannot_be_written_is_refused(refused, run, args, said):
    assert said in refused("export", run, *args)


def test_vectors_are_no_pipeline(refused, run):
    pytest.importorskip("diffusers")
    assert "a pipeline draws pictures" in refused("export", run, "--to", "diffusers", "--out", "pipe")
