"""Hours of a run's life: trained, killed, gone on with, sampled, scored. Nothing grows, nothing is lost.

SOAK_SECONDS says for how long; two minutes unless given.
"""

import os
import random
import subprocess
import sys
import time

import pytest

import scorefield as sf
from scorefield.storage import checkpoints

COMMAND = [sys.executable, "-m", "scorefield"]
SMALL = (
    "network.hidden=16", "network.depth=1", "training.batch_size=64", "logging.checkpoint_every=20",
    "logging.sample_every=100000",
)  # fmt: skip
SPENT = 40 << 20  # bytes: what the run's folder may hold


def size(folder):
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def call(folder, *args, kill=None):
    process = subprocess.Popen(
        [*COMMAND, *map(str, args)], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        _, errors = process.communicate(timeout=kill or 300)
        return process.returncode, errors
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return -9, ""


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_run_lives_through_it(tmp_path, chance: random.Random):
    end = time.monotonic() + float(os.environ.get("SOAK_SECONDS", "120"))
    sets = [arg for item in SMALL for arg in ("--set", item)]
    steps, saved, rounds, killed = 100, 0, 0, 0
    begun = time.monotonic()
    code, errors = call(tmp_path, "train", "--preset", "two-moons", *sets, "--steps", steps, "--out", "run")
    assert code == 0, errors
    run, takes = tmp_path / "run", time.monotonic() - begun  # seconds: most of it to begin, more on a busy machine
    while time.monotonic() < end:
        steps, rounds = steps + 2000, rounds + 1
        kill = chance.uniform(0.3, 4) * takes
        code, errors = call(tmp_path, "train", "--resume", "--out", "run", "--steps", steps, kill=kill)
        killed += code != 0
        newest = checkpoints.latest(run / "checkpoints", pytest.fail)
        assert newest is not None, errors
        step = checkpoints.read_state(newest)["step"]
        assert step >= saved  # nothing that was saved is lost
        saved = step
        logged = sf.load(run).history.step
        assert logged == list(range(1, len(logged) + 1))
        for args in (
            ("sample", "run", "--n", 16, "--out", "a.png", "--overwrite"),
            ("likelihood", "run", "--n", 8, "--out", "b.png", "--overwrite"),
        ):
            code, errors = call(tmp_path, *args)
            assert code == 0, errors
        assert len(list((run / "checkpoints").glob("step-*"))) <= 4  # three, and one that was being made
        assert size(tmp_path) < SPENT
        assert not [p for p in tmp_path.iterdir() if p.name.endswith(".tmp")]
    print(f"{rounds} rounds, {killed} killed, {saved:,} steps, {size(tmp_path):,} bytes at the end")
    assert saved > 100, "each was killed before it had saved a step: nothing was gone on with"
    code, errors = call(tmp_path, "train", "--resume", "--out", "run")
    assert code == 0, errors
    assert not list(run.rglob("*.tmp"))
