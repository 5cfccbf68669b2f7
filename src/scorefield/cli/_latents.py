"""What `encode`, `decode`, `interpolate` and `move` do: `scorefield.bijection.latents` on a run's data, into files.

An .npz of latents holds `z` `(N, *event)` and, where `encode` wrote it, what a round trip is measured against: `x` in
the model's units, the `label` it was encoded under, and the SHA-256 of the `weights`.
"""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from scorefield.bijection import latents
from scorefield.bijection.summary import RoundTrip, distance, kept, mean_square, rms, round_trip, walk
from scorefield.cli import _inputs, _results
from scorefield.cli._inputs import Inputs
from scorefield.cli._options import Wanted, places
from scorefield.cli._output import Results, at_a_terminal
from scorefield.cli._results import number
from scorefield.data import opening, units
from scorefield.plots import samples
from scorefield.plots.shown import of
from scorefield.runs import Trained

SHOWN = 10  # data in a picture
Z_RANGE = 3.0  # standard deviations that are black and white in the picture of a latent


def encode(wanted: Wanted, nfe: int, out: Results) -> None:
    """Latents of data, and how far from them a round trip ends."""
    given = _inputs.chosen(wanted)
    out.claim()
    options: dict[str, Any] = {"nfe": nfe, "cond": given.cond, "progress": at_a_terminal() and not out.quiet}
    encoded = latents.encode(given.denoiser, given.x, **options)
    back = latents.decode(given.denoiser, encoded.z, **options)
    trip = round_trip(given.x, back)
    again = units.raw(back.cpu(), given.transform)
    summary = {
        "n": len(given.x),
        "data": given.what,
        "nfe": encoded.nfe,
        **_round_trip(trip),
        "data_std": given.denoiser.data_std,
        "mean_square_of_z": mean_square(encoded.z),
        "seed": wanted.seed,
    }
    rows = [*_round_trip_rows(summary)]
    if not given.raw.is_floating_point():
        summary["values_kept"] = kept(given.raw, again)
        rows.append(["integers kept", f"{summary['values_kept']:.2%}", "of the decoded, rounded"])
    rows += [
        ["mean square of z", number(summary["mean_square_of_z"]), "1 for a standard normal"],
        ["evaluations", str(encoded.nfe), "there, and as many back"],
    ]
    arrays = {"z": encoded.z.cpu(), "error": trip.error, "x": given.x.cpu(), "raw": given.raw, "rows": given.rows}
    _results.write(
        out,
        _results.table([f"{len(given.x)} {given.what}", "value", "beside it"], rows),
        _picture_of_map(given, encoded.z.cpu(), again),
        {**arrays, **_optional(label=given.label), "nfe": encoded.nfe, "weights": _fingerprint(given.run)},
        summary,
    )


def decode(wanted: Wanted, path: Path, nfe: int | None, out: Results) -> None:
    """Data of latents and, where the file says what they were encoded from, how far from it they are."""
    run = _inputs.model(wanted)
    file, event = read(path), run.event_shape
    if tuple(file.z.shape[1:]) != event:
        raise ValueError(f"{path}: latents of shape {tuple(file.z.shape[1:])}; the run's data have {event}")
    label = _inputs.label_of(wanted, run, len(file.z), file.label)
    same = file.weights is None or np.array_equal(file.weights, _fingerprint(run))
    out.claim()
    nfe = nfe or file.nfe or latents.NFE
    cond = {} if label is None else {"label": label.to(run.device)}
    x = latents.decode(
        run.denoiser, file.z.to(run.device), nfe=nfe, cond=cond, progress=at_a_terminal() and not out.quiet
    ).cpu()
    raw = units.raw(x, run.transform)
    summary: dict[str, Any] = {"n": len(x), "data": str(path), "nfe": nfe, "same_weights": same}
    rows = [["evaluations", str(nfe), ""]]
    if file.x is not None and file.x.shape == x.shape:
        summary |= _round_trip(round_trip(file.x, x)) | {"data_std": run.denoiser.data_std}
        rows = [*_round_trip_rows(summary), *rows]
    if not same:
        rows.append(["weights", "others", f"than those that made {path.name}"])
    _results.write(
        out,
        _results.table([f"{len(x)} latents of {path.name}", "value", "beside it"], rows),
        samples.of_samples(raw, run.transform, run.look, label),
        {"x": x, "raw": raw, "nfe": nfe, **_optional(label=label)},
        summary,
    )


