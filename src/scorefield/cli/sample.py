"""`scorefield sample`: pictures and arrays out of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scorefield.cli._errors import unknown
from scorefield.cli._names import SOLVERS
from scorefield.cli._output import picture_folder

if TYPE_CHECKING:
    from torch import Tensor

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
    text: Annotated[
        list[str] | None,
        typer.Option("--text", help="Caption, for a model trained on text; repeat it for several in turn."),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option("--guidance", help="Weight of label or text: 1 the plain conditional model, 0 the unconditional."),
    ] = None,
    guidance_interval: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--guidance-interval", help="Guide where sigma / alpha lies between these two, and not elsewhere."
        ),
    ] = None,
    classifier: Annotated[
        Path | None,
        typer.Option(
            "--classifier", help="Guide by this run of `train --task classifier`, not by the model's own label."
        ),
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
    from scorefield.cli import _guidance, _runs, _tuned
    from scorefield.plots import samples

    loaded = _runs.load_run(run)
    asked = _guidance.Asked(guidance, guidance_interval, classifier)
    model, classes = _guidance.guided(run, loaded, asked, labelled=bool(label), captioned=bool(text))
    denoiser, transform = model.to(_runs.device_of(device)), loaded.transform
    labels = _runs.labels(label, n, classes)
    tensor = None if labels is None else torch.tensor(labels)
    cond = _conditions(text, n, loaded.meta.get("text"))
    plain = model is loaded.denoiser  # what `tune` found is for the model as it was trained
    own = _tuned.read(run, nfe) if plain and tuned and solver is None and nfe is not None and run.is_dir() else None
    shape = (n, *loaded.meta["event_shape"])
    drawn = _runs.draw(denoiser, transform, shape, solver=own or solver, nfe=nfe, label=tensor, cond=cond, seed=seed)
    figure = samples.of_samples(drawn.raw, transform)
    if figure is not None:
        plots.save(figure, out)
    numbers = {"samples": drawn.model, "raw": drawn.raw, "seed": seed, "nfe": drawn.nfe}
    _runs.save_npz(arrays, **numbers, **({} if labels is None else {"label": labels}))
    written = arrays if figure is None else f"{out}, {arrays.name}"
    how = ", tuned" if own else "" if plain else ", guided"
    typer.echo(f"{n} samples, {drawn.nfe} evaluations each{how}: {written}")
    off = drawn.bias.std - 1
    if abs(off) > _NOTICEABLE:
        typer.echo(
            f"note: with {solver or 'the default'} at --nfe {drawn.nfe} the steps alone make Gaussian data of this "
            f"model's variance {abs(off):.1%} too {'wide' if off > 0 else 'narrow'}; a larger --nfe makes it less"
        )


def _conditions(captions: list[str] | None, n: int, encoder: dict[str, Any] | None) -> dict[str, Tensor]:
    if not captions:
        return {}
    if encoder is None:
        raise ValueError("--text was given, but this model was trained without captions")

    from scorefield.recipes import text_condition
    from scorefield.recipes.schema import Part

    condition = text_condition(Part.model_validate(encoder))
    assert condition is not None
    return condition([captions[i % len(captions)] for i in range(n)])
