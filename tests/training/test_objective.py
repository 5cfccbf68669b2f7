"""What is no denoiser is trained, stopped, killed and resumed as one is: an autoencoder; a critic and a generator."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import objective_cases
import pytest
import safetensors.torch
import torch
from objective_cases import MADE, STEPS, Autoencoder, Pair, Spectral, Uneven, data, f64, fit
from torch import nn
from training_cases import data as points
from training_cases import denoiser, left, rows

from scorefield import losses, networks, storage, training
from scorefield.data import Arrays
from scorefield.storage import checkpoints, weights
from scorefield.training import Turn, batches, distributed, precision
from scorefield.training.engine import Engine

CASES = {
    "autoencoder": (Autoencoder, {}),
    "pair": (Pair, {}),
    "pair, Muon, three averages, accumulation": (
        Pair,
        {"optimizer": training.Muon(outer=()), "power_ema": (0.05, 0.1), "accumulate": 3},
    ),
    "the generator in every third step": (Uneven, {}),
    "buffers that move": (Spectral, {}),
}


def stop_at(step, number):
    return lambda p: os.kill(os.getpid(), number) if p.step == step else None


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_was_stopped_ends_as_one_that_never_was(tmp_path, case):
    make, options = CASES[case]
    whole = fit(tmp_path / "whole", make(), **options)
    for number, at in ((signal.SIGTERM, 7), (signal.SIGINT, 13)):  # neither is a step that would be saved anyway
        part = fit(tmp_path / "parts", make(), on_step=stop_at(at, number), **options)
        assert part.interrupted
        assert part.history.step == list(range(1, at + 1))
    parts = fit(tmp_path / "parts", make(), **options)
    assert not parts.interrupted
    assert left(tmp_path / "parts", STEPS) == left(tmp_path / "whole", STEPS)
    assert rows(tmp_path / "parts", "seconds") == rows(tmp_path / "whole", "seconds")
    for name, values in whole.history.values.items():
        assert parts.history.values[name] == pytest.approx(values, rel=0, abs=0, nan_ok=True)
    for name, model in whole.models.items():
        kept = parts.models[name].state_dict()
        assert all(torch.equal(kept[key], value) for key, value in model.state_dict().items())


def start(*command):
    root = Path(__file__).parents[2]
    path = os.pathsep.join(filter(None, [str(root / "src"), str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *map(str, command)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("name", ["autoencoder", "pair"])
def test_a_process_killed_in_the_middle_of_a_step_costs_nothing(tmp_path, name, chance):
    """SIGKILL when some turn's loss is asked for: a critic may have moved in that step, its generator not yet."""
    fit(tmp_path / "whole", MADE[name]())
    for first, last in ((1, 10), (11, STEPS)):
        step, turn = chance.randrange(first, last), chance.choice(MADE[name].turns).name
        killed = start(objective_cases.__file__, name, tmp_path / "killed", "--kill", step, turn)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert len(rows(tmp_path / "killed")) == step
        newest = checkpoints.latest(tmp_path / "killed" / "checkpoints", pytest.fail)
        assert (newest and newest.name) == (None if step < 10 else "step-000010")
    fit(tmp_path / "killed", MADE[name]())
    assert left(tmp_path / "killed", STEPS) == left(tmp_path / "whole", STEPS)
    assert rows(tmp_path / "killed", "seconds") == rows(tmp_path / "whole", "seconds")


def apart(one, other):
    """The largest difference between two checkpoints' tensors."""
    assert one.keys() == other.keys()
    worst = 0.0
    for name in [name for name in one if name.endswith(".safetensors")]:
        a, b = safetensors.torch.load(one[name]), safetensors.torch.load(other[name])
        assert a.keys() == b.keys()
        worst = max([worst, *(float((a[key] - b[key]).abs().max()) for key in a)])
    return worst


