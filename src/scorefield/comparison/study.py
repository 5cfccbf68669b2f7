"""The study: a folder that trains, draws and measures, and goes on from where it was.

plan.json               data, seconds, the cost of each kind of step: what all results have in common
networks/NAME-seedK/    a run of each network, `sf.load` reads it
results/METHOD-seedK.json, .npz
report.html, comparison.json, samples.png, seeds.png
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scorefield import recipes, runs
from scorefield._caller import warn as warn_caller
from scorefield.baselines import VAE
from scorefield.catalogue import SHAPES, make, nearest
from scorefield.comparison.measure import Judge, Measured, check, judge
from scorefield.comparison.methods import DENOISERS, METHODS, NETWORKS, TEACHERS, Method, recipe
from scorefield.data import Source
from scorefield.likelihood import log_prob
from scorefield.networks.latent import count
from scorefield.recipes.presets import distilled
from scorefield.runs import Trained
from scorefield.storage import files
from scorefield.training import fit

FORMAT = 1
LEARNED_ON = 30  # steps, on whose second half a step's time is measured
IMPORTANCE = 200  # draws of the VAE's bound
SCORED = 200  # held-out data whose likelihood is computed


@dataclass(frozen=True)
class Result:
    """Of one method and seed."""

    method: str
    seed: int
    measured: Measured
    likelihood: float | None  # in nats a dimension, of held-out data in their own units
    nfe: int
    seconds: float  # of the processor, a sample
    parameters: int  # of what draws
    trained: int  # of all that was trained for it
    training: float  # seconds of the processor, teachers among them


@dataclass(frozen=True)
class Study:
    """What a folder holds."""

    folder: Path
    data: str
    metric: str
    modes: int
    floor: Measured
    entropy: float | None  # the best likelihood there is, in nats a dimension; none where it is not known
    results: dict[str, list[Result]]  # by method, in the order of METHODS

    def best(self) -> str:
        """The method whose median distance is smallest."""
        return min(self.results, key=lambda name: float(np.median([r.measured.distance for r in self.results[name]])))


def compare(
    folder: str | os.PathLike[str],
    data: str = "25-gaussians",
    *,
    seconds: float = 10.0,
    seeds: int = 5,
    samples: int | None = None,
    evaluations: int | None = None,
    methods: Sequence[str] | None = None,
    data_dir: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    warn: Callable[[str], None] = warn_caller,
) -> Study:
    """Trains every network for about `seconds`, draws by every method, and measures; what is there is not done again.

    Args:
        folder: made if missing.
        data: "25-gaussians", or another shape of separate modes; "digits", "mnist" or "fashion".
        seconds: of the processor, for training each network and seed: a number of steps for each kind of network that
            is measured once, and then kept; all that denoise have one. A student's teacher has the same beside it.
        seeds: 0, 1, ..., so many.
        samples: of each method and seed; 2,000 in the plane and 400 pictures unless given.
        evaluations: of the long chains; 500 in the plane and 100 for pictures unless given.
        methods: some of them, by name; all unless given.
        data_dir: where downloaded sets lie.
        say: takes a line on what is being done.
        warn: takes a line about a damaged checkpoint that was passed over.

    Raises:
        ValueError: for data or methods that are not known, numbers below 1, or a folder of another comparison.
        FileNotFoundError: for data that are not there.
    """
    flat = data in SHAPES
    samples = (2000 if flat else 400) if samples is None else samples
    evaluations = (500 if flat else 100) if evaluations is None else evaluations
    if not (seconds > 0 and seeds >= 1 and samples >= 2 and evaluations >= 4):
        raise ValueError(
            "seconds must be positive, seeds at least 1, samples 2 and evaluations 4; "
            f"got {seconds:g}, {seeds}, {samples} and {evaluations}"
        )
    chosen = _chosen(methods)
    recipe(next(iter(NETWORKS)), data, 1, 0)  # refuses data that are not known
    check(data)
    folder = Path(folder)
    plan = {"format": FORMAT, "data": data, "seconds": seconds, "samples": samples, "evaluations": evaluations}
    costs = _plan(folder, plan)
    work = _Work(folder, data, samples, evaluations, data_dir, say, warn, costs, plan)
    for seed in range(seeds):
        for method in chosen:
            work.result(method, seed)
    return load(folder, data_dir=data_dir)


def load(folder: str | os.PathLike[str], *, data_dir: Path | None = None) -> Study:
    """What was compared in a folder so far.

    Raises:
        FileNotFoundError: if nothing was.
    """
    folder = Path(folder)
    if not (folder / "plan.json").is_file():
        raise FileNotFoundError(f"no comparison at {folder}")
    plan = _json(folder / "plan.json")
    held = _Data(plan["data"], plan["samples"], data_dir)
    found: dict[str, list[Result]] = {}
    for method in METHODS:
        rows = [_json(p) for p in (folder / "results").glob(f"{file_of(method.name)}-seed*.json")]
        made = [Result(**{**row, "measured": Measured(**row["measured"])}) for row in rows]
        if made:
            found[method.name] = sorted(made, key=lambda r: r.seed)
    return Study(folder, plan["data"], held.judge.metric, held.judge.modes, held.judge.floor, held.entropy, found)


class _Data:
    """Read once, when it is asked for."""

    def __init__(self, data: str, samples: int, data_dir: Path | None) -> None:
        spec = recipe(next(iter(NETWORKS)), data, 1, 0).data.model_copy(update={"conditional": True})
        train = recipes.training_data(spec, data_dir=data_dir)
        self.test: Source = recipes.held_out(spec, data_dir=data_dir)[0]
        self.judge: Judge = judge(data, train, self.test, samples)
        self.entropy = None
        if data in SHAPES:
            law, x = make("data", data, SHAPES), self.test.batch(torch.arange(SCORED, device="cpu")).x
            self.entropy = float(law.log_prob(x).mean()) / x[0].numel()


class _Work:
    def __init__(
        self, folder: Path, data: str, samples: int, evaluations: int, data_dir: Path | None,
        say: Callable[[str], None], warn: Callable[[str], None], costs: dict[str, float], plan: dict[str, Any],
    ) -> None:  # fmt: skip
        self.folder, self.name, self.samples, self.evaluations = folder, data, samples, evaluations
        self.data_dir, self.say, self.warn, self.costs, self.plan = data_dir, say, warn, costs, plan
        self._data: _Data | None = None
        self._networks: dict[tuple[str, int], tuple[Trained, float, int]] = {}

    @property
    def data(self) -> _Data:
        self._data = self._data or _Data(self.name, self.samples, self.data_dir)
        return self._data

    def result(self, method: Method, seed: int) -> None:
        """Of this method and seed, if it is not there yet."""
        path = self.folder / "results" / f"{file_of(method.name)}-seed{seed}.json"
        if path.is_file():
            return
        run, training, trained = self.network(method.network, seed)
        self.say(f"seed {seed}: {method.name}")
        began = time.process_time()
        drawn = _draw(run, method, self.samples, self.evaluations, seed)
        seconds = (time.process_time() - began) / self.samples
        finite = drawn.raw[drawn.raw.double().flatten(1).isfinite().all(1)]
        measured = self.data.judge(finite if len(finite) > 1 else torch.zeros_like(drawn.raw))
        scored = self._likelihood(run, method, seed)
        parameters = count(run.model.decoder if isinstance(run.model, VAE) else run.model)
        result = Result(method.name, seed, measured, scored, drawn.nfe, seconds, parameters, trained, training)
        files.subfolder(path.parent)
        files.replace(path.with_suffix(".npz"), files.npz(raw=drawn.raw))
        files.replace(path, json.dumps({**asdict(result), "measured": measured._asdict()}).encode())

    def network(self, name: str, seed: int) -> tuple[Trained, float, int]:
        """The trained run, its seconds of training and its trained parameters, both with its teacher's."""
        if (name, seed) not in self._networks:
            self._networks[name, seed] = self._trained(name, seed)
        return self._networks[name, seed]

    def _trained(self, name: str, seed: int) -> tuple[Trained, float, int]:
        made = recipe(name, self.name, 1, seed)
        seconds, trained = 0.0, 0
        if name in TEACHERS:
            teacher, seconds, trained = self.network(TEACHERS[name], seed)
            assert teacher.folder is not None
            begun = recipe(TEACHERS[name], self.name, 1, seed)
            made = distilled(begun, str(teacher.folder.resolve())).model_copy(update={"name": made.name})
        steps, each = self._steps(name, made)
        made = made.model_copy(update={"training": made.training.model_copy(update={"steps": steps})})
        self.say(f"seed {seed}: training {name}, {steps} steps")
        folder = self.folder / "networks" / f"{file_of(name)}-seed{seed}"
        run = runs.train(folder, made, device="cpu", data_dir=self.data_dir, warn=self.warn)
        assert run is not None
        own = count(recipes.build(made, data_dir=self.data_dir).denoiser)
        return run, seconds + steps * each, trained + own

    def _steps(self, name: str, made: recipes.Recipe) -> tuple[int, float]:
        """So many as take the plan's seconds, and the seconds of one: measured once, and kept in the plan."""
        kind = "denoiser" if name in DENOISERS else name
        if kind not in self.costs:
            changes = made.training.model_copy(update={"steps": LEARNED_ON})
            built = recipes.build(made.model_copy(update={"training": changes}), data_dir=self.data_dir)
            clock = [time.process_time()]
            fit(built.denoiser, built.source, **built.fit, on_step=lambda _: clock.append(time.process_time()))
            half = np.diff(clock)[LEARNED_ON // 2 :]
            self.costs[kind] = float(half.mean())
            files.replace(self.folder / "plan.json", json.dumps({**self.plan, "costs": self.costs}, indent=1).encode())
        each = self.costs[kind]
        return max(LEARNED_ON, round(self.plan["seconds"] / each)), each

    def _likelihood(self, run: Trained, method: Method, seed: int) -> float | None:
        """Mean log p of held-out data in raw units, nats a dimension."""
        if not method.likelihood or run.transform is None:
            return None
        test = self.data.test
        rows = torch.arange(SCORED if len(run.event_shape) == 1 else SCORED // 4, device="cpu")
        x = run.to_model(test.batch(rows).x, rows, seed=seed)
        entries = x[0].numel()
        if method.likelihood == "bound":
            assert isinstance(run.model, VAE)
            values = run.model.bound(x, importance=IMPORTANCE, seed=seed)
        else:
            values = log_prob(run.denoiser, x, probes=None if entries <= 4 else 4, seed=seed).log_prob
        return float(values.double().mean() + run.transform.log_jacobian(entries)) / entries


def _draw(run: Trained, method: Method, n: int, budget: int, seed: int) -> runs.Drawn:
    if method.draw is None:
        return run.sample(n, seed=1000 + seed, tuned=False, nfe=method.nfe)
    solver, times = method.draw(run.denoiser, budget)
    return run.sample(n, seed=1000 + seed, tuned=False, solver=solver, times=times)


def _chosen(names: Sequence[str] | None) -> list[Method]:
    known = {method.name: method for method in METHODS}
    if names is None:
        return list(METHODS)
    if wrong := [name for name in names if name not in known]:
        raise ValueError(f"unknown method {wrong[0]!r}. {nearest(wrong[0], known)}")
    return [known[name] for name in names]


def _plan(folder: Path, plan: dict[str, Any]) -> dict[str, float]:
    """The costs of a step measured before in this folder; begins it if there is nothing."""
    path = folder / "plan.json"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        files.replace(path, json.dumps({**plan, "costs": {}}, indent=1).encode())
        return {}
    there = _json(path)
    for key, value in plan.items():
        if there.get(key) != value:
            raise ValueError(f"{folder} compares with {key} {there.get(key)!r}; got {value!r}: choose another folder")
    costs = there.get("costs")
    if not isinstance(costs, dict) or not all(isinstance(cost, int | float) and cost > 0 for cost in costs.values()):
        raise ValueError(f"{path} is damaged (it has no costs of a step)")
    return costs


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(files.read(path)))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({' '.join(str(error).split())})") from None


def file_of(name: str) -> str:
    """What the files of a method or network are called."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
