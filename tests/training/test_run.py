"""A run folder: what it keeps, whom it tells, and what it does when the numbers stop being numbers."""

import errno
import json
import math
import os
import re
import warnings
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from training_cases import data, denoiser, fit, left, rows

import scorefield as sf
from scorefield import losses, training
from scorefield.data import Arrays
from scorefield.storage import checkpoints
from scorefield.training import batches
from scorefield.training.engine import Engine
from scorefield.training.levels import LossByLevel


class Broken(nn.Module):
    """The denoising loss, but at the given steps, counted from 1, a value or a gradient that is not finite."""

    def __init__(self, steps, gradient=False, value=math.nan):
        super().__init__()
        self.steps, self.gradient, self.value, self.calls = set(steps), gradient, value, 0

    def forward(self, denoiser, x0, **draws):
        self.calls += 1
        values = losses.denoising(denoiser, x0, **draws)
        if self.calls not in self.steps:
            return values
        if self.gradient:
            return values + torch.sqrt(values - values.detach())  # 0 in value, infinite in slope
        return values * self.value


def saved(folder):
    return sorted(int(path.name[5:]) for path in (folder / "checkpoints").glob("step-*"))


@pytest.mark.parametrize("gradient", [False, True], ids=["loss", "gradient"])
def test_a_few_bad_steps_are_passed_over_and_the_run_ends_whole(tmp_path, gradient):
    result = fit(tmp_path, loss=Broken({4, 5, 6, 12}, gradient))
    norms = zip(result.history.step, result.history.gradient_norm, strict=True)
    bad = [step for step, norm in norms if not math.isfinite(norm)]
    assert bad == [4, 5, 6, 12]
    assert saved(tmp_path) == [10, 20]
    assert all(math.isfinite(loss) for loss in result.history.loss) == gradient
    weights = safetensors.torch.load(left(tmp_path, 20)["model.safetensors"])
    assert all(w.isfinite().all() for w in weights.values())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_loss_at_each_noise_level_survives_bad_steps(tmp_path, value):
    result = fit(tmp_path, loss=Broken({4, 12}, value=value))
    assert len(result.levels) > 3
    assert all(math.isfinite(loss) for _, loss in result.levels)


def test_levels_are_means_of_what_is_finite():
    levels = LossByLevel()
    levels.update(torch.tensor([0.1, 0.2, 0.3, 3.1]), torch.tensor([1.0, math.nan, 3.0, math.inf]))
    assert levels.table() == [(pytest.approx(math.exp(0.25)), 2.0)]
    levels.update(torch.tensor([-math.inf, math.inf, -50.0]), torch.tensor([5.0, 7.0, 6.0]))  # t = 0 and t = 1
    middles, means = zip(*levels.table(), strict=True)
    assert middles == pytest.approx([math.exp(x) for x in (-7.75, 0.25, 7.75)])
    assert means == (5.5, 2.0, 7.0)


def test_levels_forget_at_the_stated_rate():
    """Of a bin that holds `memory` samples, n new ones replace the share n / memory."""
    levels = LossByLevel(memory=100)
    levels.update(torch.full((100,), 0.1), torch.zeros(100))
    levels.update(torch.full((20,), 0.1), torch.ones(20))
    assert levels.table() == [(pytest.approx(math.exp(0.25)), pytest.approx(0.2))]


