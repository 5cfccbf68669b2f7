"""What `train`, `sample` and `quickstart` have in common: a run folder, training into it, samples out of it.

A run folder holds `model.safetensors` (the averaged weights and, in its header, all that is needed to use them),
`metrics.jsonl` (one line a training step) and `training.png`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scorefield import plots
from scorefield.cli._errors import Interrupted
from scorefield.cli._names import PRESETS, SOLVERS, resolve
from scorefield.data import Scale, Split
from scorefield.denoisers import NetworkDenoiser
from scorefield.sampling import Callback, sample
from scorefield.training import checkpoint
from scorefield.training.loop import Fit, History, fit
from scorefield.training.presets import Preset

MODEL = "model.safetensors"


class Trained(NamedTuple):
    """A preset after training."""

    denoiser: NetworkDenoiser
    transform: Scale
    split: Split
    history: History


def at_a_terminal() -> bool:
    """Whether someone is there to see a progress bar."""
    return sys.stdout.isatty()


def device_of(name: str | None) -> torch.device:
    """The device of that name, or the best there is.

    Raises:
        ValueError: if this machine has none of that name.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).splitlines() or ["unknown"])[0]
        raise ValueError(f"device {name!r} can't be used here: {reason}") from None
    return device


def train_into(folder: Path, preset_name: str, *, seed: int, device: torch.device, steps: int | None) -> Trained:
    """Trains a preset with a progress bar and writes the model, the metrics and the curve to `folder`.

    Raises:
        Interrupted: after Ctrl-C, once what was trained so far is saved.
    """
    preset: Preset = resolve("preset", preset_name, PRESETS, seed=seed)
    options = {**preset.fit, **({"steps": steps} if steps is not None else {})}
    result = fit(preset.denoiser.to(device), progress=at_a_terminal(), **options)
    meta = {
        "preset": preset_name,
        "seed": seed,
        "steps": len(result.history.step),
        "planned": options["steps"],
        "event_shape": list(options["data"].shape[1:]),
    }
    checkpoint.save(folder / MODEL, result.denoiser, meta, transform=preset.transform)
    _write_history(folder, result)
    if result.interrupted:
        raise Interrupted(f"after step {meta['steps']} of {meta['planned']}; the model so far is in {folder / MODEL}")
    return Trained(result.denoiser, preset.transform, preset.data, result.history)


def _write_history(folder: Path, result: Fit) -> None:
    history = result.history
    rows = zip(history.step, history.loss, history.lr, history.gradient_norm, history.seconds, strict=True)
    names = ("step", "loss", "lr", "gradient_norm", "seconds")
    lines = (json.dumps(dict(zip(names, row, strict=True))) for row in rows)
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    plots.save(plots.loss_curve(history.step, history.loss), folder / "training.png")


def load_run(run: Path) -> checkpoint.Checkpoint:
    """The model of a run folder, or of a checkpoint file.

    Raises:
        FileNotFoundError, ValueError: if there is none, or it is damaged.
    """
    if not run.exists():
        raise FileNotFoundError(f"no run at {run}")
    loaded = checkpoint.load(run / MODEL if run.is_dir() else run)
    if loaded.transform is None:
        raise ValueError(f"{run} holds no data transform, so its samples have no units to be shown in")
    return loaded


class Images(NamedTuple):
    """Samples of an image model."""

    model: Tensor  # (N, C, H, W), model units
    grey: Tensor  # the same as grey values, int64
    nfe: int


def draw(
    denoiser: NetworkDenoiser,
    transform: Scale,
    shape: tuple[int, ...],
    *,
    solver: str = "ddim",
    nfe: int = 50,
    label: Tensor | None = None,
    seed: int = 0,
    first_index: int = 0,
    progress: bool | None = None,
    callback: Callback | None = None,
) -> Images:
    """Samples of the given `shape` `(N, C, H, W)`; sample i depends on (seed, first_index + i) alone."""
    device = next(denoiser.parameters()).device
    result = sample(
        denoiser,
        shape,
        solver=resolve("solver", solver, SOLVERS),
        nfe=nfe,
        cond={} if label is None else {"label": label.to(device)},
        seed=seed,
        first_index=first_index,
        progress=at_a_terminal() if progress is None else progress,
        callback=callback,
    )
    x = result.x.cpu()
    return Images(x, transform.quantize(x), result.nfe)


def unit(grey: Tensor, transform: Scale) -> Tensor:
    """Grey values as floats in [0, 1]: what is shown and measured."""
    assert transform.levels is not None
    return grey.double() / (transform.levels - 1)


def save_npz(path: Path, **arrays: Any) -> Path:
    """Writes arrays of numbers; nothing in the file is a pickle."""
    plain = {name: np.asarray(a) for name, a in arrays.items()}
    assert all(a.dtype.kind in "biuf" for a in plain.values())
    np.savez_compressed(path, **plain)  # type: ignore[arg-type]
    return path
