"""Weights of any module: a file that is read without knowing what made it."""

import pytest
import torch
from torch import nn

from scorefield import storage
from scorefield.storage import weights


def module():
    torch.manual_seed(0)
    first, last = nn.Linear(3, 4), nn.Linear(4, 3, bias=False)
    last.weight = nn.Parameter(first.weight.T)  # not in the usual order in memory
    net = nn.Sequential(first, nn.BatchNorm1d(4), last)
    net(torch.randn(8, 3))  # moves the buffers
    return net


def test_what_is_read_is_what_was_written(tmp_path):
    net, path = module(), tmp_path / "net.safetensors"
    path.write_bytes(weights.dumps(net, {"model": "mine", "widths": [3, 4]}))
    kept = weights.load(path)
    assert kept.description == {"scorefield": 1, "model": "mine", "widths": [3, 4]}
    other = module()
    with torch.no_grad():
        for tensor in other.state_dict().values():
            tensor.zero_()
    other.load_state_dict(kept.tensors)
    assert all(torch.equal(a, b) for a, b in zip(other.state_dict().values(), net.state_dict().values(), strict=True))


def test_what_is_no_such_file_is_refused_in_one_line(tmp_path):
    path = tmp_path / "net.safetensors"
    with pytest.raises(FileNotFoundError, match="no weights at"):
        weights.load(path)
    content = weights.dumps(module(), {"model": "mine"})
    for damaged in (b"", content[:-4], content[:8] + b"[" + content[9:], b"x" * 100):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"net\.safetensors is damaged or not a scorefield checkpoint") as refused:
            weights.load(path)
        assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="description must be plain values that JSON can hold"):
        weights.dumps(module(), {"model": module})
    path.write_bytes(content)
    with pytest.raises(ValueError, match="does not describe a denoiser: 'mine'"):
        storage.load(path)
