"""What `reconstruct` does: `scorefield.inverse` on a run's prior, into files."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scorefield import inverse
from scorefield.cli import _inputs, _results
from scorefield.cli._names import METHODS, resolve
from scorefield.cli._options import Wanted
from scorefield.cli._results import number
from scorefield.cli._runs import at_a_terminal
from scorefield.data import Scale, Transform
from scorefield.denoisers import NetworkDenoiser
from scorefield.inverse import GaussianNoise, Guidance, Method, PosteriorSamples, condition, predictive_p_value
from scorefield.inverse.operators import LinearOperator, Operator
from scorefield.plots import samples
from scorefield.randomness import Stream
from scorefield.recipes import operators
from scorefield.sampling import sample

SHOWN, SAMPLES_SHOWN = 8, 4  # data and samples of each, in a picture
LEVEL = 0.9  # of intervals
EXAMPLES = 64  # pictures that the covariance is measured on


class _Measured(NamedTuple):
    """Observations, and what they are of where that is known."""

    denoiser: NetworkDenoiser
    units: _Units
    likelihood: GaussianNoise  # in the units of `_Units`
    truth: Tensor | None  # (N, *event) in the same
    label: Tensor | None
    rows: Tensor
    what: str


class _Units(NamedTuple):
    """What a user measures in: grey values from 0 to 1 for pictures, else the data's own."""

    transform: Transform | None
    white: float
    middle: float  # of a grey value's bin, which is where models see it

    @classmethod
    def of(cls, transform: Transform | None) -> _Units:
        levels = transform.levels if isinstance(transform, Scale) else None
        return cls(transform, 1.0, 0.0) if levels is None else cls(transform, levels - 1.0, 0.5)

    def of_raw(self, x_raw: Tensor) -> Tensor:
        return x_raw.double() / self.white

    def of_model(self, x: Tensor) -> Tensor:
        raw = x.double() if self.transform is None else self.transform.inverse(x.double())
        return (raw - self.middle) / self.white

    def in_model(self, likelihood: GaussianNoise) -> GaussianNoise:
        raw = likelihood.standardized(1 / self.white, -self.middle / self.white)
        return raw if self.transform is None else raw.for_model(self.transform)


def reconstruct(
    wanted: Wanted,
    spec: str,
    noise_std: float,
    measurement: Path | None,
    samples: int,
    method: str | None,
    nfe: int,
    out: Path,
) -> None:
    """Each measurement's posterior."""
    measured = (
        _simulated(wanted, spec, noise_std) if measurement is None else _read(wanted, spec, noise_std, measurement)
    )
    chosen = _default(wanted, measured) if method is None else resolve("method", method, METHODS)
    cond = {} if measured.label is None else {"label": measured.label}
    posterior = condition(measured.denoiser, measured.units.in_model(measured.likelihood), chosen, cond=cond)
    start = time.perf_counter()
    made = posterior.sample(
        samples, nfe=nfe, seed=wanted.seed, dtype=next(measured.denoiser.parameters()).dtype, progress=at_a_terminal()
    )
    seconds = time.perf_counter() - start
    x = measured.units.of_model(made.x)
    mean, std = x.mean(1), x.std(1) if samples > 1 else torch.zeros_like(x[:, 0])
    low, high = replace(made, x=x).interval(LEVEL)
    rows, summary = _figures(measured, made, x, low, high, seconds)
    name = method or f"{type(posterior.method).__name__}, the default"
    summary |= {
        "n": len(x), "data": measured.what, "operator": spec, "noise_std": noise_std, "method": name,
        "samples": samples, "nfe": made.nfe, "total_nfe": made.total_nfe, "seed": wanted.seed, "level": LEVEL,
    }  # fmt: skip
    arrays = {
        "samples": x, "mean": mean, "std": std, "low": low, "high": high, "y": measured.likelihood.y,
        **({} if measured.truth is None else {"truth": measured.truth}),
        **({} if made.chi2 is None else {"chi2": made.chi2}),
    }  # fmt: skip
    head = [f"{len(x)} {measured.what}", "value", "beside it"]
    _results.write(out, _results.table(head, rows), _picture(measured, x, mean, std), arrays, summary)


def _simulated(wanted: Wanted, spec: str, noise_std: float) -> _Measured:
    """Pictures, measured here: the noise of a datum is a function of (seed, its place)."""
    given = _inputs.chosen(wanted, labelled=wanted.label is not None)
    units = _Units.of(given.transform)
    operator = operators.parse(spec, tuple(given.raw.shape[1:]))
    truth = units.of_raw(given.raw)
    likelihood = inverse.simulate(operator, truth, noise_std, seed=wanted.seed, index=given.rows)
    return _Measured(given.denoiser, units, likelihood, truth, given.label, given.rows, given.what)


