"""`scorefield export`: a run's model for others to load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scorefield.catalogue import known
from scorefield.cli import _options as opt
from scorefield.cli._output import unused, warn

if TYPE_CHECKING:
    from scorefield.runs import Trained

_ENDS = {"torch-export": ".pt2", "onnx": ".onnx", "diffusers": "", "hub": ""}  # of the file; "" is a folder


def export(
    run: opt.Run,
    to: Annotated[str, typer.Option("--to", help=f"One of: {', '.join(_ENDS)}.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File or folder to write. [default: in the run]", show_default=False),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the model, on a hub's card. [default: --out's]")
    ] = None,
    overwrite: opt.Overwrite = False,
) -> None:
    """Write a model for others: a program of torch or ONNX, a pipeline of diffusers, or a folder for a hub."""
    to = known("--to", to, _ENDS)
    if not run.exists():
        raise FileNotFoundError(f"no run at {run}")
    place = (run if run.is_dir() else run.parent) / f"export-{to}{_ENDS[to]}" if out is None else out
    if _ENDS[to] and place.suffix != _ENDS[to]:
        raise ValueError(f"--out must end in {_ENDS[to]} for --to {to}; got {place}")
    if not overwrite:
        if _ENDS[to] and place.exists():
            raise ValueError(f"{place} exists: choose another --out, or replace it with --overwrite")
        unused(place)
    from scorefield.runs import load

    loaded = load(run, warn=warn)
    _written(loaded, to, place, name)
    told = "" if to == "hub" else f"; samples are in the model's units{_units(loaded)}"
    typer.echo(f"{place}{told}")


def _written(run: Trained, to: str, out: Path, name: str | None) -> None:
    from scorefield import interop
    from scorefield.denoisers import NetworkDenoiser

    denoiser = run.denoiser
    if to in ("hub", "diffusers") and not isinstance(denoiser, NetworkDenoiser):
        raise ValueError(f"--to {to} takes a network's denoiser; {run.name} is a {type(denoiser).__name__}")
    out.parent.mkdir(parents=True, exist_ok=True)
    if to == "torch-export":
        interop.programs.to_torch_export(denoiser, out, run.event_shape)
    elif to == "onnx":
        interop.programs.to_onnx(denoiser, out, run.event_shape)
    elif to == "hub":
        assert isinstance(denoiser, NetworkDenoiser)
        metrics, dataset = _measured(run)
        interop.hub.save(out, denoiser, run.meta, transform=run.transform, metrics=metrics, dataset=dataset, name=name)
    else:
        from scorefield.interop import pipelines

        assert isinstance(denoiser, NetworkDenoiser)
        pipelines.save(denoiser, out, run.event_shape)


def _measured(run: Trained) -> tuple[list[dict[str, Any]], str]:
    """The rows of the newest evaluation in the run's folder, and what it compared with."""
    files = [] if run.folder is None else sorted(run.folder.glob("evaluation*.json"), key=lambda p: p.stat().st_mtime)
    if not files:
        return [], "data"
    found = json.loads(files[-1].read_text(encoding="utf-8"))
    if found.get("checkpoint") != run.checkpoint:
        warn(f"{files[-1]} is of {found.get('checkpoint')}, not of {run.checkpoint}: the card is without metrics")
        return [], "data"
    return found["metrics"], found["against"]


def _units(run: Trained) -> str:
    """How the data's units are had of the model's, where that is a line."""
    from scorefield.data import Scale

    t = run.transform
    return f": {1 / t.scale:g} x + {-t.shift / t.scale:g} are the data's" if isinstance(t, Scale) else ""
