"""N steps are N/2 steps, a stop, and N/2 steps: to the bit, in every file a checkpoint has."""

import functools
import os
import shutil
import signal
from typing import Any

import pytest
import torch
from training_cases import data, denoiser, fit, left, rows

import scorefield as sf
from scorefield import losses, networks, training
from scorefield.data import HorizontalFlip, Scale
from scorefield.storage import checkpoints


def image_denoiser():
    torch.manual_seed(0)
    return sf.NetworkDenoiser(networks.UNet(1, width=8), sf.VP(), sf.V())


def compiled():
    model: Any = denoiser()
    model.net = torch.compile(model.net, backend="eager")
    return model


def compiled_within():
    """Parts of a network, and of these a part: names such as blocks._orig_mod.0._orig_mod.weight."""
    model: Any = denoiser()
    net = model.net
    for name, child in list(net.named_children()):
        for inner, grandchild in list(child.named_children()):
            setattr(child, inner, torch.compile(grandchild, backend="eager"))
        if not isinstance(child, torch.nn.ModuleList):
            setattr(net, name, torch.compile(child, backend="eager"))
    assert any("_orig_mod." in key for key in net.state_dict())
    return model


class Ramp(sf.Schedule, torch.nn.Module):
    """alpha = exp(-w t^2) with a w that learns."""

    def __init__(self):
        torch.nn.Module.__init__(self)
        self.w = torch.nn.Parameter(torch.tensor(2.0))

    def alpha(self, t):
        return torch.exp(-self.w.double() * t**2)

    def sigma(self, t):
        return torch.sqrt(1e-6 - torch.expm1(-2 * self.w.double() * t**2))


def of_ramp():
    return sf.NetworkDenoiser(denoiser().net, Ramp(), sf.V())


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
    "float64": {"model": lambda: denoiser().double()},
    "bfloat16": {"model": lambda: denoiser().to(torch.bfloat16)},
    "a network that its owner compiled": {"model": compiled},
    "a network whose parts are compiled": {"model": compiled_within, "power_ema": (0.1,)},
    "a schedule that learns": {"model": of_ramp, "lr": 0.05},
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


WAYS: dict[str, Any] = {
    "plain": denoiser,
    "compiled": compiled,
    "compiled within": compiled_within,
}


@pytest.mark.parametrize("first", WAYS)
@pytest.mark.parametrize("then", WAYS)
def test_a_run_goes_on_and_loads_however_its_network_is_compiled(tmp_path, first, then):
    options = {"power_ema": (0.1,), "optimizer": training.Muon()}
    whole = fit(tmp_path / "whole", **options)
    fit(tmp_path / "run", model=WAYS[first](), on_step=stop_at(7), **options)
    again = fit(tmp_path / "run", model=WAYS[then](), **options)
    assert again.history.loss == whole.history.loss
    assert left(tmp_path / "run", 20) == left(tmp_path / "whole", 20)  # names and all
    x, net = data(5), WAYS[then]().net
    for loaded in (sf.load(tmp_path / "run"), sf.load(tmp_path / "run", net=net)):
        assert torch.equal(loaded.denoiser(x, 0.3), whole.denoiser(x, 0.3))


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


