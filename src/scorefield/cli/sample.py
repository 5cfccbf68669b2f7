"""`scorefield sample`: pictures and arrays out of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorefield.cli._errors import unknown
from scorefield.cli._names import SOLVERS
from scorefield.cli._output import picture_folder

_NOTICEABLE = 0.01  # of the standard deviation


def sample(
    run: Annotated[Path, typer.Argument(help="A run folder, or a checkpoint file.", show_default=False)],
    n: Annotated[int, typer.Option("--n", min=1, help="Number of samples.")] = 64,
    solver: Annotated[
        str | None,
        typer.Option("--solver", help=f"One of: {', '.join(SOLVERS)}. [default: the best known for --nfe]"),
    ] = None,
    nfe: Annotated[
        int | None,
        typer.Option("--nfe", min=1, help="Network evaluations a sample. [default: 30; `adaptive` finds its own]"),
    ] = None,
    label: Annotated[
        list[int] | None,
        typer.Option("--label", help="Class; repeat it for several in turn. Without it, no class is asked for."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Sample i depends on the seed and i alone.")] = 0,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ... [default: the best there is]")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="PNG to write, with an .npz beside it. [default: in the run]", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of the same names.")] = False,
    tuned: Annotated[
        bool, typer.Option("--tuned/--no-tuned", help="Use what `scorefield tune` kept in the run.")
    ] = True,
) -> None:
    """Sample a trained model with any solver: a PNG grid, and the numbers as .npz."""
    if solver is not None and solver not in SOLVERS:
        raise unknown("solver", solver, SOLVERS)
    if not run.exists():
        raise FileNotFoundError(f"no run at {run}")
    if out is None:
        stem = "-".join(["samples", solver or "recommended", *([f"nfe{nfe}"] if nfe else []), f"seed{seed}"])
        out = (run if run.is_dir() else run.parent) / f"{stem}.png"
    if out.suffix != ".png":
        raise ValueError(f"--out must end in .png; got {out}")
    arrays = out.with_suffix(".npz")
    picture_folder(out.parent, "", [out.name, arrays.name], overwrite)

    import torch

    from scorefield import plots
    from scorefield.cli import _pictures, _runs, _tuned

    loaded = _runs.load_run(run)
    denoiser, transform = loaded.denoiser.to(_runs.device_of(device)), loaded.transform
    labels = _runs.labels(label, n, getattr(denoiser.net, "num_classes", None))
    tensor = None if labels is None else torch.tensor(labels)
    own = _tuned.read(run, nfe) if tuned and solver is None and nfe is not None and run.is_dir() else None
    drawn = _runs.draw(
        denoiser, transform, (n, *loaded.meta["event_shape"]), solver=own or solver, nfe=nfe, label=tensor, seed=seed
    )
    figure = _pictures.of_samples(drawn.raw, transform)
    if figure is not None:
        plots.save(figure, out)
    numbers = {"samples": drawn.model, "raw": drawn.raw, "seed": seed, "nfe": drawn.nfe}
    _runs.save_npz(arrays, **numbers, **({} if labels is None else {"label": labels}))
    written = arrays if figure is None else f"{out}, {arrays.name}"
    typer.echo(f"{n} samples, {drawn.nfe} evaluations each{', tuned' if own else ''}: {written}")
    off = drawn.bias.std - 1
    if abs(off) > _NOTICEABLE:
        typer.echo(
            f"note: with {solver or 'the default'} at --nfe {drawn.nfe} the steps alone make Gaussian data of this "
            f"model's variance {abs(off):.1%} too {'wide' if off > 0 else 'narrow'}; a larger --nfe makes it less"
        )
