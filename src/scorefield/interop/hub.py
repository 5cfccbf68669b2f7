"""A model as a folder of the Hugging Face hub's layout.

    model.safetensors   the checkpoint, which `sf.load` and `storage.load` read as any other: nothing in it can run
    config.json         its description once more, for whoever reads folders without safetensors
    README.md           a model card: `library_name`, and in `model-index` every metric with its interval and floor

`Published` adds `from_pretrained` and `push_to_hub` by huggingface_hub's own mixin, `pip install scorefield[hub]`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors

from scorefield.data import Transform
from scorefield.denoisers import NetworkDenoiser
from scorefield.storage import models
from scorefield.storage.files import plain, replace

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
LIBRARY = "scorefield"
TASKS = {3: "unconditional-image-generation", 1: "tabular-generation"}  # by the axes of a sample

Metric = Mapping[str, Any]  # metric, value, low, high, floor: a row of `scorefield evaluate --json`


def save(
    folder: str | os.PathLike[str],
    denoiser: NetworkDenoiser,
    meta: Mapping[str, Any] | None = None,
    *,
    transform: Transform | None = None,
    metrics: Iterable[Metric] = (),
    dataset: str = "data",
    name: str | None = None,
) -> Path:
    """Writes the three files, each whole or as it was; returns the folder.

    Args:
        folder: made if it is missing.
        meta, transform: as of `sf.save`; `event_shape` in meta is what `Trained.sample` needs.
        metrics: rows with `metric`, `value`, `low`, `high` and `floor`, the last three None where there are none.
        dataset: what the metrics compare with.
        name: of the model; the folder's unless given.

    Raises:
        ValueError: for a model whose parts a file can't hold, or a metric without a name or a value.
    """
    folder = Path(folder)
    if missing := models.left_out(denoiser, transform):
        raise ValueError(f"a published model must be whole: {models.reminder(missing)}")
    content = models.dumps(denoiser, meta, transform=transform)
    card = model_card(name or folder.resolve().name, denoiser, meta or {}, list(metrics), dataset)
    folder.mkdir(parents=True, exist_ok=True)
    replace(folder / WEIGHTS, content)
    with safetensors.safe_open(folder / WEIGHTS, "pt") as file:
        described = json.loads(file.metadata()["scorefield"])
    replace(folder / CONFIG, (json.dumps(described, indent=2) + "\n").encode())
    replace(folder / CARD, card.encode())
    return folder


def load(folder: str | os.PathLike[str]) -> models.Checkpoint:
    """What `save` wrote, from a folder on this machine.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged.
    """
    return models.load(Path(folder) / WEIGHTS)


def model_card(
    name: str, denoiser: NetworkDenoiser, meta: Mapping[str, Any], metrics: Sequence[Metric], dataset: str
) -> str:
    """README.md: what the hub reads between its two lines, then what a person does.

    Raises:
        ValueError: for a metric without a name or a value.
    """
    for row in metrics:
        if "metric" not in row or not isinstance(row.get("value"), int | float):
            raise ValueError(f"a metric needs `metric`, its name, and `value`, a number; got {dict(row)!r:.80}")
    shape = list(meta.get("event_shape", ()))
    rows = [
        {
            "type": row["metric"],
            "name": str(row["metric"]).replace("_", " "),
            "value": row["value"],
            "args": {"interval": [row.get("low"), row.get("high")], "floor": row.get("floor")},
        }
        for row in metrics
    ]
    results = [{"task": {"type": TASKS.get(len(shape), "other")}, "dataset": {"name": dataset, "type": dataset}}]
    index = [{"name": name, "results": [{**results[0], "metrics": rows}] if rows else []}]
    head = {"library_name": LIBRARY, "tags": ["diffusion", "score-based"], "model-index": index}
    front = "\n".join(f"{key}: {json.dumps(plain(value))}" for key, value in head.items())  # JSON is YAML
    kind = f"{type(denoiser.net).__name__} under {type(denoiser.schedule).__name__}"
    table = "".join(
        f"| {r['name']} | {_said(r['value'])} | {_said(r['args']['interval'][0])} to {_said(r['args']['interval'][1])} "
        f"| {_said(r['args']['floor'])} |\n"
        for r in rows
    )
    measured = f"\n| metric | value | interval | floor |\n| --- | --- | --- | --- |\n{table}" if rows else ""
    return (
        f"---\n{front}\n---\n# {name}\n\nA denoiser E[x0 | x_t], {kind}, of samples of shape {shape or 'not said'}.\n"
        f"{measured}\n```python\nimport scorefield as sf\n\n"
        f'model = sf.load("model.safetensors")\nmodel.sample(16).raw\n```\n'
    )


def _said(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "-"