# All is float64: sums of 12 terms in another order differ by 1e-16, and 8e-16 is the most that was seen after 20 steps.
# Adam divides a gradient by its own size, and so the difference by what may be 1e-2.
ROUNDING = 1e-13


@pytest.mark.parametrize("name", ["autoencoder", "pair", "uneven"])
def test_a_batch_in_pieces_is_the_whole_batch(tmp_path, name):
    fit(tmp_path / "whole", MADE[name]())
    fit(tmp_path / "pieces", MADE[name](), accumulate=4)
    whole, pieces = left(tmp_path / "whole", STEPS), left(tmp_path / "pieces", STEPS)
    assert apart(whole, pieces) < ROUNDING
    for one, other in zip(rows(tmp_path / "whole", "seconds"), rows(tmp_path / "pieces", "seconds"), strict=True):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-5)  # the log is float32


TORCHRUN = [
    "-m", "torch.distributed.run", "--nproc-per-node", "2",
    "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1",
]  # fmt: skip


@pytest.mark.distributed
@pytest.mark.parametrize(
    ("name", "options"),
    [("autoencoder", []), ("uneven", ["accumulate=2"]), ("pair", ["shard=True"])],
    ids=["autoencoder", "uneven, accumulation", "pair, sharded"],
)
def test_two_processes_are_one(tmp_path, name, options):
    fit(tmp_path / "one", MADE[name]())
    both = start(*TORCHRUN, objective_cases.__file__, name, tmp_path / "two", "--set", *options)
    assert both.returncode == 0, both.stderr
    assert apart(left(tmp_path / "one", STEPS), left(tmp_path / "two", STEPS)) < ROUNDING
    assert [row.keys() for row in rows(tmp_path / "one")] == [row.keys() for row in rows(tmp_path / "two")]


# Numbers that are not


def engine(objective, **options):
    options = {"steps": STEPS, "batch_size": 12, "warmup": 3, "lr": 1e-2, **options}
    return Engine(objective, Arrays(data()), training.Options(**options))


class Ill(Spectral):
    """In the steps `bad` the loss of `turn` is NaN, or only its gradient is infinite."""

    def __init__(self, turn, bad, gradient=False):
        super().__init__()
        self.turn, self.bad, self.gradient = turn, bad, gradient

    def forward(self, batch, draws, now):
        out = super().forward(batch, draws, now)
        if now.turn == self.turn and now.step in self.bad:
            loss = out["loss"]
            out["loss"] = loss + torch.sqrt(loss - loss.detach()) if self.gradient else loss * math.nan
        return out


@pytest.mark.parametrize("turn", ["critic", "generator"])
@pytest.mark.parametrize("gradient", [False, True], ids=["loss", "gradient"])
def test_a_step_that_is_not_finite_in_one_turn_leaves_all_of_them_as_they_were(turn, gradient):
    """Weights, buffers, averages and optimisers, and the steps after it are those of a run that did not know it."""
    ill, well = engine(Ill(turn, {0, 4, 5}, gradient)), engine(Spectral())
    for step in range(8):
        before = ill.files({})
        outcome = ill.step(step)
        bad = step in (0, 4, 5)
        assert outcome.finite == (not bad)
        assert (ill.files({}) == before) == bad
        if bad:
            assert outcome.trouble in (f"loss of '{turn}' is nan", f"gradient norm of '{turn}' is inf",
                                       f"gradient norm of '{turn}' is nan")  # fmt: skip
            assert ("generator.loss" in outcome.values) == (turn == "generator")  # after a bad turn comes none
        else:
            well.step(step)
    assert ill.files({}) == well.files({})


