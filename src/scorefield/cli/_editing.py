"""What `edit` and `inpaint` do: `scorefield.bijection.editing` on a run's data, into files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from scorefield.bijection import editing
from scorefield.bijection.summary import edited, inpainted
from scorefield.catalogue import SOLVERS, make
from scorefield.cli import _inputs, _results
from scorefield.cli._inputs import Inputs
from scorefield.cli._options import Wanted
from scorefield.cli._output import Results, at_a_terminal
from scorefield.cli._results import number
from scorefield.conditions import Conditions
from scorefield.data import units
from scorefield.plots import samples
from scorefield.plots.shown import of

SHOWN = 10  # data in a picture
HIDDEN = 0.5  # grey of what is to be made anew, in [0, 1]
SIDES = {"left": (-1, 0, 0.5), "right": (-1, 0.5, 1), "top": (-2, 0, 0.5), "bottom": (-2, 0.5, 1)}  # axis, from, to


def edit(wanted: Wanted, strengths: list[float], solver: str | None, nfe: int | None, out: Results) -> None:
    """Each datum at each strength."""
    given = _inputs.chosen(wanted)
    method = None if solver is None else make("solver", solver, SOLVERS)
    out.claim()
    made = [
        editing.edit(
            given.denoiser, given.x, s, solver=method, nfe=nfe, cond=given.cond, seed=wanted.seed,
            progress=at_a_terminal() and not out.quiet,
        )
        for s in strengths
    ]  # fmt: skip
    x, changed = given.x.cpu(), [m.x.cpu() for m in made]
    raw = [units.raw(y, given.transform) for y in changed]
    stochastic = method is not None and method.stochastic
    reached = [
        {**edited(given.denoiser, x, y, s, stochastic=stochastic)._asdict(), "nfe": m.nfe}
        for s, y, m in zip(strengths, changed, made, strict=True)
    ]
    head = ["strength", "distance / sd", "correlation", "of Gaussian data", "evaluations"]
    rows = [[f"{r['strength']:g}", *map(number, list(r.values())[1:4]), str(r["nfe"])] for r in reached]
    _write(
        out,
        given,
        _results.table(head, rows),
        {"given": given.raw, **{f"strength\n{s:g}": y for s, y in zip(strengths, raw, strict=True)}},
        {"edited": torch.stack(changed), "edited_raw": torch.stack(raw), "strength": strengths},
        {"n": len(x), "data": given.what, "solver": solver or "recommended", "seed": wanted.seed, "reached": reached},
    )


def inpaint(wanted: Wanted, mask: str, samples: int, nfe: int, resamples: int, jump: int, out: Results) -> None:
    """Several attempts at each datum's hidden part."""
    given = _inputs.chosen(wanted)
    n, event = len(given.x), tuple(given.x.shape[1:])
    new = hidden(mask, event, wanted)
    out.claim()
    repeated = given.x.repeat(samples, *[1] * len(event))  # attempt j at datum i takes draw j n + i
    made = editing.inpaint(
        given.denoiser, repeated, ~new, nfe=nfe, resamples=resamples, jump=jump, seed=wanted.seed,
        cond=Conditions.of(given.cond, n).tiled(samples), progress=at_a_terminal() and not out.quiet,
    )  # fmt: skip
    x = given.x.cpu()
    attempts = made.x.cpu().reshape(samples, *x.shape)
    raw = torch.stack([units.raw(a, given.transform) for a in attempts])
    there = new.expand(event)
    summary = {
        "n": n,
        "data": given.what,
        "mask": mask,
        "samples": samples,
        **inpainted(x, attempts, there, given.denoiser.data_std)._asdict(),
        "nfe": made.nfe,
        "resamples": resamples,
        "jump": jump,
        "seed": wanted.seed,
    }
    rows = [
        ["made anew", f"{summary['hidden']:.1%}", "of each datum; the rest is kept to the bit"],
        ["distance / sd", number(summary["distance"]), "from what was there, RMS over what is new"],
        ["spread / sd", number(summary["spread"]), "between attempts; no posterior's: replacement is biased"],
        ["evaluations", str(made.nfe), "for each attempt"],
    ]
    _write(
        out,
        given,
        _results.table([f"{n} {given.what}", "value", "beside it"], rows),
        {"given": given.raw, "kept": _without(given, there), **{f"attempt\n{i + 1}": a for i, a in enumerate(raw)}},
        {"inpainted": attempts, "inpainted_raw": raw, "hidden": there},
        summary,
    )


def hidden(mask: str, event: tuple[int, ...], wanted: Wanted) -> Tensor:
    """Bool, of a shape that broadcasts to `event`: where data are to be made anew.

    Raises:
        ValueError: for a mask that is no name, no file, or of another size; one that hides all or nothing.
        FileNotFoundError: for a file that is not there.
    """
    axes = event[-2:] if len(event) == 3 else event[-1:]
    side, _, share = mask.partition(":")
    new = torch.zeros(axes, dtype=torch.bool)
    if mask in SIDES and len(axes) >= -SIDES[mask][0]:
        axis, low, high = SIDES[mask]
        size = axes[axis]
        new.movedim(axis, 0)[round(low * size) : round(high * size)] = True
    elif mask == "centre":
        new[tuple(slice(size // 4, size - size // 4) for size in axes)] = True
    elif side == "random":
        new = torch.rand(axes, generator=torch.Generator().manual_seed(wanted.seed)) < _share(mask, share)
    else:
        new = _mask_of_file(mask, axes)
    if not bool(new.any()) or bool(new.all()):
        raise ValueError(f"--mask must hide a part; {mask!r} hides {'all' if bool(new.all()) else 'nothing'}")
    return new


def _share(mask: str, share: str) -> float:
    try:
        value = float(share)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise ValueError(f"--mask random:P needs a share P between 0 and 1, such as random:0.5; got {mask!r}")
    return value


def _mask_of_file(mask: str, axes: tuple[int, ...]) -> Tensor:
    if not Path(mask).exists():
        names = ", ".join((*SIDES, "centre", "random:0.5"))
        raise FileNotFoundError(f"--mask: {mask!r} is no file, and none of {names}")
    return _inputs.mask(Path(mask), axes)


def _without(given: Inputs, there: Tensor) -> Tensor:
    """The data with what is hidden painted over."""
    grey = given.transform is not None and given.transform.levels is not None
    if grey:
        assert given.transform is not None
        assert given.transform.levels is not None
        return torch.where(there, int(HIDDEN * given.transform.levels), given.raw.long())
    return torch.where(there, torch.full_like(given.raw, math.nan), given.raw)


def _write(
    out: Results,
    given: Inputs,
    table: Table,
    columns: dict[str, Tensor],
    arrays: dict[str, Any],
    summary: dict[str, Any],
) -> None:
    shown = {name: units.shown(raw[:SHOWN], given.transform) for name, raw in columns.items()}
    labels = {} if given.label is None else {"label": given.label.cpu()}
    kept = {"x": given.x.cpu(), "raw": given.raw, "rows": given.rows}
    n = min(SHOWN, len(given.rows))
    figure = samples.panels(
        shown, row_labels=given.names(n), title=of(n, len(given.rows), given.what), look=given.run.look
    )
    _results.write(out, table, figure, {**kept, **labels, **arrays}, summary)