CHANGED = {
    "schedule": ({"model": lambda: sf.NetworkDenoiser(denoiser().net, sf.VP(), sf.EDMPreconditioning())}, "EDM", "VP"),
    "schedule.sigma_max": (
        {"model": lambda: sf.NetworkDenoiser(denoiser().net, sf.EDM(sigma_max=9.0), sf.EDMPreconditioning())},
        "80.0",
        "9.0",
    ),
    "parameterization": ({"model": lambda: sf.NetworkDenoiser(denoiser().net, sf.EDM(), sf.V())}, "EDMPrecond", "V"),
    "data_std": (
        {"model": lambda: sf.NetworkDenoiser(denoiser().net, sf.EDM(), sf.EDMPreconditioning(), data_std=2.0)},
        "",
        "2.0",
    ),
    "level": (
        {"model": lambda: sf.NetworkDenoiser(denoiser().net, sf.EDM(), sf.EDMPreconditioning(), level=torch.sin)},
        "None",
        "sin",
    ),
    "net.dropout": ({"model": lambda: denoiser(dropout=0.5)}, "0.0", "0.5"),
    "seed": ({"seed": 5}, "0", "5"),
    "batch_size": ({"batch_size": 10}, "12", "10"),
    "lr": ({"lr": 1e-3}, "0.01", "0.001"),
    "warmup": ({"warmup": 5}, "3", "5"),
    "decay": ({"decay": training.constant}, "cosine", "constant"),
    "optimizer": ({"optimizer": training.Muon()}, "AdamW", "Muon"),
    "optimizer.weight_decay": ({"optimizer": training.AdamW(weight_decay=0.1)}, "0.0", "0.1"),
    "ema_decay": ({"ema_decay": 0.9}, "0.999", "0.9"),
    "clip": ({"clip": 2.0}, "1.0", "2.0"),
    "loss": ({"loss": losses.sliced}, "denoising", "sliced"),
    "times": ({"times": losses.Stratified(losses.Uniform())}, "Uniform", "Stratified"),
    "weight": ({"weight": losses.weights.MinSNR()}, "None", "MinSNR"),
    "transform": ({"transform": Scale(2.0, 0.0)}, "None", "Scale"),
    "condition_dropout": ({"condition_dropout": 0.3}, "0.1", "0.3"),
    "data.count": ({"data": torch.zeros(49, 2) + torch.arange(2)}, "50", "49"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_run_does_not_go_on_as_another(tmp_path, name):
    fit(tmp_path / "run", steps=7)
    before = left(tmp_path / "run", 7)
    change, there, here = CHANGED[name]
    change = {key: value() if key == "model" else value for key, value in change.items()}
    said = rf"step-000007 is of another run: {name} is {there}.* there; got ({here})"
    with pytest.raises(ValueError, match=said) as refused:
        fit(tmp_path / "run", **change)
    assert "\n" not in str(refused.value)
    assert left(tmp_path / "run", 7) == before
    assert not fit(tmp_path / "run", steps=7).interrupted  # it is what it was


def test_a_run_does_not_go_on_with_other_keywords_of_its_loss(tmp_path):
    begun = functools.partial(losses.sliced, projections=2)
    fit(tmp_path / "run", steps=7, loss=begun)
    for loss, said in (
        (functools.partial(losses.sliced, projections=3), "loss.projections is 2 there; got 3"),
        (functools.partial(losses.sliced), "loss.projections is 2 there; got not given"),
        (functools.partial(begun, variance_reduced=False), "loss.variance_reduced is not given there; got False"),
    ):
        with pytest.raises(ValueError, match=f"step-000007 is of another run: {said}"):
            fit(tmp_path / "run", loss=loss)
    assert fit(tmp_path / "run", steps=8, loss=functools.partial(losses.sliced, projections=2)).history.step[-1] == 8


def test_a_run_may_go_on_for_longer_and_on_another_machine(tmp_path):
    fit(tmp_path / "run", steps=7)
    result = fit(
        tmp_path / "run", model=compiled(), steps=9, accumulate=3, patience=1, rollbacks=0, checkpoint_every=2,
        progress=True,
    )  # fmt: skip
    assert result.history.step == list(range(1, 10))
    assert left(tmp_path / "run", 8)


def test_a_checkpoint_without_a_record_goes_on_by_its_seed(tmp_path):
    """As 0.1.0 wrote them."""
    fit(tmp_path / "run", steps=7)
    path = tmp_path / "run" / "checkpoints" / "step-000007"
    state = checkpoints.read_state(path)
    del state["record"]
    files = {file.name: file.read_bytes() for file in path.glob("*.safetensors")}
    shutil.rmtree(path)
    checkpoints.write(path.parent, 7, files, state)
    with pytest.raises(ValueError, match="of another run: seed is 0 there; got 1"):
        fit(tmp_path / "run", seed=1)
    assert fit(tmp_path / "run").history.step == list(range(1, 21))


def test_a_signal_in_the_last_step_is_no_interruption(tmp_path):
    result = fit(tmp_path / "run", on_step=stop_at(20))
    assert not result.interrupted
    assert left(tmp_path / "run", 20)
