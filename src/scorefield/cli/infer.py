"""`scorefield infer`: the posterior of a simulator's parameters, from simulations alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorefield.cli import _options as opt
from scorefield.cli._output import Results


def infer(
    simulations: Annotated[
        Path, typer.Argument(help="An .npz of arrays theta (N, D) and y (N, K): y simulated from theta.")
    ],
    observed: Annotated[
        Path, typer.Option("--observed", help="An .npy of what was observed, (K,) or (B, K).", show_default=False)
    ],
    low: Annotated[
        str | None, typer.Option("--low", help="Of the uniform prior that theta was drawn from: -1,-1; or one for all.")
    ] = None,
    high: Annotated[str | None, typer.Option("--high", help="Its other end.")] = None,
    mean: Annotated[str | None, typer.Option("--mean", help="Of a normal prior, instead.")] = None,
    std: Annotated[str | None, typer.Option("--std", help="Of the normal prior.")] = None,
    together: Annotated[
        bool, typer.Option("--together", help="One theta made all that was observed, independently.")
    ] = False,
    samples: Annotated[int, typer.Option("--samples", min=2, help="Of each posterior.")] = 1000,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Of training, at most.")] = 6000,
    nfe: Annotated[int, typer.Option("--nfe", min=2, help="Network evaluations a sample.")] = 50,
    seed: opt.Seed = 0,
    out: Annotated[Path, typer.Option("--out", help=".npz to write, with a .json beside it.")] = Path("posterior.npz"),
    json: opt.Json = None,
    overwrite: opt.Overwrite = False,
) -> None:
    """Learn p(theta | y) from pairs (theta, y) and draw from it for what was observed; no likelihood is asked for.

    A tenth of the pairs is held out, and training ends when their loss falls no more. No draw lies outside the prior.
    """
    if out.suffix != ".npz":
        raise ValueError(f"--out must be an .npz; got {out}")
    if (low is None or high is None) == (mean is None or std is None) or (low is None) != (high is None):
        raise ValueError("the prior is --low and --high, or --mean and --std: give one of the two pairs")
    files = Results(out, overwrite, json, (".npz", ".json"))

    from scorefield.cli import _infer

    ends = ("uniform", low, high) if low is not None and high is not None else ("normal", str(mean), str(std))
    _infer.infer(simulations, observed, ends, together, samples, steps, nfe, seed, files)
