"""`scorefield train`: recipes in, run folders out; stopped, killed, damaged, and gone on with."""

import os
import pickle
import re
import signal
import subprocess
import sys
import time

import pytest
import torch

from scorefield import recipes
from scorefield.storage import checkpoints, models

STEPS = 60
SMALL = (
    "--preset", "two-moons", "--steps", STEPS, "--set", "training.batch_size=32", "--set", "network.hidden=16",
    "--set", "optim.warmup=5", "--set", "logging.checkpoint_every=10", "--set", "network.dropout=0.1",
)  # fmt: skip
FILES = ("model.safetensors", "ema.safetensors", "optim.safetensors", "state.json")


@pytest.fixture(autouse=True)
def _one_thread():
    """As in the processes these tests start: sums are then the same, to the bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(invoke, tmp_path_factory):
    """A run that nothing ever happened to."""
    folder = tmp_path_factory.mktemp("whole")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    done = invoke(folder, "train", *SMALL, "--out", "run", "--set", "logging.sample_every=30")
    torch.set_num_threads(threads)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def left(folder, step=STEPS):
    path = folder / "checkpoints" / f"step-{step:06d}"
    checkpoints.verify(path)
    return {name: (path / name).read_bytes() for name in FILES}


def logged(folder):
    path = folder / "metrics.jsonl"
    return len(path.read_bytes().splitlines()) if path.is_file() else 0


@pytest.fixture
def begun(environment, tmp_path, wait_for):
    """Starts a training run in a process of its own and returns it once it has done `steps` of many more."""
    processes = []

    def start(steps, *more):
        command = [sys.executable, "-m", "scorefield", "train", *map(str, SMALL), *map(str, more), "--out", "run"]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        wait_for(lambda: logged(tmp_path / "run") >= steps, process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_finishes_the_step_saves_and_exits_with_75(begun, cli, tmp_path, whole, number):
    process = begun(12)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    step = logged(tmp_path / "run")
    assert errors == (
        f"interrupted: after step {step} of {STEPS}, which is saved. Go on with: scorefield train --resume --out run\n"
    )
    left(tmp_path / "run", step)
    assert cli("train", "--resume", "--out", "run").returncode == 0
    assert left(tmp_path / "run") == left(whole)


def test_a_second_signal_leaves_at_once(begun, tmp_path):
    """While the first waits for the end of a long step."""
    process = begun(1, "--set", "training.batch_size=30000", "--set", "network.hidden=128")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM


def test_kill_9_at_a_random_time_and_the_run_goes_on_to_the_same_weights(begun, cli, tmp_path, whole, chance):
    process = begun(chance.randrange(1, STEPS - 5))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert cli("train", *SMALL, "--resume", "--out", "run").returncode == 0  # the command that began it, again
    assert left(tmp_path / "run") == left(whole)
    assert logged(tmp_path / "run") == STEPS


def test_a_second_run_in_a_folder_is_refused(begun, cli, tmp_path):
    process = begun(1, "--set", "training.steps=100000", "--set", "training.batch_size=2000")
    done = cli("train", "--resume", "--out", "run")
    assert done.returncode == 2
    assert re.fullmatch(rf"error: run is in use by process {process.pid} since .*\n", done.stderr)
    assert process.poll() is None
    process.kill()
    process.communicate()
    assert "in use" not in cli("train", "--resume", "--out", "run", "--set", "training.steps=1").stderr


@pytest.fixture
def run(whole, tmp_path):
    """A copy of the whole run."""
    subprocess.run(["cp", "-r", whole, tmp_path / "run"], check=True)
    return tmp_path / "run"


def test_sample_passes_over_a_damaged_checkpoint_and_says_so(run, cli):
    newest = run / "checkpoints" / "step-000060" / "ema.safetensors"
    raw = bytearray(newest.read_bytes())
    raw[-1] ^= 1
    newest.write_bytes(raw)
    done = cli("sample", "run", "--n", 4, "--nfe", 2)
    assert done.returncode == 0
    assert done.stderr == (
        "warning: run/checkpoints/step-000060 is damaged (ema.safetensors: checksum differs). Using step-000050.\n"
    )


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_among_the_weights_is_never_opened(run, cli, refused, tmp_path):
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    (run / "checkpoints" / "step-000060" / "ema.safetensors").write_bytes(trap)
    assert "is damaged (ema.safetensors" in cli("sample", "run", "--n", 4, "--nfe", 2).stderr
    checkpoints.write(tmp_path / "mine" / "checkpoints", 9, {"ema.safetensors": trap}, {"step": 9})  # its sum is right
    assert "damaged or not a scorefield checkpoint" in refused("sample", "mine")
    torch.save({"weights": Trap(tmp_path / "sprung")}, tmp_path / "model.safetensors")
    assert "damaged or not a scorefield checkpoint" in refused("sample", "model.safetensors")
    assert not (tmp_path / "sprung").exists()


def test_the_report_is_whole(whole):
    page = (whole / "report.html").read_text()
    assert page.rstrip().endswith("</html>")
    titles = ["Samples beside data", "Training", "Nearest training data", "Error by noise level"]
    titles += ["Samples after 30 steps", "Samples after 60 steps"]
    assert re.findall(r"<h2>(.*?)</h2>", page) == titles
    assert page.count('src="data:image/png;base64,iVBOR') == 6
    assert not re.findall(r'(?:src|href)="(?!data:)', page)  # nothing outside the file


def test_the_run_folder_says_how_to_repeat_it(whole, cli, tmp_path):
    kept = recipes.load(whole / "recipe.toml")
    assert cli("train", "--config", whole / "recipe.toml", "--show").stdout == recipes.dumps(kept)
    assert cli("train", "--config", whole / "recipe.toml", "--out", "again").returncode == 0
    assert left(tmp_path / "again") == left(whole)
    meta = models.load(whole / "checkpoints" / "step-000060" / "ema.safetensors").meta
    assert meta == {"recipe": "two-moons", "seed": 0, "event_shape": [2], "step": 60, "steps": 60}


def test_show_prints_the_recipe_and_does_nothing(cli, tmp_path):
    done = cli("train", *SMALL, "--show", "--out", "run", "--data", "2024", "--seed", 7)
    recipe = recipes.loads(done.stdout)
    assert (recipe.training.steps, recipe.network.arguments["hidden"]) == (STEPS, 16)
    assert (recipe.data.source, recipe.seed) == ("2024", 7)  # a folder may have a number for a name
    assert os.listdir(tmp_path) == []


def test_a_file_and_keys_beside_it(cli, refused, tmp_path):
    (tmp_path / "my.toml").write_text(cli("train", *SMALL, "--show").stdout)
    recipe = recipes.loads(cli("train", "--config", "my.toml", "--set", "optim.optimizer=Muon", "--show").stdout)
    assert (recipe.optim.optimizer.type, recipe.training.steps) == ("Muon", STEPS)
    assert refused("train", "--config", "my.toml", "--preset", "digits") == (
        "error: give --preset or --config, not both\n"
    )
    with open(tmp_path / "my.toml", "a") as file:
        file.write("[optim2]\n")
    assert refused("train", "--config", "my.toml") == (
        "error: unknown key 'optim2' in my.toml. Did you mean 'optim'?\n"
    )
    assert refused("train", "--config", "none.toml") == "error: no recipe at none.toml\n"


def test_a_finished_or_begun_run_keeps_its_recipe(run, cli, refused):
    assert refused("train", "--resume") == "error: --resume needs --out, the run to go on with\n"
    said = "error: a run goes on with the recipe in run, where "
    assert refused("train", "--resume", "--out", "run", "--set", "optim.lr=1") == f"{said}optim.lr is 0.004; got 1.0\n"
    assert refused("train", "--resume", "--out", "run", "--preset", "digits") == (
        f'{said}name is "two-moons"; got "digits"\n'
    )
    assert "is not empty" in refused("train", *SMALL, "--out", "run")
    before = left(run)
    assert cli("train", "--resume", "--out", "run").returncode == 0
    assert left(run) == before


def test_a_run_may_go_on_for_longer_and_save_more_often(run, cli):
    more = ("--steps", STEPS + 6, "--set", "logging.checkpoint_every=3")
    assert cli("train", "--resume", "--out", "run", *more).returncode == 0
    assert logged(run) == STEPS + 6
    kept = recipes.load(run / "recipe.toml")
    assert (kept.training.steps, kept.logging.checkpoint_every) == (STEPS + 6, 3)
    assert {f"step-{STEPS + k:06d}" for k in (3, 6)} <= {p.name for p in (run / "checkpoints").iterdir()}
    assert cli("train", "--resume", "--out", "run").returncode == 0  # at its new end, by itself
    assert logged(run) == STEPS + 6


def test_a_run_that_lost_its_log_still_reports(run, cli):
    (run / "metrics.jsonl").unlink()
    done = cli("train", "--resume", "--out", "run")
    assert done.returncode == 0, done.stderr
    assert (run / "report.html").is_file()


def test_a_run_whose_losses_are_nan_ends_in_a_line_that_names_the_dump(refused, tmp_path):
    line = refused(
        "train",
        *SMALL,
        "--out",
        "run",
        "--set",
        "optim.lr=1e30",
        "--set",
        "optim.clip=1e30",
        "--set",
        "network.dropout=0.0",
    )
    assert re.search(r"is (nan|inf) at step \d+, 4 in a row; lower lr.* What it saw is in run/dump-step-\d{6}\.", line)
    assert len(list((tmp_path / "run").glob("dump-step-*/batch.safetensors"))) == 1
