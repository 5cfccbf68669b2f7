"""`scorefield distill` and `audit`, and training of flows and flow maps, on a small two-dimensional model."""

import json

import numpy as np
import pytest


@pytest.fixture(scope="module")
def run(invoke, tmp_path_factory):
    folder = tmp_path_factory.mktemp("few")
    for command in (
        ("train", "--preset", "two-moons", "--steps", 300, "--out", "teacher"),
        ("distill", "teacher", "--steps", 150, "--out", "student"),
        ("audit", "student", "--n", 200),
    ):
        done = invoke(folder, *command)
        assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_audit_says_a_sentence_a_table_and_writes_both(run):
    folder, said = run
    numbers = json.loads((folder / "student/audit-seed0.json").read_text())
    assert said.startswith("1 evaluation: ")
    assert [b["nfe"] for b in numbers["budgets"]] == [1, 2, 4]
    assert numbers["teacher"].endswith("teacher")
    assert f"{numbers['budgets'][0]['data']:8.4f}" in said
    assert (folder / "student/audit-seed0.png").stat().st_size > 10_000
    assert numbers["budgets"][0]["data"] < 1.5 * max(numbers["ode"]["data"], numbers["floor"]["mean"])


def test_sample_takes_two_jumps_unless_told(run, invoke):
    folder, _ = run
    for options, nfe in (((), 2), (("--nfe", 1), 1)):
        done = invoke(folder, "sample", "student", "--n", 50, "--out", f"jumps{nfe}.png", *options)
        assert done.returncode == 0, done.stderr
        assert f"{nfe} evaluation" in done.stdout
        assert np.isfinite(np.load(folder / f"jumps{nfe}.npz")["samples"]).all()


def test_a_run_goes_on_and_begins_with_its_teachers_weights(run, invoke):
    import scorefield as sf

    folder, _ = run
    recipe = sf.load(folder / "student").recipe
    assert recipe is not None
    assert recipe.teacher == str((folder / "teacher").resolve())
    done = invoke(folder, "distill", "teacher", "--steps", 160, "--out", "student", "--resume")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("160 steps")


def test_what_it_has_not_and_what_it_is_not(run, invoke):
    folder, _ = run
    for command, line in (
        (("likelihood", "student", "--n", 8), "log_prob: FlowMap has no density: samples of a few jumps have one"),
        (("audit", "teacher"), "teacher is no flow map; make one of it with scorefield distill teacher"),
        (("distill", "student"), "only a denoiser can be distilled; got a recipe with task = 'flow-map'"),
        (("distill", "nowhere"), "no run folder at nowhere"),
        (("distill", "teacher", "--method", "lagrange"), "unknown method 'lagrange'. Did you mean 'lagrangian'?"),
    ):
        done = invoke(folder, *command)
        assert done.returncode == 2
        assert line in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_flow_trains_samples_and_has_a_likelihood(invoke, tmp_path):
    for command in (
        ("train", "--preset", "flow", "--steps", 60, "--set", "objective.coupling.size=256", "--out", "flow"),
        ("sample", "flow", "--n", 40, "--nfe", 4),
        ("likelihood", "flow", "--n", 20),
    ):
        done = invoke(tmp_path, *command)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("method", ["lagrangian", "mean_flow", "consistency", "drifting"])
def test_a_flow_map_trains_from_data_alone(invoke, tmp_path, method):
    changes = ["task=flow-map", f"objective.loss={method}", "objective.times=UniformAngle", "training.batch_size=64"]
    options = [word for change in changes for word in ("--set", change)]
    done = invoke(tmp_path, "train", "--preset", "two-moons", "--steps", 20, "--out", "map", *options)
    assert done.returncode == 0, done.stderr
    logged = json.loads((tmp_path / "map/metrics.jsonl").read_text().splitlines()[-1])
    assert ("reference" in logged) == (method != "lagrangian")
    assert invoke(tmp_path, "sample", "map", "--n", 9).returncode == 0


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (["task=flow-map"], "objective.loss: a flow map is trained with one of lagrangian"),
        (["objective.loss=lagrangian"], "objective.loss: a flow map is trained with one of lagrangian"),
        (["teacher=somewhere"], "teacher: is for task = 'flow-map'; got 'denoiser'"),
        (["objective.coupling=Assignment"], "objective.coupling: is for task = 'flow'; got 'denoiser'"),
        (["task=flow-map", "objective.loss=lagrangian", "teacher=nowhere"], "no run at nowhere"),
    ],
)
def test_recipes_that_make_no_sense_are_one_line(refused, changes, line):
    options = [word for change in changes for word in ("--set", change)]
    assert line in refused("train", "--preset", "two-moons", "--steps", 5, "--out", "x", *options)