def test_more_bad_steps_than_patience_take_up_the_last_checkpoint(tmp_path):
    """Checkpoints at 5, 10, ...; steps 12 to 15 are bad: before step 16 weights and averages are those of 10 again."""
    model, seen = denoiser(), {}

    def look(p):
        seen[p.step] = [p.detach().clone() for p in model.net.parameters()]

    fit(tmp_path, model=model, loss=Broken(range(12, 16)), patience=3, checkpoint_every=5, keep=9, on_step=look)
    assert saved(tmp_path) == [5, 10, 20]  # none of the bad step 15
    assert all(torch.equal(a, b) for a, b in zip(seen[11], seen[15], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(seen[10], seen[11], strict=True))
    # the same from outside: a run that goes on from 10 with step 16
    once_more = denoiser()
    options = training.Options(steps=20, batch_size=12, warmup=3, lr=1e-2)
    engine = Engine(training.DenoisingObjective(once_more, Broken(range(12, 16))), Arrays(data()), options)
    folder = tmp_path / "checkpoints" / "step-000010"
    engine.load(folder, checkpoints.read_state(folder))
    for step in range(15, 20):
        engine.step(step)
    assert all(torch.equal(a, b) for a, b in zip(seen[20], once_more.net.parameters(), strict=True))


def test_where_nothing_helps_the_run_stops_with_a_dump_of_what_it_saw(tmp_path):
    """Bad from step 12 on: after 4 bad steps the checkpoint of 10, twice; then a line, and the batch of step 23."""
    with pytest.raises(FloatingPointError) as stopped:
        fit(tmp_path, loss=Broken(range(12, 99)), patience=3, rollbacks=2, steps=40)
    folder = tmp_path / "dump-step-000023"
    assert str(stopped.value) == (
        "loss is nan at step 23, 4 in a row; lower lr, or keep t away from 0 and 1. "
        f"What it saw is in {folder}."
    )  # fmt: skip
    batch = safetensors.torch.load_file(folder / "batch.safetensors")
    expected = data()[batches.rows(50, batches.positions(22, 12), 0)]
    assert torch.equal(batch["x0"], expected)
    assert batch["t"].shape == (12,)
    at_10 = safetensors.torch.load(left(tmp_path, 10)["model.safetensors"])
    dumped = safetensors.torch.load_file(folder / "model.safetensors")
    assert all(torch.equal(dumped[name], w) for name, w in at_10.items())
    assert [row["step"] for row in rows(tmp_path)] == list(range(1, 24))
    assert saved(tmp_path) == [10]


def test_a_dump_of_labelled_data_holds_the_labels(tmp_path):
    with pytest.raises(FloatingPointError):
        fit(tmp_path, loss=Broken(range(1, 9)), patience=0, model=denoiser(classes=3), labels=torch.arange(50) % 3)
    batch = safetensors.torch.load_file(tmp_path / "dump-step-000001" / "batch.safetensors")
    assert torch.equal(batch["label"], batches.rows(50, batches.positions(0, 12), 0) % 3)
    assert batch["null"].dtype == torch.bool


def test_the_log_is_json_that_anything_can_read(tmp_path):
    def refuse(name):
        pytest.fail(f"{name} is not JSON")

    result = fit(tmp_path, loss=Broken({4}))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    logged = [json.loads(line, parse_constant=refuse) for line in lines]
    assert logged[3]["loss"] is None
    assert [row["loss"] for row in logged if row["step"] != 4] == [x for x in result.history.loss if math.isfinite(x)]
    again = fit(tmp_path, loss=Broken({4}))
    assert math.isnan(again.history.loss[3])
    assert again.history.lr == result.history.lr


class Listener:
    """A logger that remembers."""

    def __init__(self):
        self.told, self.closed = [], 0

    def log(self, step, values):
        assert not self.closed
        self.told.append((step, dict(values)))

    def close(self):
        self.closed += 1


def test_loggers_hear_every_step_and_are_closed_whatever_happens(tmp_path):
    one, two = Listener(), Listener()
    fit(tmp_path / "well", loggers=[one])
    assert [step for step, _ in one.told] == list(range(1, 21))
    assert [{"step": step, **values} for step, values in one.told] == rows(tmp_path / "well")
    assert one.closed == 1
    with pytest.raises(FloatingPointError):
        fit(tmp_path / "ill", loggers=[two], loss=Broken(range(3, 99)))
    assert two.closed == 1
    assert [step for step, _ in two.told] == list(range(1, 7))


def test_tensorboard_gets_the_numbers(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore

    result = fit(tmp_path, loggers=[training.TensorBoard(tmp_path / "tensorboard")])
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    told = events.Scalars("loss")
    assert [e.step for e in told] == result.history.step
    assert [e.value for e in told] == pytest.approx(result.history.loss, rel=1e-6)


def test_samples_are_drawn_from_the_average_at_their_steps(tmp_path):
    drawn = {}

    def draw(model, step):
        drawn[step] = {f"net.{name}": w.clone() for name, w in model.net.state_dict().items()}

    run = training.Run(tmp_path, checkpoint_every=5, sample_every=10, on_sample=draw, keep=9)
    with run.opened():
        training.fit(denoiser(), data(), run=run, steps=20, batch_size=12)
    assert list(drawn) == [10, 20]
    for step, weights in drawn.items():
        kept = safetensors.torch.load(left(tmp_path, step)["ema.safetensors"])
        assert all(torch.equal(kept[name], w) for name, w in weights.items())


def test_a_disk_that_fills_during_training_is_one_line_and_the_last_checkpoint_goes_on(tmp_path, monkeypatch):
    fit(tmp_path / "whole")

    def full(name):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill(p):
        if p.step == 15:
            monkeypatch.setattr(checkpoints, "_boundary", full)

    with pytest.raises(OSError, match="No space left on device") as stopped:
        fit(tmp_path / "run", on_step=fill)
    assert stopped.value.filename == str(tmp_path / "run" / "checkpoints" / "step-000020")
    monkeypatch.undo()
    fit(tmp_path / "run")
    assert left(tmp_path / "run", 20) == left(tmp_path / "whole", 20)


def test_a_log_that_cannot_grow_is_named(tmp_path, monkeypatch):
    def full(descriptor, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = training.Run(tmp_path)
    with run.opened():
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left") as stopped:
            run.after(training.Progress(1, 2, 0.5, 0.1, 1.0, 0.1), None)  # type: ignore[arg-type]
        monkeypatch.undo()
    assert stopped.value.filename == str(tmp_path / "metrics.jsonl")


class Quiet(nn.Module):
    """Keeps no argument, which a checkpoint would need to make it again."""

    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, width), nn.SiLU(), nn.Linear(width, 2))

    def forward(self, x, level):
        return self.layers(x)


def quiet(**how):
    return sf.NetworkDenoiser(Quiet(8), sf.VP(), sf.V(), **how)


def test_a_model_that_a_checkpoint_cannot_describe_is_said_before_it_trains_and_never_lost(tmp_path):
    said = r"load will need net=\.\.\., level=\.\.\.: Quiet can't be described: .*'width'"

    def look(p):
        assert len(heard) == 1  # by the first step

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        result = fit(tmp_path, model=quiet(level=torch.sin), on_step=look)
    assert re.search(said, str(heard[0].message))
    assert len(heard) == 1
    with pytest.raises(ValueError, match=said):
        sf.load(tmp_path)
    loaded = sf.load(tmp_path, net=Quiet(8), level=torch.sin).denoiser
    x = torch.randn(4, 2)
    assert torch.equal(loaded(x, 0.4), result.denoiser(x, 0.4))


class Unsaid(training.DenoisingObjective):
    def state(self):
        return {**super().state(), "who": self}


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"model": lambda: Unsaid(denoiser())}, "state must be plain values that JSON can hold"),
        (
            {"model": lambda: quiet(data_std=torch.ones(2))},
            r"data_std must be one number to be saved; got shape \(2,\)",
        ),
        ({"meta": {"who": object()}}, "meta must be plain values that JSON can hold"),
    ],
)
def test_what_cannot_be_saved_is_found_out_before_the_first_step(tmp_path, how, said):
    run = training.Run(tmp_path / "new" / "run", meta=how.get("meta"))
    model = how.get("model", denoiser)()
    with pytest.raises(ValueError, match=said):
        training.fit(model, data(), run=run, steps=5, batch_size=10, on_step=lambda p: pytest.fail("it trains"))


