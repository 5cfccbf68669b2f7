"""What `reconstruct` does: `scorefield.inverse` on a run's prior, into files."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from scorefield import inverse
from scorefield.cli import _inputs, _results, _shards
from scorefield.cli._options import Wanted
from scorefield.cli._output import Results, at_a_terminal, warn
from scorefield.cli._results import number
from scorefield.data import opening
from scorefield.inverse import GaussianNoise, PosteriorSamples, Quality, Units
from scorefield.inverse.operators import LinearOperator, Operator
from scorefield.plots import samples
from scorefield.plots.shown import of, rows_of
from scorefield.recipes import operators
from scorefield.runs import Trained, each, many

SHOWN, SAMPLES_SHOWN = 8, 4  # data and samples of each, in a picture
LEVEL = 0.9  # of intervals


class _Measured(NamedTuple):
    """Observations, and what they are of where that is known."""

    run: Trained
    likelihood: GaussianNoise  # in the user's units
    truth: Tensor | None  # (N, *event) in the same
    label: Tensor | None
    rows: Tensor
    what: str
    own: Tensor | None = None  # the classes that the data have

    @property
    def units(self) -> Units:
        """The user's."""
        return Units.of(self.run.transform)


class Asked(NamedTuple):
    """Which measurements of which data, and how their posteriors are drawn."""

    wanted: Wanted
    spec: str  # of the operator
    noise_std: float
    measurement: Path | None
    samples: int
    method: str | None
    nfe: int


def in_shards(asked: Asked, folder: Path, cut: _shards.Files) -> None:
    """Of all the data, or of the places named, or of all measurements of a file, into a folder of shards."""
    wanted = replace(asked.wanted, device=_shards.device_of(asked.wanted.device))
    plain = {
        "operator": asked.spec, "noise_std": asked.noise_std, "method": asked.method, "nfe": asked.nfe,
        "seed": wanted.seed, "label": wanted.label, "level": LEVEL,
    }  # fmt: skip
    if asked.measurement is not None:
        held = _read(wanted, asked.spec, asked.noise_std, asked.measurement)
        run, what, rows, label = held.run, held.what, held.rows, held.label
        plain["data"] = hashlib.sha256(held.likelihood.y.numpy().tobytes()).hexdigest()[:16]

        def measured(at: Tensor) -> each.Measured:
            return each.Measured(held.likelihood.rows(at))

    else:
        run = _inputs.model(wanted)
        source, what = _inputs.held_out(run, wanted.data, wanted.data_dir, "which data: give --data", wanted.reading)
        operator, units = operators.parse(asked.spec, run.event_shape), Units.of(run.transform)
        rows = _inputs.places_of(wanted, source, what, len(source))
        label = None if wanted.label is None else _inputs.label_of(wanted, run, len(rows), None)
        plain |= {"data": each.data_hash(source), "index": wanted.index}

        def measured(at: Tensor) -> each.Measured:
            truth = units.of_raw(source.batch(at).x)
            return each.Measured(inverse.simulate(operator, truth, asked.noise_std, seed=wanted.seed, index=at), truth)

    numbers = math.prod(measured(rows[:1]).likelihood.operator.output_shape)
    planned = each.posterior_plan(run, len(rows), numbers, plain, samples=asked.samples, **cut._asdict())
    make = each.posteriors(
        run, measured, rows, samples=asked.samples, nfe=asked.nfe, method=asked.method, label=label, seed=wanted.seed,
        level=LEVEL, data_dir=wanted.data_dir,
    )  # fmt: skip
    if not _shards.write(
        folder,
        planned,
        lambda advance: many.write(folder, planned, make, warn=warn, progress=advance),
        f"posteriors of {what}",
        "reconstructing",
    ):
        return

    def together(found: Mapping[str, Any]) -> dict[str, Any]:
        means = each.means(found)
        shown = [[name.replace("_", " "), number(value), "mean over all"] for name, value in means.items()]
        Console(highlight=False).print(_results.table([f"{planned.n} {what}", "value", "beside it"], shown))
        return {**planned.what, **means, "n": planned.n, "data": what}

    _shards.summarise(folder, planned, together)


def reconstruct(asked: Asked, out: Results) -> None:
    """Each measurement's posterior."""
    wanted, spec, noise_std, measurement, samples, method, nfe = asked
    measured = (
        _simulated(wanted, spec, noise_std) if measurement is None else _read(wanted, spec, noise_std, measurement)
    )
    units = measured.units
    posterior = measured.run.posterior(
        units.in_model(measured.likelihood),
        method,
        cond={} if measured.label is None else {"label": measured.label},
        seed=wanted.seed,
        data_dir=wanted.data_dir,
    )
    out.claim()
    start = time.perf_counter()
    made = posterior.sample(
        samples,
        nfe=nfe,
        seed=wanted.seed,
        dtype=next(posterior.denoiser.parameters()).dtype,
        progress=at_a_terminal() and not out.quiet,
    )
    seconds = time.perf_counter() - start
    x = units.of_model(made.x)
    found = inverse.moments(made, x, LEVEL)
    rows, summary = _figures(made, inverse.quality(made, x, measured.likelihood, found, measured.truth), seconds)
    name = method or f"{inverse.name_of(posterior.method)}, the default"
    summary |= {
        "n": len(x), "data": measured.what, "operator": spec, "noise_std": noise_std, "method": name,
        "samples": samples, "nfe": made.nfe, "total_nfe": made.total_nfe, "seed": wanted.seed, "level": LEVEL,
    }  # fmt: skip
    arrays = {
        "samples": x, **found._asdict(), "y": measured.likelihood.y,
        **({} if measured.truth is None else {"truth": measured.truth}),
        **({} if made.chi2 is None else {"chi2": made.chi2}),
    }  # fmt: skip
    head = [f"{len(x)} {measured.what}", "value", "beside it"]
    _results.write(out, _results.table(head, rows), _picture(measured, x, found), arrays, summary)