def test_a_run_that_stays_ill_says_in_which_turn_and_dumps_every_model(tmp_path):
    with pytest.raises(FloatingPointError) as stopped:
        fit(tmp_path, Ill("generator", range(11, 99)), patience=1, rollbacks=1, steps=40)
    folder = tmp_path / "dump-step-000015"
    told = f"loss of 'generator' is nan at step 15, 2 in a row; lower lr. What it saw is in {folder}."
    assert str(stopped.value) == told
    batch = safetensors.torch.load_file(folder / "batch.safetensors")
    assert torch.equal(batch["x0"], data()[batches.rows(50, batches.positions(14, 12), 0)])
    kept = left(tmp_path, 10)
    for name in ("generator", "critic"):
        assert all(w.isfinite().all() for w in safetensors.torch.load_file(folder / f"{name}.safetensors").values())
        dumped = weights.load(folder / f"{name}.safetensors")
        assert dumped.description["meta"] == {"step": 14}
        for key, value in safetensors.torch.load(kept[f"{name}.safetensors"]).items():
            assert torch.equal(dumped.tensors[key], value)
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["generator.loss"] is None


# What a turn sees and moves


class Watched(Pair):
    """Notes what each turn was handed, and which weights asked for gradients in it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, batch, draws, now):
        asked = {name for name, p in self.named_parameters() if p.requires_grad}
        self.seen.append((now, batch, draws.seed, draws.index, asked))
        return super().forward(batch, draws, now)


def test_turns_share_the_data_but_neither_the_noise_nor_the_weights():
    objective = Watched()
    at_work = engine(objective)
    for step in range(2):
        at_work.step(step)
    names = {
        part: {n for n, _ in objective.named_parameters() if n.startswith(part)} for part in ("critic", "generator")
    }
    assert [(now.turn, now.step, now.steps) for now, *_ in objective.seen] == [
        ("critic", 0, STEPS), ("generator", 0, STEPS), ("critic", 1, STEPS), ("generator", 1, STEPS),
    ]  # fmt: skip
    for now, batch, _, index, asked in objective.seen:
        assert torch.equal(index, batches.positions(now.step, 12))
        assert torch.equal(batch["x0"], data()[batches.rows(50, index, 0)])
        assert asked == names[now.turn]
    assert objective.seen[0][1] is objective.seen[1][1]  # read once
    assert objective.seen[0][2] != objective.seen[1][2]
    assert all(p.requires_grad for p in objective.parameters())


def test_each_turn_has_its_own_optimiser_and_rate():
    at_work = engine(Pair())
    before = {name: p.detach().clone() for name, p in at_work.objective.named_parameters()}
    at_work.step(0)
    # Adam's first step is the rate itself, here a third of its peak, but where a gradient is 0: a shift of the critic
    for name, p in at_work.objective.named_parameters():
        moved = float((p.detach() - before[name]).abs().max())
        rate = 1e-2 / 3 * (2 if name.startswith("critic") else 1)
        assert moved == (0 if name == "critic.2.bias" else pytest.approx(rate, rel=1e-3))
    kept = safetensors.torch.load(at_work.files({})["optim.safetensors"])
    for name, memory in (("critic.0.weight", 0.0), ("generator.0.weight", 0.9)):  # Adam's beta_1
        gradient = at_work.objective.get_parameter(name).grad
        assert gradient is not None
        torch.testing.assert_close(kept[f"{name}:exp_avg"], (1 - memory) * gradient)


def test_gradients_are_clipped_turn_by_turn():
    at_work = engine(Pair(), clip=0.01)
    outcome = at_work.step(0)
    for part in ("critic", "generator"):
        grads = [p.grad for n, p in at_work.objective.named_parameters() if n.startswith(part) and p.grad is not None]
        assert float(torch.cat([g.flatten() for g in grads]).norm()) == pytest.approx(0.01, rel=1e-4)
        assert outcome.values[f"{part}.gradient_norm"] > 0.1
    assert outcome.gradient_norm == outcome.values["critic.gradient_norm"]


def test_the_log_names_what_every_turn_names(tmp_path):
    result = fit(tmp_path, Uneven())
    logged = rows(tmp_path)
    every = ["step", "loss", "lr", "gradient_norm", "seconds", "critic.loss", "critic.penalty", "critic.gradient_norm"]
    for row in logged:
        assert list(row) == every + ["generator.loss", "generator.gradient_norm"] * (row["step"] % 3 == 0)
        assert row["loss"] == row["critic.loss"]
    told = result.history.values["generator.loss"]
    assert [math.isnan(value) for value in told] == [step % 3 != 0 for step in range(1, STEPS + 1)]
    again = fit(tmp_path, Uneven())
    assert again.history.values.keys() == result.history.values.keys()
    assert again.history.values["generator.loss"] == pytest.approx(told, rel=0, abs=0, nan_ok=True)


def test_what_is_averaged_is_what_the_objective_says(tmp_path):
    result = fit(tmp_path, objective := Pair())
    assert {name for name in left(tmp_path, STEPS) if name.endswith("safetensors")} == {
        "generator.safetensors", "generator-ema.safetensors", "critic.safetensors", "optim.safetensors",
    }  # fmt: skip
    assert list(result.models) == ["generator", "critic"]
    assert result.model is result.models["generator"]
    assert not any(module.training for module in result.models.values())
    assert result.models["critic"] is objective.critic  # the last weights: it is no average
    folder = tmp_path / "checkpoints" / f"step-{STEPS:06d}"
    for name, model in (("generator-ema", result.model), ("generator", objective.generator)):
        kept = weights.load(folder / f"{name}.safetensors")
        assert kept.description["model"] == "Sequential"
        assert kept.description["name"] == "generator"
        assert kept.description["meta"] == {"step": STEPS, "steps": STEPS}
        assert all(torch.equal(kept.tensors[key], value) for key, value in model.state_dict().items())
    pairs = zip(result.model.parameters(), objective.generator.parameters(), strict=True)
    assert not any(torch.equal(average, last) for average, last in pairs)
    with pytest.raises(ValueError, match="does not describe a denoiser"):
        storage.load(folder / "generator.safetensors")


# A teacher that is given, one that follows, and what else is kept


class Follower(training.Objective):
    """A line learns from a teacher that is given, and from a follower of its own; counts the steps that moved it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.line = nn.Linear(3, 1, dtype=f64)
        self.teacher = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 1, dtype=f64))
        self.follower = nn.Linear(3, 1, dtype=f64).requires_grad_(False)
        self.moved, self.seen = 0, []

    def models(self):
        return {"model": self.line}

    def frozen(self):
        return (self.teacher,)

    def forward(self, batch, draws, now):
        x = batch["x0"].double()
        self.seen.append(self.teacher.training)
        error = self.line(x) - self.teacher(x)
        return {"loss": (error.square() + (self.line(x) - self.follower(x)).square())[:, 0]}

    def updated(self, steps):
        self.moved += 1
        with torch.no_grad():
            for mine, now in zip(self.follower.parameters(), self.line.parameters(), strict=True):
                mine.lerp_(now, 1 / (steps + 1))

    def state(self):
        return {"moved": self.moved}

    def load_state(self, state):
        self.moved = state["moved"]

    def curves(self):
        return {"moved": [(0.0, float(self.moved))]}

    def note(self):
        return f" ({self.moved} moved)"


