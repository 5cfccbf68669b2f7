"""`scorefield tune` on a small trained model, and `sample` with what it kept."""

import json

import numpy as np
import pytest


@pytest.fixture(scope="module")
def run(invoke, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune")
    done = invoke(folder, "train", "--preset", "two-moons", "--steps", 200, "--out", "run")
    assert done.returncode == 0, done.stderr
    done = invoke(folder, "tune", "run", "--nfe", 6, "--paths", 64)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def samples(invoke, folder, name, *options):
    done = invoke(folder, "sample", "run", "--n", 32, "--nfe", 6, "--out", f"{name}.png", "--overwrite", *options)
    assert done.returncode == 0, done.stderr
    return np.load(folder / f"{name}.npz")["samples"], done


def test_it_says_how_near_both_are_and_keeps_what_is_nearer(run):
    folder, said = run
    held_out = json.loads((folder / "run/tuned/nfe-6.json").read_text())["held_out"]
    assert held_out["tuned"]["median"] < held_out["default"]["median"]
    assert "held-out noise" in said
    assert "kept: run/tuned/nfe-6.json" in said


def test_sample_takes_it_says_so_and_can_be_told_not_to(run, invoke):
    folder, _ = run
    tuned, done = samples(invoke, folder, "tuned")
    assert "6 evaluations each, tuned" in done.stdout
    plain, done = samples(invoke, folder, "plain", "--no-tuned")
    assert "tuned" not in done.stdout.partition("evaluations")[2].partition(":")[0]
    done = invoke(folder, "sample", "run", "--n", 32, "--nfe", 100, "--out", "fine.png")
    assert done.returncode == 0, done.stderr
    fine = np.load(folder / "fine.npz")
    distance = lambda x: np.median(np.linalg.norm(x - fine["samples"], axis=1))  # noqa: E731
    assert distance(tuned) < distance(plain)


def test_what_was_tuned_for_other_weights_is_left_aside(run, invoke):
    folder, _ = run
    path = folder / "run/tuned/nfe-6.json"
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | {"weights": "0" * 64}))
    _, done = samples(invoke, folder, "stale")
    assert "was tuned for other weights and is left aside" in done.stderr
    path.write_text("{")
    done = invoke(folder, "sample", "run", "--n", 4, "--nfe", 6, "--out", "bad.png")
    assert done.returncode == 2
    assert "nfe-6.json can't be read" in done.stderr
    path.write_text(before)


def test_for_quality_it_says_the_distances_and_whether_one_is_kept(run, invoke):
    folder, _ = run
    done = invoke(folder, "tune", "run", "--nfe", 5, "--for", "quality", "--n", 60)
    assert done.returncode == 0, done.stderr
    for name in ("default", "stochastic-adams", "unipc", "ddim"):
        assert f"\n{name} " in done.stdout
    assert ("not kept: none is surely better" in done.stdout) != (folder / "run/tuned/nfe-5.json").exists()
    done = invoke(folder, "tune", "run", "--nfe", 5, "--for", "quality", "--n", 60, "--json", "-")
    said = json.loads(done.stdout)
    assert said["n"] == 60
    assert set(said["gain"]) < set(said["distance"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("nowhere", "--nfe", 6), "no run at nowhere"), (("run", "--nfe", 1), "--nfe")],
)
def test_bad_arguments_get_one_clear_line(run, invoke, arguments, message):
    done = invoke(run[0], "tune", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
