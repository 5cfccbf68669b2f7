"""`scorefield evaluate`, on small models of digits, hardly trained."""

import json

import pytest

SMALL = ("--steps", 3, "--set", "network.width=8", "--set", "optim.warmup=1")


@pytest.fixture(scope="module")
def run(invoke, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    for command in (
        ("train", "--preset", "digits", *SMALL, "--out", "digits"),
        ("train", "--preset", "digits", *SMALL, "--task", "classifier", "--out", "reader"),
        ("evaluate", "digits", "--n", 60, "--nfe", 5, "--likelihoods", 8),
    ):
        done = invoke(folder, *command)
        assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_a_sentence_a_table_a_picture_and_the_numbers(run):
    folder, said = run
    numbers = json.loads((folder / "digits/evaluation-seed0.json").read_text())
    assert "tests" in said.splitlines()[0]
    by_name = {m["metric"]: m for m in numbers["metrics"]}
    assert {"frechet", "wasserstein", "precision", "two_sample", "memorization"} <= set(by_name)
    likelihood = by_name["held_out_likelihood"]
    assert likelihood["n"] == [8, 8]
    assert -6 < likelihood["value"] < -2  # minus the bits per dimension of a model that is hardly trained
    assert len(numbers["classes"]) == 10
    assert "class read back: " in said
    assert f"{by_name['sliced']['value']:.4f}" in said
    assert all(m["low"] <= m["high"] for m in numbers["metrics"])
    assert numbers["nfe"] == 5
    assert "60 samples of 5 evaluations against 60 of the held-out data of digits" in said
    assert (folder / "digits/evaluation-seed0.png").stat().st_size > 10_000


def test_json_alone_on_stdout_and_other_features(run, invoke):
    folder, _ = run
    options = ("--n", 40, "--nfe", 5, "--likelihoods", 0, "--features", "reader", "--json", "-", "--out", "other.png")
    done = invoke(folder, "evaluate", "digits", *options)
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    assert numbers["metrics"][0]["features"].startswith("classifier-reader:")
    assert "held_out_likelihood" not in {m["metric"] for m in numbers["metrics"]}
    again = invoke(folder, "evaluate", "digits", *options, "--overwrite")
    drop = lambda text: {k: v for k, v in json.loads(text).items() if k != "seconds"}  # noqa: E731
    assert drop(again.stdout) == drop(done.stdout)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ("--features", "inception"),
            "features must be raw, pca:K, a classifier's run or a .pt2 file; got 'inception'",
        ),
        (("--level", "1"), "--level must lie in (0, 1); got 1"),
        (("--against", "nowhere"), "nowhere"),
        ((), "digits/evaluation-seed0.png exists"),
    ],
)
def test_mistakes_are_one_line(run, invoke, options, line):
    done = invoke(run[0], "evaluate", "digits", "--n", 20, *(*options, *(("--out", "x.png") if options else ())))
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