def _read(wanted: Wanted, spec: str, noise_std: float, path: Path) -> _Measured:
    """Real measurements: `(N, *output_shape)`, or one without the first axis."""
    denoiser, transform, event = _inputs.model(wanted)
    operator = operators.parse(spec, event)
    if not path.exists():
        raise FileNotFoundError(f"--measurement: no file at {path}")
    try:
        loaded = np.load(path, allow_pickle=False)
        y = loaded if isinstance(loaded, np.ndarray) else loaded["y"]
    except (ValueError, OSError, EOFError):
        raise ValueError(f"--measurement: {path} is no .npy or .npz of numbers") from None
    except KeyError:
        raise ValueError(f"--measurement: {path} has no array `y`") from None
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
    label = _inputs.label_of(wanted, denoiser, len(tensor), None) if wanted.label is not None else None
    rows = torch.arange(len(tensor))
    return _Measured(
        denoiser,
        _Units.of(transform),
        GaussianNoise(operator, tensor, noise_std),
        None,
        label,
        rows,
        f"measured, {path}",
    )


def _default(wanted: Wanted, measured: _Measured) -> Method:
    """`recommended`, the covariance measured on held-out data, or where there are none on the model's own draws."""
    likelihood, denoiser, transform = measured.likelihood, measured.denoiser, measured.units.transform
    event = tuple(likelihood.event_shape)
    device = next(denoiser.parameters()).device
    try:
        source, _ = _inputs.held_out(wanted, event, transform)
    except (ValueError, FileNotFoundError):  # a checkpoint by itself, or data that stayed elsewhere
        return inverse.recommended(likelihood, denoiser, sample(denoiser, (EXAMPLES // 4, *event), nfe=20).x)
    rows = torch.arange(max(0, len(source) - EXAMPLES), len(source))  # the last: the first are what is reconstructed
    raw = source.batch(rows).x
    x = raw.float() if transform is None else transform.dequantize(raw, Stream(wanted.seed, rows))
    return inverse.recommended(likelihood, denoiser, x.to(device))


def _figures(
    measured: _Measured, made: PosteriorSamples, x: Tensor, low: Tensor, high: Tensor, seconds: float
) -> tuple[list[list[str]], dict[str, Any]]:
    """(rows of the table, the same for a machine)."""
    rows: list[list[str]] = []
    summary: dict[str, Any] = {"seconds": seconds}
    if measured.truth is not None:
        psnr = _psnr(x.mean(1), measured.truth)
        single = _psnr(x[:, 0], measured.truth)
        inside = float(((measured.truth >= low) & (measured.truth <= high)).double().mean())
        summary |= {"psnr": float(psnr.mean()), "psnr_of_a_sample": float(single.mean()), "inside": inside}
        rows += [
            ["PSNR of the mean, dB", f"{summary['psnr']:.2f}", f"of one sample {summary['psnr_of_a_sample']:.2f}"],
            [f"truth inside {LEVEL:.0%} intervals", f"{inside:.1%}", "of all numbers; constant borders count"],
        ]
    if made.reduced_chi2 is not None:
        p = predictive_p_value(measured.likelihood, x)
        summary |= {"reduced_chi2": float(made.reduced_chi2.mean()), "predictive_p_value": p.tolist()}
        rows.append(
            ["chi2 / numbers measured", f"{summary['reduced_chi2']:.3f}", f"predictive p-value {float(p.mean()):.2f}"]
        )
    if made.log_evidence is not None:
        summary["log_evidence"] = made.log_evidence.tolist()
        rows.append(["log p(y), nats", f"{float(made.log_evidence.mean()):.2f}", "mean over the measurements"])
    if made.ess is not None:
        summary["ess"] = float(made.ess.mean())
        rows.append(["least effective share", number(summary["ess"]), "of a system's particles"])
    beside = f"{made.vjps} vector-Jacobian products besides; {seconds:.1f} s in all"
    rows.append(["evaluations of a path", str(made.nfe), beside if made.vjps else f"{seconds:.1f} s in all"])
    return rows, summary


def _psnr(x: Tensor, truth: Tensor) -> Tensor:
    """`(N,)` dB, for values from 0 to 1."""
    return -10 * torch.log10((x - truth).square().flatten(1).mean(1).clamp(min=1e-20))


def _picture(measured: _Measured, x: Tensor, mean: Tensor, std: Tensor) -> Any:
    """Truth, measurement seen as a picture, mean, standard deviation, samples."""
    n = slice(0, SHOWN)
    columns: dict[str, Tensor] = {}
    if measured.truth is not None:
        columns["truth"] = measured.truth[n]
    back = _back(measured.likelihood.operator, measured.likelihood.y[n])
    if back is not None:
        columns["measured"] = back
    columns["mean"] = mean[n]
    most = float(std[n].max())
    pictures = measured.units.white != 1
    columns[f"sd / {most:.2g}" if pictures and most else "sd"] = std[n] / most if pictures and most else std[n]
    columns |= {f"{j + 1}": x[n, j] for j in range(min(SAMPLES_SHOWN, x.shape[1]))}
    return samples.panels(columns, row_labels=[str(row) for row in measured.rows[n].tolist()])


def _back(operator: Operator, y: Tensor) -> Tensor | None:
    """What is nearest to the measurement among things of the shape of a datum."""
    if not isinstance(operator, LinearOperator):
        return None
    made = getattr(operator, "fbp", operator.pseudo_inverse)
    return made(y)


def guided(which: str) -> Method:
    """The guided denoiser of that name, under the default solver."""
    return Guidance(getattr(inverse, which))
