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
        (("audit", "teacher"), "teacher is no few-step model; make one of it with scorefield distill teacher"),
        (("distill", "student"), "only a denoiser can be distilled; got a recipe with task = 'flow-map'"),
        (("distill", "nowhere"), "no run at nowhere"),
        (("distill", "teacher", "--method", "lagrange"), "unknown method 'lagrange'. Did you mean 'lagrangian'?"),
    ):
        done = invoke(folder, *command)
        assert done.returncode == 2
        assert line in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_consistency_map_by_difference_then_by_matching(run, invoke):
    folder, _ = run
    for command in (
        ("distill", "teacher", "--method", "consistency", "--jumps", 2, "--steps", 60, "--out", "easy",
         "--set", "objective.arguments.gap=0.2"),
        ("distill", "teacher", "--method", "distribution_matching", "--jumps", 2, "--steps", 30, "--start", "easy",
         "--set", "objective.arguments.every=3", "--out", "matched"),
        ("distill", "teacher", "--method", "distribution_matching", "--steps", 40, "--start", "easy",
         "--set", "objective.arguments.every=3", "--set", "objective.jumps=2", "--out", "matched", "--resume"),
    ):  # fmt: skip
        done = invoke(folder, *command)
        assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("40 steps")
    logged = [json.loads(line) for line in (folder / "matched/metrics.jsonl").read_text().splitlines()]
    assert [("reference" in line) or ("map.reference" in line) for line in logged] == [s % 3 == 2 for s in range(40)]
    done = invoke(folder, "sample", "matched", "--n", 20)
    assert "2 evaluations" in done.stdout, done.stderr
    assert invoke(folder, "audit", "matched", "--n", 200, "--nfe", 2).returncode == 0


def test_a_student_that_is_told_the_weight_of_guidance(invoke, tmp_path):
    small = ("--set", "network.width=16", "--set", "training.batch_size=16")
    plain = ("distill", "teacher", "--steps", 3, "--out", "plain")
    for command in (
        ("train", "--preset", "digits", "--steps", 10, *small, "--out", "teacher"),
        (*plain, "--set", "logging.sample_every=3"),
        ("distill", "teacher", "--steps", 3, "--out", "student", "--set", "objective.guidance=[1,4]"),
        ("sample", "student", "--n", 4, "--label", 3, "--guidance", 3, "--out", "guided.png"),
        ("sample", "student", "--n", 4, "--label", 3, "--out", "plain.png"),
        ("sample", "student", "--n", 4, "--label", 3, "--guidance", 1, "--out", "one.png"),
    ):
        done = invoke(tmp_path, *command)
        assert done.returncode == 0, done.stderr
    guided, unguided, one = (np.load(tmp_path / f"{name}.npz")["samples"] for name in ("guided", "plain", "one"))
    assert np.array_equal(unguided, one)
    assert not np.array_equal(guided, one)
    for run, options, line in (
        ("plain", (), "was told no weight of guidance: distill its teacher with --set objective.guidance=[1,4]"),
        ("student", ("--guidance-interval", 0.1, 1), "it may be told a weight, and no interval or classifier"),
    ):
        done = invoke(tmp_path, "sample", run, "--label", 3, "--guidance", 3, *options)
        assert done.returncode == 2
        assert line in done.stderr


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
    task = "flow-map" if method in ("lagrangian", "mean_flow") else "consistency-map"
    changes = [f"task={task}", f"objective.loss={method}", "objective.times=UniformAngle", "training.batch_size=64"]
    options = [word for change in changes for word in ("--set", change)]
    done = invoke(tmp_path, "train", "--preset", "two-moons", "--steps", 20, "--out", "map", *options)
    assert done.returncode == 0, done.stderr
    logged = json.loads((tmp_path / "map/metrics.jsonl").read_text().splitlines()[-1])
    assert ("reference" in logged) == (method != "lagrangian")
    assert invoke(tmp_path, "sample", "map", "--n", 9).returncode == 0


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (["task=flow-map"], "objective.loss: task = 'flow-map' takes lagrangian or mean_flow; got 'denoising'"),
        (["objective.loss=lagrangian"], "objective.loss: task = 'denoiser' is another; lagrangian is for 'flow-map'"),
        (
            ["task=flow-map", "objective.loss=drifting"],
            "task = 'flow-map' takes lagrangian or mean_flow; got 'drifting'",
        ),
        (["teacher=somewhere"], "teacher: is for task = 'flow-map' or 'consistency-map'; got task = 'denoiser'"),
        (["objective.jumps=2"], "objective.jumps: is for task = 'consistency-map'; got task = 'denoiser'"),
        (["objective.guidance=[1,2]"], "objective.guidance: is for a recipe with a teacher; got task = 'denoiser'"),
        (["objective.arguments.gap=.1"], "objective.arguments: denoising takes "),
        (
            ["task=consistency-map", "objective.loss=distribution_matching"],
            "objective.loss: distribution_matching needs a teacher, and no range of guidance",
        ),
        (["objective.coupling=Assignment"], "objective.coupling: is for task = 'flow'; got 'denoiser'"),
        (["task=flow-map", "objective.loss=lagrangian", "teacher=nowhere"], "no run at nowhere"),
    ],
)
def test_recipes_that_make_no_sense_are_one_line(refused, changes, line):
    options = [word for change in changes for word in ("--set", change)]
    assert line in refused("train", "--preset", "two-moons", "--steps", 5, "--out", "x", *options)
