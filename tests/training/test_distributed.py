"""Several processes are one: the same samples, the same weights, and a rank that dies costs nothing."""

import functools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from training_cases import data, denoiser, left, rows

from scorefield import losses, training
from scorefield.cli import main
from scorefield.data import Arrays, Scale
from scorefield.storage import checkpoints
from scorefield.training import batches, distributed
from scorefield.training.engine import Engine

ROOT = Path(__file__).parents[2]


def seen(monkeypatch, parts, accumulate=1):
    """(x0, t, noise, labels dropped, dropout's mask) of three steps, put together over `parts` processes."""
    caught = []

    def loss(model, x0, *, t, generator, cond):
        eps = generator.normal(x0.shape[1:])
        out = model(x0 + eps, t, **cond)
        caught.append((x0, t, eps, cond["null"], out.detach()))
        return (out - x0).square().mean(1)

    for part in range(parts):
        with monkeypatch.context() as patch:
            patch.setattr(distributed, "size", lambda: parts)
            patch.setattr(distributed, "rank", lambda part=part: part)
            patch.setattr(distributed, "mean", lambda values: values)
            patch.setattr(distributed, "wrap", lambda module, sharded: module)
            source = Arrays(torch.arange(100).reshape(50, 2) % 7, torch.arange(50) % 3, levels=7)
            options = training.Options(steps=3, batch_size=12, accumulate=accumulate, lr=1e-30)
            objective = training.DenoisingObjective(
                denoiser(dropout=0.3, classes=3), loss, times=losses.Stratified(losses.Uniform()),
                transform=Scale(0.5, -1.5, 7), condition_dropout=0.5,
            )  # fmt: skip
            engine = Engine(objective, source, options)
            for step in range(3):
                engine.step(step)
    per_part = len(caught) // parts
    order = [part * per_part + k * accumulate + a for k in range(3) for part in range(parts) for a in range(accumulate)]
    return [torch.cat([caught[i][j] for i in order]) for j in range(5)]


@pytest.mark.parametrize(("parts", "accumulate"), [(2, 1), (3, 2), (1, 4)])
def test_every_sample_is_the_same_in_one_process_and_in_several(monkeypatch, parts, accumulate):
    whole, split = seen(monkeypatch, 1), seen(monkeypatch, parts, accumulate)
    for name, a, b in zip(("x0", "t", "noise", "null"), whole, split, strict=False):
        assert torch.equal(a, b), name
    # the output, through dropout: the same up to the order in which matrix products add up
    torch.testing.assert_close(whole[4], split[4], rtol=1e-5, atol=1e-5)


def test_processes_together_see_each_position_of_a_step_once():
    pieces = [batches.positions(5, 24, part, 6) for part in range(6)]
    assert torch.equal(torch.cat(pieces), torch.arange(120, 144))


def test_sharding_alone_is_refused():
    with pytest.raises(ValueError, match="start them with torchrun"):
        training.fit(denoiser(), data(), steps=1, batch_size=4, shard=True)


# Real processes: `torchrun -m scorefield train`, gloo, this machine only

STEPS, EVERY = 60, 20
RECIPE = [
    "--preset", "two-moons", "--steps", str(STEPS), "--set", "training.batch_size=32", "--set", "network.hidden=32",
    "--set", "optim.warmup=5", "--set", f"logging.checkpoint_every={EVERY}", "--set", "network.dropout=0.1",
    "--set", "optim.power_ema=[0.1]", "--set", "optim.optimizer=Muon", "--set", "objective.uncertainty=true",
]  # fmt: skip
TORCHRUN = [
    "-m", "torch.distributed.run", "--nproc-per-node", "2",
    "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1",
]  # fmt: skip


def start(*command):
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    environment["PYTHONFAULTHANDLER"] = "1"  # should torch's own code crash, where
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process):
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    return said


def train_two(folder, *more):
    return finished(start(*TORCHRUN, "-m", "scorefield", "train", *RECIPE, "--out", folder, *more))


def train_one(folder, *more):
    """In this process: a start less."""
    with pytest.raises(SystemExit) as stopped:
        main(["train", *RECIPE, "--out", str(folder), *more])
    assert stopped.value.code == 0


