"""Hostile files: pickles under a checkpoint's name, headers made up by hand. One line each, and nothing runs."""

import json
import os
import pickle
import shutil
import time

import pytest
import safetensors.torch
import torch
from torch import nn

import scorefield as sf
from growth import grows_less_than
from scorefield import recipes
from scorefield.storage import models
from scorefield.storage.checkpoints import latest, read_state, verify, write


class Trap:
    """Leaves a folder behind if it is ever unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def pickles(trap, path):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(trap, protocol))
        yield
    for zipped in (True, False):
        torch.save({"net.w": trap}, path, _use_new_zipfile_serialization=zipped)
        yield
    header = b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'  # a safetensors file without a description
    path.write_bytes(len(header).to_bytes(8, "little") + header + pickle.dumps(trap))
    yield


def test_the_trap_works(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").is_dir()


def test_a_pickle_under_the_name_of_a_checkpoint_is_refused_and_runs_nothing(tmp_path):
    sprung, path = tmp_path / "sprung", tmp_path / "model.safetensors"
    for _ in pickles(Trap(sprung), path):
        with pytest.raises(ValueError, match="damaged or not a scorefield checkpoint") as raised:
            models.load(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)
        # with a manifest that fits, it is what was written, and still nothing reads it as code
        folder = write(tmp_path / "run", 1, {"model.safetensors": path.read_bytes()}, {"step": 1})
        verify(folder)
        assert read_state(folder) == {"step": 1}
        with pytest.raises(ValueError, match="damaged or not a scorefield checkpoint"):
            models.load(folder / "model.safetensors")
        shutil.rmtree(folder)
        assert not sprung.exists()


def test_a_whole_checkpoint_gives_the_denoiser_back(tmp_path):
    denoiser = sf.NetworkDenoiser(nn_with(3.0), sf.VP(), sf.Eps())
    models.save(tmp_path / "model.safetensors", denoiser)
    folder = write(tmp_path / "run", 1, {"model.safetensors": (tmp_path / "model.safetensors").read_bytes()}, {})
    verify(folder)
    back = models.load(folder / "model.safetensors", types=[Gain]).denoiser
    assert torch.equal(back(torch.ones(1), 0.5), denoiser(torch.ones(1), 0.5))
    assert back.net.state_dict()["w"].item() == 3.0


class Gain(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))

    def forward(self, x, level):
        return self.w * x


def nn_with(value):
    net = Gain()
    with torch.no_grad():
        net.w.fill_(value)
    return net


@pytest.mark.parametrize(
    "description",
    [
        [],
        3,
        "scorefield",
        {"scorefield": 1},
        {"scorefield": 1, "net": 3},
        {"scorefield": 1, "net": "MLP"},
        {"scorefield": 1, "net": {}},
        {"scorefield": 1, "net": {"type": []}},
        {"scorefield": 1, "net": {"type": "Gain", "x": 1}},
        {"scorefield": 1, "net": {"type": "Gain"}, "schedule": {"type": "VP", "beta_min": "x"}},
    ],
)
def test_a_description_made_up_by_hand_gets_a_line(tmp_path, description):
    path = tmp_path / "m.safetensors"
    header = {"scorefield": json.dumps(description)}
    path.write_bytes(safetensors.torch.save({"net.w": torch.ones(1)}, header))
    with pytest.raises(ValueError, match=str(path)) as raised:
        models.load(path, types=[Gain])
    assert "\n" not in str(raised.value)


def test_weights_of_another_network_get_a_line(tmp_path):
    path = tmp_path / "m.safetensors"
    models.save(path, sf.NetworkDenoiser(Gain(), sf.VP(), sf.Eps()))
    with safetensors.safe_open(path, "pt") as file:
        header = file.metadata()
    path.write_bytes(safetensors.torch.save({"net.v": torch.ones(2)}, header))
    with pytest.raises(ValueError, match="does not describe a denoiser") as raised:
        models.load(path, types=[Gain])
    assert "\n" not in str(raised.value)


BASIS = {"type": "LatentSpace", "autoencoder": {"type": "PCA", "event_shape": [1 << 20], "k": 1 << 20}}
MANY = {
    "wide": ("net", {"type": "MLP", "dim": 2, "hidden": 40_000, "depth": 3}),
    "deep": ("net", {"type": "MLP", "dim": 2, "hidden": 1, "depth": 100_000_000}),
    "a basis": ("transform", BASIS),
}


@pytest.mark.parametrize("name", MANY)
def test_a_small_file_that_describes_a_large_model_allocates_none_of_it(tmp_path, name):
    path = tmp_path / "m.safetensors"
    models.save(path, sf.NetworkDenoiser(sf.networks.MLP(2, 4, 1), sf.VP(), sf.Eps()))
    with safetensors.safe_open(path, "pt") as file:
        said = json.loads(file.metadata()["scorefield"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    part, described = MANY[name]
    path.write_bytes(safetensors.torch.save(tensors, {"scorefield": json.dumps({**said, part: described})}))
    assert path.stat().st_size < 4000
    began = time.process_time()
    with grows_less_than(100 << 20), pytest.raises(ValueError, match="asks for far more weights than") as told:
        models.load(path)
    assert time.process_time() - began < 5
    assert "\n" not in str(told.value)


def test_pipes_in_a_run_are_not_waited_for(tmp_path):
    folder = write(tmp_path / "run", 1, {"a.json": b"1"}, {"step": 1})
    for name in ("manifest.json", "state.json", "a.json"):
        (folder / name).rename(tmp_path / "kept")
        os.mkfifo(folder / name)
        with pytest.raises(ValueError, match="is damaged"):
            verify(folder)
        if name == "state.json":
            with pytest.raises(ValueError, match="is damaged"):
                read_state(folder)
        (folder / name).unlink()
        (tmp_path / "kept").rename(folder / name)
    verify(folder)
    for name, reader in (("recipe.toml", recipes.load), ("m.safetensors", models.load)):
        os.mkfifo(tmp_path / name)
        with pytest.raises((ValueError, FileNotFoundError), match=name):
            reader(tmp_path / name)


def test_a_folder_that_may_not_be_looked_into_has_checkpoints_for_all_one_knows(tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(PermissionError, match="Permission denied"):
        latest(tmp_path, print)