def test_numbers_of_a_run_are_whole_and_of_any_library(tmp_path):
    make: Any = training.Run
    run = make(
        str(tmp_path / "run"), meta={"n": np.int64(3)}, checkpoint_every=np.int64(2), keep=torch.tensor(2),
        keep_every=np.int32(4),
    )  # fmt: skip
    training.fit(denoiser(), data(), run=run, steps=np.int64(9), batch_size=np.int64(10))
    assert saved(tmp_path / "run") == [4, 8, 9]
    assert sf.load(tmp_path / "run").meta == {"n": 3, "step": 9, "steps": 9}
    for name in ("checkpoint_every", "keep", "keep_every", "sample_every"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1; got 0"):
            make(tmp_path, **{name: 0})
        with pytest.raises(TypeError, match=f"{name} must be a whole number; got 1.5"):
            make(tmp_path, **{name: 1.5})


def test_a_checkpoint_of_another_format_stops_a_run_and_is_kept(tmp_path):
    fit(tmp_path, steps=7)
    manifest = tmp_path / "checkpoints" / "step-000007" / "manifest.json"
    later = manifest.read_text().replace('"format": 1', '"format": 2')
    manifest.write_text(later)
    for again in (lambda: fit(tmp_path), lambda: sf.load(tmp_path)):
        with pytest.raises(ValueError, match="step-000007 has checkpoint format 2; this version reads 1"):
            again()
    assert manifest.read_text() == later
    assert saved(tmp_path) == [7]
    assert len(rows(tmp_path)) == 7
