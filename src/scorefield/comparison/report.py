"""`report.html`, `comparison.json` and pictures of what a folder holds; what is said of it in a few sentences."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import numpy as np
import torch

from scorefield import plots
from scorefield.catalogue import SHAPES, make
from scorefield.comparison.methods import METHODS, TEACHERS
from scorefield.comparison.study import Result, Study, file_of
from scorefield.plots.comparison import of_pictures, of_planes, of_seeds
from scorefield.plots.page import Row, Section, Table, write_page
from scorefield.storage import files

HEADER = (
    "method", "network", "distance", "modes", "TV of weights", "good", "coverage", "log p / d", "evaluations",
    "CPU ms a sample", "parameters", "trained", "training CPU s",
)  # fmt: skip


def write(study: Study) -> Path:
    """Writes everything into the study's folder and returns the page's path.

    Raises:
        ValueError: if nothing has been measured yet.
    """
    if not study.results:
        raise ValueError(f"{study.folder} has no result yet")
    folder = study.folder
    numbers = {
        "data": study.data, "metric": study.metric, "modes": study.modes, "floor": study.floor._asdict(),
        "entropy": study.entropy, "sentences": sentences(study),
        "results": [{**vars(r), "measured": r.measured._asdict()} for rs in study.results.values() for r in rs],
    }  # fmt: skip
    files.replace(folder / "comparison.json", json.dumps(numbers, indent=1).encode())
    plots.save(_seeds(study), folder / "seeds.png")
    plots.save(_samples(study), folder / "samples.png")
    said = sentences(study)
    return write_page(
        folder / "report.html",
        title=f"Who makes {study.data}",
        lead=" ".join(said),
        rows=[
            Row(f"{study.metric}, real to real", f"{study.floor.distance:.4f}", "what a perfect model would have"),
            Row("TV of weights, real", f"{study.floor.weights:.3f}", "of as many samples: fluctuation alone"),
            Row("coverage, real", f"{study.floor.coverage:.3f}", "of held-out data by other real data"),
            *([] if study.entropy is None else [Row("log p / d, true", f"{study.entropy:.3f}", "nats; none is above")]),
        ],
        tables=[
            Table(
                "All methods",
                "Median over seeds, and the smallest and largest. Methods of one network share its training. Nothing "
                "was chosen: every seed is in the picture below.",
                HEADER,
                table(study),
            )
        ],
        sections=[
            Section(
                "Every seed",
                "A dot for each seed; dotted, what real data have.",
                folder / "seeds.png",
                f"Dots of {study.metric}, modes, total variation of the weights and coverage for each of "
                f"{len(study.results)} methods. The table above has the numbers.",
            ),
            Section(
                "Samples",
                _caption(study),
                folder / "samples.png",
                f"Samples of {study.data} by each of {', '.join(study.results)}.",
            ),
        ],
        facts=[
            Row("distance", "", f"{study.metric} to held-out data"),
            Row("modes", "", "those that at least a tenth of the samples they are due are nearest to"),
            Row("coverage", "", "held-out data with a sample within their fifth nearest neighbour's distance"),
            Row("log p / d", "", "held-out data, nats a dimension: exact by the ODE, >= for the VAE's bound"),
            Row("trained", "", "parameters of all that was trained: critic, encoder, teacher"),
        ],
    )


def table(study: Study) -> list[list[str]]:
    """A row of `HEADER` for each method."""
    known = {method.name: method for method in METHODS}
    rows = []
    for name, results in study.results.items():
        method = known[name]
        of_network = method.network + (f", of {TEACHERS[method.network]}" if method.network in TEACHERS else "")
        told = [r.likelihood for r in results if r.likelihood is not None]
        likelihood = (">= " if method.likelihood == "bound" else "") + _span(told, 3) if told else "none"
        one = results[0]
        rows.append(
            [
                name, of_network, _span([r.measured.distance for r in results], 4),
                _span([r.measured.modes for r in results], 0), _span([r.measured.weights for r in results], 3),
                _span([r.measured.good for r in results], 3), _span([r.measured.coverage for r in results], 3),
                likelihood, str(one.nfe), f"{1000 * statistics.median(r.seconds for r in results):.2g}",
                f"{one.parameters:,}", f"{one.trained:,}", f"{statistics.median(r.training for r in results):.0f}",
            ]
        )  # fmt: skip
    return rows


def sentences(study: Study) -> list[str]:
    """What is to be said: who is nearest, who collapses, and who does not."""
    found, every = [], study.modes
    best = study.best()
    distances = [r.measured.distance for r in study.results[best]]
    found.append(
        f"Nearest to the data is {best}: {study.metric} {statistics.median(distances):.4f} in the median of "
        f"{len(distances)} seed{'s' * (len(distances) > 1)}, where real data have {study.floor.distance:.4f}."
    )
    clear = {name: statistics.median(r.measured.good for r in rs) for name, rs in study.results.items()}
    sharpest = max(clear, key=lambda name: clear[name])
    if clear[sharpest] < 0.9 * study.floor.good:
        found.append(
            f"None is sharp after this much training: at best {clear[sharpest]:.0%} of the samples are as near to the "
            f"data as {study.floor.good:.0%} of real ones are ({sharpest})."
        )
    lost = {name: [r.measured.modes for r in rs] for name, rs in study.results.items()}
    collapsed = {name: modes for name, modes in lost.items() if min(modes) < every}
    for name, modes in collapsed.items():
        count = sum(m < every for m in modes)
        found.append(f"{name} loses modes in {count} of {len(modes)} seeds, down to {min(modes)} of {every}.")
    whole = [name for name in lost if name not in collapsed]
    if whole:
        who = "No method loses" if not collapsed else f"{', '.join(whole)} lose{'s' if len(whole) == 1 else ''} no"
        found.append(f"{who} mode in any seed.")
    return found


def _span(values: list[float] | list[int], digits: int) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    text = f"{middle:.{digits}f}"
    return text if low == high else f"{text} ({low:.{digits}f} to {high:.{digits}f})"


def _seeds(study: Study):
    def column(get):
        return {name: [get(r) for r in results] for name, results in study.results.items()}

    columns = {
        study.metric: column(lambda r: r.measured.distance),
        f"modes of {study.modes}": column(lambda r: r.measured.modes),
        "TV of weights": column(lambda r: r.measured.weights),
        "coverage": column(lambda r: r.measured.coverage),
    }
    floors = dict(
        zip(columns, (study.floor.distance, study.modes, study.floor.weights, study.floor.coverage), strict=True)
    )
    return of_seeds(columns, floors, log=[study.metric])


def _samples(study: Study):
    shown = {name: _worst(results) for name, results in study.results.items()}
    arrays = {}
    for name, result in shown.items():
        with np.load(study.folder / "results" / f"{file_of(name)}-seed{result.seed}.npz") as kept:
            arrays[name] = kept["raw"]
    if study.data in SHAPES:
        law = make("data", study.data, SHAPES)
        due = 0.1 / study.modes
        missing = {n: [k for k, s in enumerate(r.measured.shares) if s < due] for n, r in shown.items()}
        return of_planes(arrays, law.means, missing)
    top = max(float(x.max()) for x in arrays.values())
    return of_pictures({name: torch.from_numpy(x).double() / top for name, x in arrays.items()})


def _worst(results: list[Result]) -> Result:
    """The seed of the fewest modes, then of the largest distance."""
    return max(results, key=lambda r: (-r.measured.modes, r.measured.distance))


def _caption(study: Study) -> str:
    ringed = " Modes it lost are ringed." if study.data in SHAPES else ""
    return f"Of each method's worst seed: fewest modes, then the largest distance.{ringed}"