def test_a_teacher_is_left_alone_and_a_follower_is_kept(tmp_path):
    before = {name: value.clone() for name, value in Follower().teacher.state_dict().items()}
    whole = fit(tmp_path / "whole", objective := Follower())
    assert not any(objective.seen)  # in eval mode: its dropout would be noise that nobody asked for
    assert all(torch.equal(value, before[name]) for name, value in objective.teacher.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in objective.teacher.parameters())
    kept = left(tmp_path / "whole", STEPS)
    assert {name for name in kept if name.endswith("safetensors")} == {
        "model.safetensors", "ema.safetensors", "optim.safetensors",
    }  # fmt: skip
    others = {name for name in safetensors.torch.load(kept["optim.safetensors"]) if not name.startswith("line")}
    assert others == {"follower:weight", "follower:bias"}
    assert json.loads(kept["state.json"])["moved"] == STEPS
    assert whole.curves == {"moved": [(0.0, float(STEPS))]}
    fit(tmp_path / "parts", Follower(), on_step=stop_at(7, signal.SIGTERM))
    fit(tmp_path / "parts", Follower())
    assert left(tmp_path / "parts", STEPS) == kept


def test_the_bar_shows_the_objective_s_note(monkeypatch):
    from rich import progress as rich

    shown = []
    update = rich.Progress.update
    monkeypatch.setattr(rich.Progress, "update", lambda *args, **by: shown.append(by["note"]) or update(*args, **by))
    training.fit(Follower(), data(), steps=20, batch_size=12, progress=True)
    assert shown[18:] == ["", " (20 moved)"]


