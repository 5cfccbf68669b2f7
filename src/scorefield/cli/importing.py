"""`scorefield import`: a model of another library as a run, and what was understood of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scorefield.cli import _options as opt
from scorefield.cli._output import note, unused, warn

if TYPE_CHECKING:
    from scorefield.interop.readings import Readings
    from scorefield.runs import Trained

_PICTURES = 1 / 127.5  # bytes 0 .. 255 to [-1, 1], as most libraries have it
_COUNT = 256  # data a reading is measured on


@opt.reads
def import_(
    source: Annotated[
        Path,
        typer.Argument(
            help="A pipeline's folder, as diffusers saves it; of a file of weights, what it is is said.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The run's folder, new or empty.", show_default=False)],
    data: Annotated[
        str | None,
        typer.Option("--data", help="Data it was trained on, to measure whether it is read rightly. [default: none]"),
    ] = None,
    seed: opt.Seed = 0,
    *,
    reading: opt.Reading,
) -> None:
    """Make a run of a model from elsewhere, print what was understood of it, and measure that where data are given."""
    reading.needs(data, "--data")
    if source.is_file():
        from scorefield.interop import states

        for line in states.read(source).notes:
            typer.echo(line)
        raise ValueError(
            f"{source} holds weights, and a run needs the class they are of: in Python, "
            "sf.interop.states.read(path).denoiser(net), then sf.save"
        )
    if not source.is_dir():
        raise FileNotFoundError(f"no folder at {source}: import reads the folder of a pipeline of diffusers")
    unused(out)
    from scorefield.data import Scale
    from scorefield.interop import readings, unet2d
    from scorefield.runs import load
    from scorefield.storage import checkpoints, models

    denoiser = unet2d.load(source)
    for line in readings.understood(denoiser):
        typer.echo(line)
    typer.echo("data are taken for bytes scaled to [-1, 1]")
    shape = unet2d.event_shape(denoiser)
    transform = Scale(_PICTURES, -1 - _PICTURES / 2, levels=256, noise=False)
    meta = {"imported": str(source), **({} if shape is None else {"event_shape": list(shape)})}
    content = models.dumps(denoiser, meta, transform=transform)
    checkpoints.write(out / "checkpoints", 0, {"ema.safetensors": content}, {"step": 0, "imported": str(source)})
    typer.echo(f"{out}: sample it with scorefield sample {out}")
    if data is not None and "score" in denoiser.lacks:
        note("not measured: a consistency model says where a path ends, which no denoising loss tells right from wrong")
    elif data is not None:
        found = _measured(load(out, warn=warn), data, reading, seed)
        typer.echo(str(found))
        if not found.right:
            warn(f"{source} is likely read wrongly: {found.likely} fits the data better")


def _measured(run: Trained, data: str, reading: opt.Reading, seed: int) -> Readings:
    import torch

    from scorefield.interop import readings

    found = run.held_out(data, policy=reading.policy).source
    rows = torch.arange(min(_COUNT, len(found)))
    batch = found.batch(rows)
    cond = {name: value for name, value in batch.cond.items() if name in run.conditions}
    return readings.measure(run.denoiser, run.to_model(batch.x, rows, seed=seed), seed=seed, **cond)  # type: ignore[arg-type]