def interpolate(wanted: Wanted, ends: tuple[str, str], steps: int, nfe: int, out: Results) -> None:
    """Paths through data between pairs of them; `ends` are as many places as places, in the notation of --index."""
    given, n = _inputs.chosen(wanted.at(",".join(ends)), labelled=False), len(places(ends[0]))
    label = _inputs.label_of(wanted, given.run, n, None)
    out.claim()
    cond = {} if label is None else {"label": label.to(given.x.device)}
    path = latents.interpolate(
        given.denoiser, given.x[:n], given.x[n:], steps, nfe=nfe, cond=cond, progress=at_a_terminal() and not out.quiet
    ).cpu()
    raw = torch.stack([units.raw(x, given.transform) for x in path])
    a, b = given.x.cpu().split(n)
    per_pair = {
        "from": given.rows[:n],
        "to": given.rows[n:],
        **walk(path, a, b)._asdict(),
    }
    rows = [
        [f"{int(i)} to {int(j)}", number(float(d)), number(float(step)), number(float(e))]
        for i, j, d, step, e in zip(*per_pair.values(), strict=True)
    ]
    weights = ["from", *(f"{w:.2f}" for w in np.linspace(0, 1, steps)[1:-1]), "to"]
    columns = dict(zip(weights, raw, strict=True))
    shown = {name: units.shown(x[:SHOWN], given.transform) for name, x in columns.items()}
    names = given.names(2 * n)
    _results.write(
        out,
        _results.table([given.what, "distance, RMS", "longest step", "error at the ends"], rows),
        samples.panels(
            shown,
            row_labels=[f"{a} to {b}" for a, b in zip(names[:n], names[n:], strict=True)][:SHOWN],
            look=given.run.look,
            title=f"{of(min(SHOWN, n), n, 'pairs')}; above, how far on the way between their latents",
        ),
        {"x": path, "raw": raw, "ends": given.raw, "rows": given.rows, "nfe": nfe, **_optional(label=label)},
        {
            "n": n,
            "data": given.what,
            "steps": steps,
            "nfe": nfe,
            "seed": wanted.seed,
            **{name: values.tolist() for name, values in per_pair.items()},
        },
    )


def move(wanted: Wanted, having: Path, lacking: Path, amounts: list[float], nfe: int, out: Results) -> None:
    """Data moved by so much of the mean difference between the latents of two sets."""
    given = _inputs.chosen(wanted)
    sets = [_inputs.chosen(replace(wanted, data=str(path), index=None), labelled=False) for path in (having, lacking)]
    out.claim()
    options: dict[str, Any] = {"nfe": nfe, "progress": at_a_terminal() and not out.quiet}
    direction = latents.attribute_direction(given.denoiser, sets[0].x, sets[1].x, **options)
    z = latents.encode(given.denoiser, given.x, cond=given.cond, **options).z
    moved = [latents.decode(given.denoiser, z + a * direction, cond=given.cond, **options).cpu() for a in amounts]
    raw = [units.raw(x, given.transform) for x in moved]
    sd, size = given.denoiser.data_std, float(rms(direction[None]))
    distances = [distance(given.x.cpu(), x, sd) for x in moved]
    columns = {"given": given.raw, **{f"moved\n{a:+g}": x for a, x in zip(amounts, raw, strict=True)}}
    shown = {name: units.shown(x[:SHOWN], given.transform) for name, x in columns.items()}
    rows = [[f"{a:g}", number(d), f"{a * size:.3f}"] for a, d in zip(amounts, distances, strict=True)]
    _results.write(
        out,
        _results.table(["amount", "distance / sd", "in the latent, RMS"], rows),
        samples.panels(
            shown,
            row_labels=given.names(SHOWN),
            look=given.run.look,
            title=f"{of(min(SHOWN, len(z)), len(z), given.what)}; amounts of the difference of means",
        ),
        {
            "x": torch.stack(moved),
            "raw": torch.stack(raw),
            "direction": direction.cpu(),
            "amount": amounts,
            "rows": given.rows,
            **_optional(label=given.label),
        },
        {
            "n": len(z),
            "data": given.what,
            "with": f"{len(sets[0].x)} {sets[0].what}",
            "without": f"{len(sets[1].x)} {sets[1].what}",
            "direction_rms": size,
            "amounts": amounts,
            "distances": distances,
            "nfe": nfe,
            "seed": wanted.seed,
        },
    )