def _simulated(wanted: Wanted, spec: str, noise_std: float) -> _Measured:
    """Pictures, measured here: the noise of a datum is a function of (seed, its place)."""
    given = _inputs.chosen(wanted, labelled=wanted.label is not None)
    units = Units.of(given.transform)
    operator = operators.parse(spec, tuple(given.raw.shape[1:]))
    truth = units.of_raw(given.raw)
    likelihood = inverse.simulate(operator, truth, noise_std, seed=wanted.seed, index=given.rows)
    return _Measured(given.run, likelihood, truth, given.label, given.rows, given.what, given.own)


def _read(wanted: Wanted, spec: str, noise_std: float, path: Path) -> _Measured:
    """Real measurements: `(N, *output_shape)`, or one without the first axis."""
    run = _inputs.model(wanted)
    operator = operators.parse(spec, run.event_shape)
    if not path.exists():
        raise FileNotFoundError(f"--measurement: no file at {path}")
    try:
        loaded = opening.arrays(path)
        y = loaded if isinstance(loaded, np.ndarray) else loaded["y"]
    except KeyError:
        raise ValueError(f"--measurement: {path} has no array `y`") from None
    except opening.DAMAGE:
        raise ValueError(f"--measurement: {path} is no .npy or .npz of numbers") from None
    if y.dtype.kind not in "fiub":
        raise ValueError(f"--measurement: {path} holds {y.dtype}, not real numbers")
    tensor = torch.from_numpy(np.asarray(y, dtype=np.float64))
    shape = tuple(operator.output_shape)
    tensor = tensor[None] if tuple(tensor.shape) == shape else tensor
    if tuple(tensor.shape[1:]) != shape or not bool(torch.isfinite(tensor).all()):
        raise ValueError(
            f"--measurement: {path} must hold finite numbers of shape {shape}, or (N, ...) of them, for {spec}; "
            f"got {tuple(y.shape)}"
        )
    label = _inputs.label_of(wanted, run, len(tensor), None) if wanted.label is not None else None
    likelihood = GaussianNoise(operator, tensor, noise_std)
    return _Measured(run, likelihood, None, label, torch.arange(len(tensor)), f"measured, {path}")


def _figures(made: PosteriorSamples, q: Quality, seconds: float) -> tuple[list[list[str]], dict[str, Any]]:
    """(rows of the table, the same for a machine)."""
    rows: list[list[str]] = []
    if q.psnr is not None:
        rows += [
            ["PSNR of the mean, dB", f"{q.psnr:.2f}", f"of one sample {q.psnr_of_a_sample:.2f}"],
            [f"truth inside {LEVEL:.0%} intervals", f"{q.inside:.1%}", "of all numbers; constant borders count"],
        ]
    if q.reduced_chi2 is not None:
        rows.append(["chi2 / numbers measured", f"{q.reduced_chi2:.3f}", f"predictive p-value {q.mean_p_value:.2f}"])
    if q.log_evidence is not None:
        rows.append(["log p(y), nats", f"{q.mean_log_evidence:.2f}", "mean over the measurements"])
    if q.ess is not None:
        rows.append(["least effective share", number(q.ess), "of a system's particles"])
    beside = f"{made.vjps} vector-Jacobian products besides; {seconds:.1f} s in all"
    rows.append(["evaluations of a path", str(made.nfe), beside if made.vjps else f"{seconds:.1f} s in all"])
    said = {name: v.tolist() if isinstance(v, Tensor) else v for name, v in q._asdict().items() if v is not None}
    return rows, {"seconds": seconds, **said}


def _picture(measured: _Measured, x: Tensor, found: inverse.Moments) -> Any:
    """Truth, measurement seen as a picture, mean, standard deviation, samples."""
    n = slice(0, SHOWN)
    columns: dict[str, Tensor] = {}
    if measured.truth is not None:
        columns["truth"] = measured.truth[n]
    back = _back(measured.likelihood.operator, measured.likelihood.y[n])
    if back is not None:
        columns["measured"] = back
    columns["mean"], std = found.mean[n], found.std[n]
    most = float(std.max())
    grey = measured.units.grey and most > 0
    columns[f"sd, white\nis {most:.2g}" if grey else "sd"] = std / most if grey else std
    few = min(SAMPLES_SHOWN, x.shape[1])
    columns |= {f"sample\n{j + 1}": x[n, j] for j in range(few)}
    look, own, all_ = measured.run.look, measured.own, len(measured.rows)
    title = f"{of(min(SHOWN, all_), all_, measured.what)}; {of(few, x.shape[1], 'samples')} of each posterior"
    names = rows_of(measured.rows[n].tolist(), None if own is None else own[n].tolist(), look)
    return samples.panels(columns, row_labels=names, title=title, look=look)


def _back(operator: Operator, y: Tensor) -> Tensor | None:
    """What is nearest to the measurement among things of the shape of a datum."""
    if not isinstance(operator, LinearOperator):
        return None
    made = getattr(operator, "fbp", operator.pseudo_inverse)
    return made(y)