def test_a_checkpoint_of_another_objective_is_refused(tmp_path):
    fit(tmp_path, Follower(), on_step=stop_at(7, signal.SIGTERM))

    class Without(Follower):
        def frozen(self):
            return (self.teacher, self.follower)

    with pytest.raises(ValueError, match=r"step-000007 is of another run: objective is Follower there; got Without"):
        fit(tmp_path, Without())
    Without.__name__ = "Follower"  # as where a class was edited in its place
    with pytest.raises(ValueError, match=r"step-000007 is of another run: 'follower' is missing there"):
        fit(tmp_path, Without())
    with pytest.raises(ValueError, match=r"step-000007 is of another run: objective is Follower there; got Pair"):
        fit(tmp_path, Pair())


# The convenient face, and what is refused


def test_a_denoiser_is_an_objective_like_any_other():
    options: dict[str, Any] = {"steps": 5, "batch_size": 12, "warmup": 2}
    how: dict[str, Any] = {"loss": losses.denoising, "times": losses.Uniform(0.1, 0.9), "condition_dropout": 0.5}
    labels = torch.arange(50) % 3
    one = training.fit(denoiser(classes=3), points(), labels=labels, **how, **options)
    objective = training.DenoisingObjective(denoiser(classes=3), **how)
    other = training.fit(objective, points(), labels=labels, **options)
    assert one.history.loss == other.history.loss
    assert other.model is other.denoiser
    assert other.levels == other.curves["levels"] == one.levels
    for a, b in zip(one.denoiser.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not objective.training


def test_products_are_in_bfloat16_where_that_is_asked_for(monkeypatch):
    monkeypatch.setattr(precision, "native", lambda device: True)
    seen = []

    class Single(Follower):
        def forward(self, batch, draws, now):
            seen.append((nn.functional.linear(batch["x0"].float(), batch["x0"].float()).dtype, self.line.weight.dtype))
            return super().forward(batch, draws, now)

    for bf16 in (True, False):
        training.fit(Single(), data(), steps=1, batch_size=4, bf16=bf16)
    assert seen == [(torch.bfloat16, f64), (torch.float32, f64)]


def test_the_data_are_handed_on_as_they_are_with_their_labels():
    seen = []

    class Labelled(Follower):
        def forward(self, batch, draws, now):
            seen.append(batch)
            return super().forward(batch, draws, now)

    labels = torch.arange(50) % 3
    training.fit(Labelled(), data(), labels=labels, steps=1, batch_size=8)
    rows = batches.rows(50, batches.positions(0, 8), 0)
    assert seen[0].keys() == {"x0", "label"}
    assert torch.equal(seen[0]["x0"], data()[rows])
    assert torch.equal(seen[0]["label"], labels[rows])


def altered(**attributes):
    """A Pair with class attributes changed."""
    return type("Altered", (Pair,), attributes)()


BOTH = Pair.turns
REFUSED = {
    "no turn": (altered(turns=BOTH[:1]), "every weight must be moved by one turn; 'generator.0.weight' is moved by 0"),
    "two": (altered(turns=(*BOTH, Turn("again", ("critic",)))), "'critic.0.weight' is moved by 2"),
    "name": (altered(turns=(BOTH[0], Turn("critic", ("generator",)))), "turns must have names of their own"),
    "late": (altered(turns=(Turn("critic", ("critic",), every=2), BOTH[1])), "the first run in every step"),
    "none": (altered(turns=()), "turns must have names of their own"),
    "module": (altered(turns=(Turn("a", ("critics",)),)), "turn 'a' moves 'critics', which is no module of Altered"),
    "file": (altered(models=lambda self: {"optim": self.critic}), r"none of ema, optim, batch; got \['optim'\]"),
    "word": (altered(models=lambda self: {"../a": self.critic}), "models must have words for names"),
    "nothing": (altered(models=lambda self: {}), "models must have words for names"),
    "source": (altered(check=lambda self, source: _refuse("no such data")), "no such data"),
}


def _refuse(line):
    raise ValueError(line)


@pytest.mark.parametrize("case", REFUSED)
def test_objectives_that_cannot_be_trained_are_refused_in_one_line(case):
    objective, line = REFUSED[case]
    with pytest.raises(ValueError, match=line):
        engine(objective)


def test_what_cannot_be_done_is_said_when_it_is_asked_for(monkeypatch):
    with pytest.raises(ValueError, match="lr_ratio must be positive and every at least 1; got 0 and 1"):
        Turn(lr_ratio=0)
    with pytest.raises(ValueError, match="condition_dropout goes with a denoiser; Pair brings what it needs itself"):
        training.fit(Pair(), data(), condition_dropout=0.0, steps=1, batch_size=4)
    with pytest.raises(ValueError, match="condition_dropout must lie in"):
        training.DenoisingObjective(denoiser(), condition_dropout=1.5)
    with pytest.raises(ValueError, match="to be sharded every weight must be in a module; 'log_scale' is"):
        engine(Autoencoder(), shard=True)
    with pytest.raises(ValueError, match="forward must return a dict with the 'loss' of each sample in it"):
        engine(altered(forward=lambda self, batch, draws, now: batch["x0"].sum(1))).step(0)
    with pytest.raises(ValueError, match="state must not hold 'step', which is the engine's"):
        engine(altered(state=lambda self: {"step": 3})).state()

    class Timed(Follower):
        def forward(self, batch, draws, now):
            return {**super().forward(batch, draws, now), "seconds": batch["x0"]}

    with pytest.raises(ValueError, match="forward names 'seconds', which the log has of every step"):
        engine(Timed()).step(0)


def test_several_processes_need_a_gradient_of_every_weight(monkeypatch):
    """One that a loss leaves out would be waited for; a single process does without."""

    class Spare(Follower):
        def __init__(self):
            super().__init__()
            self.spare = nn.Linear(3, 1)

    engine(Spare()).step(0)
    for name, stand_in in (
        ("size", lambda: 2),
        ("mean", lambda values: values),
        ("wrap", lambda module, sharded: module),
    ):
        monkeypatch.setattr(distributed, name, stand_in)
    with pytest.raises(ValueError, match=r"a gradient of every weight; the loss does not depend on 'spare\.weight'"):
        engine(Spare()).step(0)


def test_dropout_layers_draw_from_the_samples_positions():
    """Of any objective: an autoencoder's masks, in pieces and whole."""
    masks = {}
    for accumulate in (1, 3):
        objective = Autoencoder()
        seen = masks.setdefault(accumulate, [])
        layer = next(m for m in objective.modules() if isinstance(m, networks.Dropout))
        layer.register_forward_hook(lambda m, args, out, seen=seen: seen.append(out == 0))
        at_work = engine(objective, accumulate=accumulate)
        torch.manual_seed(accumulate)  # not what they are drawn from
        at_work.step(0)
    assert torch.equal(torch.cat(masks[1]), torch.cat(masks[3]))
    assert any(mask.any() for mask in masks[1])