def apart(one, other, step=STEPS):
    """The largest difference between two runs' weights, averages and optimisers."""
    one, other = left(one, step), left(other, step)
    assert one.keys() == other.keys()
    worst = 0.0
    for name in [name for name in one if name.endswith(".safetensors")]:
        a, b = safetensors.torch.load(one[name]), safetensors.torch.load(other[name])
        assert a.keys() == b.keys()
        worst = max([worst, *(float((a[k].double() - b[k].double()).abs().max()) for k in a)])
    return worst


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one"
    train_one(folder)
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "two"
    said = train_two(folder)
    assert "Warning" not in said
    assert said.count("steps in") == 1  # one of them speaks
    return folder


def workers(launcher):
    """The processes that a torchrun started, by rank."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    ranks = {}
    for child in children:
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        ranks |= {int(entry[5:]): int(child) for entry in environment if entry.startswith(b"RANK=")}
    return ranks


def lines(folder):
    path = folder / "metrics.jsonl"
    return len(path.read_bytes().splitlines()) if path.is_file() else 0


# After 60 steps of Muon; float32 sums in another order differ by 1e-7 at once, and a little more with every step.
TOLERANCE = 2e-5


@pytest.mark.distributed
def test_two_processes_learn_the_weights_of_one(one, two):
    assert 0 < apart(one, two) < TOLERANCE
    losses = [[row["loss"] for row in rows(folder)] for folder in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4, abs=1e-4)


@pytest.mark.distributed
@pytest.mark.parametrize("loss", ["lagrangian", "mean_flow"])
def test_a_flow_map_learns_in_two_processes_what_it_learns_in_one(tmp_path, loss):
    """Gradients of forward-mode derivatives are averaged as others are."""
    changes = ["task=flow-map", f"objective.loss={loss}", "objective.times=UniformAngle", "objective.uncertainty=false"]
    more = ["--steps", str(EVERY), *(word for change in changes for word in ("--set", change))]
    train_one(tmp_path / "one", *more)
    train_two(tmp_path / "two", *more)
    assert 0 < apart(tmp_path / "one", tmp_path / "two", EVERY) < TOLERANCE


@pytest.mark.distributed
def test_sharded_weights_are_the_weights_of_one(one, tmp_path):
    """Started as a cluster would. FSDP2 over gloo once crashed here, in torch's own threads ("unaligned tcache chunk"),
    and not again in some thousand steps: a crash costs a restart and changes no weight, and its stack is printed.
    """
    command = ["-m", "scorefield", "train", *RECIPE, "--set", "training.shard=true", "--resume"]
    print(finished(start(*TORCHRUN, "--max-restarts", 1, *command, "--out", tmp_path / "sharded")))
    assert apart(one, tmp_path / "sharded") < TOLERANCE


@pytest.mark.distributed
def test_ranks_that_are_killed_are_restarted_and_end_to_the_bit_where_they_would_have(two, tmp_path, wait_for):
    """Rank 0, and when it is back, rank 1. The command is repeated as it was given: --resume begins a run that is not
    there and goes on with one that is.
    """
    folder, gone = tmp_path / "killed", set()
    process = start(*TORCHRUN, "--max-restarts", 2, "-m", "scorefield", "train", *RECIPE, "--out", folder, "--resume")

    def at_work(steps):
        return lines(folder) > steps and len(set(workers(process).values()) - gone) == 2

    for rank, steps in ((0, EVERY + 3), (1, 2 * EVERY + 3)):
        wait_for(functools.partial(at_work, steps), process)
        alive = workers(process)
        gone.update(alive.values())
        os.kill(alive[rank], signal.SIGKILL)
    finished(process)
    assert left(folder, STEPS).keys() == left(two, STEPS).keys()
    assert apart(two, folder) == 0
    assert [row["step"] for row in rows(folder)] == list(range(1, STEPS + 1))


@pytest.mark.distributed
def test_sigterm_to_torchrun_saves_and_one_process_may_go_on(one, tmp_path, wait_for):
    """What a cluster's scheduler sends. All processes leave after the same step, and its checkpoint is whole."""
    folder = tmp_path / "stopped"
    process = start(*TORCHRUN, "-m", "scorefield", "train", *RECIPE, "--out", folder)
    wait_for(lambda: lines(folder) > 5, process)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=240)
    assert process.returncode != 0
    newest = checkpoints.latest(folder / "checkpoints", pytest.fail)
    assert newest is not None, said
    assert checkpoints.read_state(newest)["step"] == lines(folder) < STEPS
    train_one(folder, "--resume")
    assert apart(one, folder) < TOLERANCE
