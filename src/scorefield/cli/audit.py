"""`scorefield audit`: what the jumps of a few-step run cost, against the ODE they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorefield.cli import _options as opt
from scorefield.cli._output import result_files, stem, warn


def audit(
    run: Annotated[Path, typer.Argument(help="The run folder of a flow map or a consistency map.", show_default=False)],
    teacher: Annotated[
        Path | None,
        typer.Option("--teacher", help="Whose ODE it stands for. [default: its recipe's, or its own diagonal]"),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=40, help="Held-out data, and samples of each budget.")] = 1000,
    nfe: Annotated[
        list[int] | None,
        typer.Option("--nfe", min=1, help="Evaluations; repeatable. [default: 1 2 4, or what it is made for]"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the noise.")] = 0,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ... [default: the best there is]")] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Where mnist and fashion lie.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="PNG to write, with .json beside it. [default: in the run]", show_default=False),
    ] = None,
    json: opt.Json = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of the same names.")] = False,
) -> None:
    """Where a flow map's jumps land and its samples lie, beside its teacher's ODE; which modes are lost."""
    files = result_files(out, run, stem("audit", seed), overwrite, json, (".png", ".json"))

    import torch

    from scorefield import plots
    from scorefield.auditing import audit as held
    from scorefield.cli import _inputs, _results
    from scorefield.flowmaps import FlowMap
    from scorefield.plots.few_steps import of_audit
    from scorefield.runs import load

    student = load(run, warn=warn).to(device)
    if not isinstance(student.model, FlowMap):
        raise ValueError(f"{run} is no few-step model; make one of it with scorefield distill {run}")
    named = teacher or (Path(student.recipe.teacher) if student.recipe and student.recipe.teacher else None)
    if named is None and "velocity" in student.model.lacks:
        raise ValueError(f"{run} knows jumps to the data alone, and needs a --teacher to be held to")
    by = student.model.field() if named is None else load(named, warn=warn).to(device).denoiser
    source, how = _inputs.held_out(student, None, data_dir, "which data")
    rows = torch.arange(min(n, len(source))) * len(source) // min(n, len(source))
    raw, cond = source.batch(rows)
    x0 = student.to_model(raw, rows, seed=seed)
    told = {name: torch.as_tensor(value) for name, value in cond.items()} if student.conditions else {}
    made_for = getattr(student.model, "jumps", None)
    nfes = tuple(nfe) if nfe else (1, 2, 4) if made_for is None else (made_for,)
    files.claim()
    found = held(student.model, by, x0, nfes=nfes, modes=min(20, len(x0) // 2), seed=seed, cond=told)
    plots.save(of_audit(found), files.picture)
    numbers = {
        "teacher": None if named is None else str(named), "n": len(x0), "data": how,
        "levels": [level._asdict() for level in found.levels], "budgets": [b._asdict() for b in found.budgets],
        "ode": found.ode._asdict(), "floor": found.floor._asdict(), "modes": found.modes,
    }  # fmt: skip
    _results.write_summary(files, numbers)
    if not files.quiet:
        typer.echo(str(found))
        typer.echo(f"\n{files.picture}, {files.summary.name}")
