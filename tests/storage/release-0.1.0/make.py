"""What release 0.1.0 writes, kept so that later versions can be asked to read it.

    python tests/storage/release-0.1.0/make.py      # once, with 0.1.0 itself; never again after its release

    models/*.safetensors     a file of each kind of network, with the schedules, transforms and meta a user might have
    run/                     a run of recipe.toml stopped after half its steps: what `scorefield train --resume` meets
    expected.json            what those models answer in float64, and where the run ended when it was not stopped
    names.json               the public names, by module

`recipe.toml` and `parts.toml`, the recipes, are written by hand. `tests/storage/test_release.py` reads it all.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import scorefield as sf
from scorefield import data, networks, storage
from scorefield.cli import app
from scorefield.guidance import NetworkClassifier

HERE = Path(__file__).parent
HALF, STEPS = 10, 20  # recipe.toml's checkpoint_every and steps
TIMES = (0.1, 0.6, 0.95)
f64 = torch.float64


def draw(*shape: int, seed: int) -> Tensor:
    """Normals that are multiples of 1/64, so that they are short in JSON and the same in float32."""
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 64).round() / 64


def scrambled(net: nn.Module) -> nn.Module:
    """`net` with weights that are neither zero nor one."""
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(draw(*p.shape, seed=i) / 4)
    return net


def denoiser(net: nn.Module, schedule: sf.Schedule, row: sf.Parameterization, **moments: Any) -> sf.NetworkDenoiser:
    return sf.NetworkDenoiser(scrambled(net), schedule, row, **moments).eval()


def models() -> dict[str, tuple[Any, Any, tuple[int, ...], dict[str, Tensor]]]:
    """By file: the model, its transform, the shape of an event in model units, the conditions of a batch of 2."""
    pca = sf.PCA.fitted(draw(50, 1, 2, 2, seed=1), 2)
    label, vector = torch.tensor([2, 0]), draw(2, 3, seed=2)
    tokens = {"tokens": draw(2, 3, 4, seed=3), "token_mask": torch.tensor([[True, True, True], [True, False, False]])}
    return {
        "mlp": (
            denoiser(
                networks.MLP(2, 8, 2, 3, vector_dim=3, dropout=0.1),
                sf.VP(0.2, 15.0),
                sf.V(),
                data_mean=0.1,
                data_std=0.9,
            ),
            data.Standardize((1.0, -2.0), (0.5, 4.0), ("height", "weight")),
            (2,),
            {"label": label, "vector": vector},
        ),
        "unet": (
            denoiser(
                networks.UNet(1, 4, (1, 2), num_classes=3, patch=2, token_dim=4, head_channels=4),
                sf.EDM(0.003, 70.0),
                sf.EDMPreconditioning(0.7, skip_std=0.2),
                data_mean=draw(1, 8, 8, seed=4),
                data_std=0.7,
            ),
            data.Scale(2 / 17, -1.0, 17, -0.4, 0.7),
            (1, 8, 8),
            {"label": label, **tokens},
        ),
        "ncsnpp": (
            denoiser(
                networks.UNet.ncsnpp(1, 4, multipliers=(1, 2), blocks=1, head_channels=4),
                sf.VE(0.02, 30.0, from_zero=False),
                sf.Score(),
            ),
            None,
            (1, 8, 8),
            {},
        ),
        "dit": (
            denoiser(
                networks.DiT(1, width=8, depth=1, heads=2, num_classes=3, token_dim=4, mlp_ratio=2),
                sf.Discrete.linear(20),
                sf.Eps(),
            ),
            data.Scale(0.5, 0.25, noise=False),
            (1, 4, 4),
            {"label": label, **tokens},
        ),
        "latent": (
            denoiser(networks.MLP(2, 8, 1), sf.Cosine(alpha_min=0.1), sf.Velocity()),
            sf.LatentSpace(pca, 1.25, 0.5, before=data.Scale(2 / 17, -1.0, 17), mean=0.2, sigma_data=1.1, log_det=None),
            (2,),
            {},
        ),
        "mlp-classifier": (
            NetworkClassifier(scrambled(networks.MLPEncoder(2, 3, 8, 1)), sf.Rectified(), sf.X0()).eval(),
            None,
            (2,),
            {},
        ),
        "unet-classifier": (
            NetworkClassifier(scrambled(networks.UNetEncoder(1, 3, 4, head_channels=4)), sf.SubVP(), sf.Eps()).eval(),
            None,
            (1, 8, 8),
            {},
        ),
    }


def made_models() -> dict[str, Any]:
    """Writes the files and returns what the models answer."""
    folder = HERE / "models"
    folder.mkdir()
    expected = {}
    for name, (model, transform, shape, cond) in models().items():
        storage.save(folder / f"{name}.safetensors", model, {"name": name, "steps": 3}, transform=transform)
        x = draw(2, *shape, seed=5).to(f64)
        model.double()
        cond = {key: value.to(f64) if value.is_floating_point() else value for key, value in cond.items()}
        answers = []
        for t in TIMES:
            own = {"alpha_sigma": [float(v) for v in model.schedule(t)], "output": model.output(x, t, **cond).tolist()}
            if isinstance(model, sf.NetworkDenoiser):
                own["x0"] = model(x, t, **cond).tolist()
            answers.append({"t": t, **own})
        expected[name] = {
            "x": x.tolist(),
            "cond": {key: value.tolist() for key, value in cond.items()},
            "answers": answers,
            "data_mean": torch.as_tensor(model.data_mean).tolist(),
            "data_std": model.data_std,
            "transform": in_raw_units(transform, x),
        }
    return expected


def in_raw_units(transform: Any, x: Tensor) -> Any:
    """What `transform` does to x and back, and its numbers."""
    if transform is None:
        return None
    if isinstance(transform, sf.LatentSpace):
        transform.double()
    y = transform.inverse(x)
    return {
        "y": y.tolist(),
        "x": transform(y).tolist(),
        "is": [transform.mean, transform.sigma_data, transform.levels, getattr(transform, "noise", None)],
    }


def made_run() -> dict[str, Any]:
    """Writes the folder of a run stopped half way, and returns where it ended when it was not."""
    with tempfile.TemporaryDirectory() as temporary:
        whole = Path(temporary) / "run"
        app(["train", "--config", str(HERE / "recipe.toml"), "--out", str(whole)], standalone_mode=False)
        rows = (whole / "metrics.jsonl").read_text().splitlines()
        half = whole / "checkpoints" / f"step-{HALF:06d}"
        shutil.copytree(half, HERE / "run" / "checkpoints" / half.name)
        shutil.copy(whole / "recipe.toml", HERE / "run")
        (HERE / "run" / "metrics.jsonl").write_text("\n".join(rows[:HALF]) + "\n")
        end = storage.load(whole / "checkpoints" / f"step-{STEPS:06d}" / "ema.safetensors")
        x = draw(4, 2, seed=6).to(f64)
        with torch.no_grad():
            x0 = end.denoiser.double()(x, 0.5)
        return {"x": x.tolist(), "t": 0.5, "x0": x0.tolist(), "loss": [json.loads(row)["loss"] for row in rows]}


def public_names() -> dict[str, list[str]]:
    """The names of the package and of every face: a module that other modules are in, and its `__all__`."""
    faces = {"scorefield": sorted(dir(sf))}
    for module in pkgutil.walk_packages(sf.__path__, "scorefield."):
        private = any(part.startswith("_") for part in module.name.split("."))
        if module.ispkg and not private and (names := getattr(importlib.import_module(module.name), "__all__", None)):
            faces[module.name] = sorted(names)
    return faces


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    for old in ("models", "run"):
        shutil.rmtree(HERE / old, ignore_errors=True)
    with torch.no_grad():
        answers = made_models()
    (HERE / "expected.json").write_text(json.dumps({"models": answers, "run": made_run()}) + "\n")
    (HERE / "names.json").write_text(json.dumps(public_names(), indent=1) + "\n")
