"""`scorefield demo`: pictures of the mathematics, drawn from exact fields, and of what a minute's training makes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorefield.catalogue import SHAPES, known
from scorefield.cli._output import picture_folder

app = typer.Typer(
    help="Draw the mathematics: score fields, particles, forward processes. Exact densities.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Out = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for the pictures. [default: runs/demo]", file_okay=True, show_default=False),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace pictures of the same names.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the particles' noise.")]


@app.command("score-field")
def score_field(
    out: Out = None,
    distribution: Annotated[
        str, typer.Option("--distribution", help=f"One of: {', '.join(SHAPES)}.", show_default=True)
    ] = "eight-gaussians",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quick: Annotated[bool, typer.Option("--quick", hidden=True)] = False,
) -> None:
    """The score field at several noise levels, particles moving through it, and why the noise is needed.

    \b
    score-field.png, .gif   the score of p_t with annealed Langevin particles
    ddpm-ddim.png, .gif     DDPM's random and DDIM's smooth paths from the same noise
    low-density.png         plain Langevin gets the weights of separated modes wrong; annealing repairs it
    """
    distribution = known("distribution", distribution, SHAPES)
    folder = picture_folder(out, "runs/demo", _SCORE_FIELD, overwrite)
    from scorefield.demos import score_field

    _draw(folder, _SCORE_FIELD, score_field.pictures(distribution, seed=seed, quick=quick))


@app.command("schedules")
def schedules(out: Out = None, seed: Seed = 0, overwrite: Overwrite = False) -> None:
    """Forward processes: Brownian motion, the paths of each schedule, and what they do to data.

    \b
    brownian.png            eight Brownian trajectories and their spread
    forward-paths.png       paths of eight processes over their exact densities p_t
    forward-filmstrip.png   a two-dimensional data set as it turns into noise
    schedules.png           alpha, sigma and the log signal-to-noise ratio
    """
    folder = picture_folder(out, "runs/demo", _SCHEDULES, overwrite)
    from scorefield.demos import schedules

    _draw(folder, _SCHEDULES, schedules.pictures(seed=seed))


@app.command("few-steps")
def few_steps(
    out: Out = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quick: Annotated[bool, typer.Option("--quick", hidden=True)] = False,
) -> None:
    """What pairing data with noise does to a flow's paths, and where one jump lands. Trains for a minute or two.

    \b
    few-step-paths.png      paths of independent and of assigned pairs, and of reflow
    one-jump.png            one jump of a flow map beside the ODE it stands for
    """
    folder = picture_folder(out, "runs/demo", _FEW_STEPS, overwrite)
    from scorefield.demos import few_steps

    _draw(folder, _FEW_STEPS, few_steps.pictures(seed=seed, steps=30 if quick else 1200))


_SCORE_FIELD = ("score-field.png", "score-field.gif", "ddpm-ddim.png", "ddpm-ddim.gif", "low-density.png")
_FEW_STEPS = ("few-step-paths.png", "one-jump.png")
_SCHEDULES = ("brownian.png", "forward-paths.png", "forward-filmstrip.png", "schedules.png")


def _draw(folder: Path, names: tuple[str, ...], pictures: dict) -> None:
    """Writes each picture (a function of its path), with a line for each as it is finished."""
    import time

    for name in names:
        start = time.perf_counter()
        pictures[name](folder / name)
        size = (folder / name).stat().st_size / 1000
        typer.echo(f"{folder / name}  ({time.perf_counter() - start:.1f} s, {size:.0f} kB)")