class File(NamedTuple):
    """What an .npz of latents holds; all but z may be missing."""

    z: Tensor  # (N, *event) float32
    x: Tensor | None
    label: Tensor | None  # (N,) int64
    nfe: int | None
    weights: np.ndarray | None  # (32,) uint8


def read(path: Path) -> File:
    """Latents from a file; pickles are never loaded.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is no .npz with numbers z, or damaged.
    """
    if not path.exists():
        raise FileNotFoundError(f"no latents at {path}")
    if path.suffix != ".npz" or not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: expected an .npz of latents, such as `scorefield encode` writes")
    try:
        with opening.arrays(path) as archive:
            arrays = {name: archive[name] for name in ("z", "x", "label", "nfe", "weights") if name in archive.files}
    except opening.DAMAGE as error:
        raise ValueError(f"{path}: damaged, or not numbers ({' '.join(str(error).split())})") from None
    z, x, label, nfe = (arrays.get(name) for name in ("z", "x", "label", "nfe"))
    if z is None or z.dtype.kind != "f" or z.ndim < 1 or not len(z):
        raise ValueError(f"{path}: expected floating point latents z (N, ...); got {_said(z)}")
    if label is not None and (label.shape != (len(z),) or label.dtype.kind not in "iu"):
        raise ValueError(f"{path}: label must be {len(z)} integers, one for each z; got {_said(label)}")
    return File(
        torch.from_numpy(z).float(),
        None if x is None or x.dtype.kind != "f" else torch.from_numpy(x),
        None if label is None else torch.from_numpy(label.astype(np.int64)),
        None if nfe is None else int(nfe),
        arrays.get("weights"),
    )


def _said(array: np.ndarray | None) -> str:
    return "no such array" if array is None else f"{array.dtype} of shape {array.shape}"


def _fingerprint(run: Trained) -> np.ndarray:
    """The SHA-256 of the weights, as 32 numbers."""
    return np.frombuffer(bytes.fromhex(run.fingerprint), np.uint8)


def _optional(**arrays: Tensor | None) -> dict[str, Tensor]:
    return {name: array.cpu() for name, array in arrays.items() if array is not None}


def _round_trip(trip: RoundTrip) -> dict[str, float]:
    return {"round_trip_rms": trip.rms, "round_trip_worst": trip.worst}


def _round_trip_rows(summary: dict[str, Any]) -> list[list[str]]:
    scale = f"of data of standard deviation {summary['data_std']:.3g}"
    return [
        ["round trip, RMS", number(summary["round_trip_rms"]), scale],
        ["the worst of them", number(summary["round_trip_worst"]), "a larger --nfe makes it less"],
    ]


def _picture_of_map(given: Inputs, z: Tensor, again: Tensor) -> Figure | None:
    n = SHOWN if z.ndim == 4 else len(z)
    grey = given.transform is not None and given.transform.levels is not None
    columns = {
        "given": units.shown(given.raw[:n], given.transform),
        "its latent": z[:n] / (2 * Z_RANGE) + 0.5 if grey else z[:n],
        "decoded": units.shown(again[:n], given.transform),
    }
    names = [name.replace(" (", "\n(") for name in given.names(n)]  # above pictures that are small
    title = of(min(n, len(z)), len(z), given.what) + (f"; latents from -{Z_RANGE:g} to {Z_RANGE:g}" if grey else "")
    return samples.panels(columns, row_labels=names, down=True, title=title, look=given.run.look)
