"""N steps are N/2 steps, a stop, and N/2 steps: to the bit, in every file a checkpoint has."""

import functools
import os
import signal

import pytest
import torch
from training_cases import denoiser, fit, left, rows

import scorefield as sf
from scorefield import losses, networks, training
from scorefield.data import HorizontalFlip, Scale


def image_denoiser():
    torch.manual_seed(0)
    return sf.NetworkDenoiser(networks.UNet(1, width=8), sf.VP(), sf.V())


CASES = {
    "AdamW": {},
    "Muon": {"optimizer": training.Muon()},
    "dropout": {"model": functools.partial(denoiser, dropout=0.3)},
    "dropped labels": {
        "model": functools.partial(denoiser, classes=3),
        "labels": torch.arange(50) % 3,
        "condition_dropout": 0.4,
    },
    "channels last": {
        "model": image_denoiser,
        "data": torch.randn(50, 1, 4, 4, generator=torch.Generator().manual_seed(3)),
        "optimizer": training.Muon(),
        "channels_last": True,
    },
    "accumulation": {"accumulate": 3, "model": functools.partial(denoiser, dropout=0.3)},
    "a loss with weights of its own": {"loss": losses.Uncertainty, "optimizer": training.Muon()},
    "strata, dequantisation, augmentation": {
        "times": losses.Stratified(losses.LogNormal(sf.EDM(), mean=-0.5)),
        "data": torch.arange(100).reshape(50, 2) % 7,
        "transform": Scale(0.5, -1.5, 7),
        "augment": HorizontalFlip(0.5),
    },
    "averages of three lengths": {"power_ema": (0.05, 0.1), "ema_decay": 0.9},
    "inverse square root": {"decay": training.inverse_sqrt},
}


def made(case):
    """The case's arguments, with parts that keep weights made anew."""
    arguments = dict(CASES[case])
    for name in ("model", "loss"):
        if name in arguments:
            arguments[name] = arguments[name]()
    return arguments


def stop_at(step, number=signal.SIGTERM):
    """Sends this process the signal in the middle of a run, after `step` steps."""
    return lambda p: os.kill(os.getpid(), number) if p.step == step else None


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_was_stopped_ends_as_one_that_never_was(tmp_path, case):
    whole = fit(tmp_path / "whole", **made(case))
    for number, at in ((signal.SIGTERM, 7), (signal.SIGINT, 13)):  # neither is a step that would be saved anyway
        part = fit(tmp_path / "parts", **made(case), on_step=stop_at(at, number))
        assert part.interrupted
        assert part.history.step == list(range(1, at + 1))
    parts = fit(tmp_path / "parts", **made(case))
    assert not parts.interrupted
    assert left(tmp_path / "parts", 20) == left(tmp_path / "whole", 20)
    for name in ("step", "loss", "lr", "gradient_norm"):
        assert getattr(parts.history, name) == getattr(whole.history, name)
    assert parts.levels == whole.levels
    kept = (dict(result.denoiser.named_parameters()) for result in (parts, whole))
    assert all(torch.equal(a, b) for a, b in zip(*(d.values() for d in kept), strict=True))


def test_the_comparison_sees_a_lost_optimiser(tmp_path, monkeypatch):
    """What the test above would show if a resumed run forgot AdamW's moments."""
    fit(tmp_path / "whole")
    fit(tmp_path / "parts", on_step=stop_at(7))
    monkeypatch.setattr("scorefield.training.engine._keys", lambda saved, name: [])
    fit(tmp_path / "parts")
    assert left(tmp_path / "parts", 20)["model.safetensors"] != left(tmp_path / "whole", 20)["model.safetensors"]


def test_time_goes_on_from_where_it_stopped(tmp_path):
    fit(tmp_path / "run", on_step=stop_at(7))
    before = rows(tmp_path / "run")[-1]["seconds"]
    after = fit(tmp_path / "run").history.seconds
    assert after[6] == before
    assert after == sorted(after)


def test_lines_after_the_checkpoint_are_cut_and_trained_again(tmp_path):
    """As after a kill: four more steps in the log than in the checkpoint, the last of them cut off."""
    fit(tmp_path / "whole")
    fit(tmp_path / "parts", on_step=stop_at(10))
    log = tmp_path / "parts" / "metrics.jsonl"
    further = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines(keepends=True)[10:14]
    log.write_text(log.read_text() + "".join(further)[:-9])
    result = fit(tmp_path / "parts")
    assert result.history.step == list(range(1, 21))
    assert rows(tmp_path / "parts", "seconds") == rows(tmp_path / "whole", "seconds")


def test_a_run_without_its_log_goes_on_all_the_same(tmp_path):
    fit(tmp_path / "whole")
    fit(tmp_path / "parts", on_step=stop_at(10))
    (tmp_path / "parts" / "metrics.jsonl").unlink()
    result = fit(tmp_path / "parts", on_step=stop_at(14))
    assert result.interrupted
    assert result.history.step == [11, 12, 13, 14]
    assert fit(tmp_path / "parts").history.step == list(range(11, 21))
    assert left(tmp_path / "parts", 20) == left(tmp_path / "whole", 20)


def test_a_finished_run_is_left_as_it_is(tmp_path):
    whole = fit(tmp_path / "run")
    before = left(tmp_path / "run", 20), (tmp_path / "run" / "metrics.jsonl").read_text()
    again = fit(tmp_path / "run", on_step=lambda p: pytest.fail("it is at its end"))
    assert (left(tmp_path / "run", 20), (tmp_path / "run" / "metrics.jsonl").read_text()) == before
    assert again.history == whole.history
    assert not again.interrupted


def test_a_checkpoint_of_another_network_is_refused_in_one_line(tmp_path):
    fit(tmp_path / "run", on_step=stop_at(7))
    with pytest.raises(ValueError, match=r"step-000007 is of another run: net.num_classes is None there; got 3"):
        fit(tmp_path / "run", model=denoiser(classes=3))
    with pytest.raises(ValueError, match=r"step-000007 is of another run: power_ema is \[\] there; got \[0.05\]"):
        fit(tmp_path / "run", power_ema=(0.05,))
    with pytest.raises(ValueError, match=r"step-000007 is of another run: loss is denoising there; got Uncertainty"):
        fit(tmp_path / "run", loss=losses.Uncertainty())


def test_a_signal_in_the_last_step_is_no_interruption(tmp_path):
    result = fit(tmp_path / "run", on_step=stop_at(20))
    assert not result.interrupted
    assert left(tmp_path / "run", 20)
