"""`train --task classifier` and `sample --guidance`, `--guidance-interval`, `--classifier`."""

import numpy as np
import pytest
import torch

import scorefield as sf
from scorefield import recipes, storage
from scorefield.guidance import Interval
from scorefield.storage import checkpoints, models

SMALL = (
    "--preset",
    "digits",
    "--set",
    "training.batch_size=16",
    "--set",
    "network.width=8",
    "--set",
    "optim.warmup=2",
    "--set",
    "optim.ema_decay=0.5",
)
CLASSIFIER = ("--steps", 12, "--set", "logging.sample_every=6", "--task", "classifier")  # fmt: skip


@pytest.fixture(scope="module")
def runs(invoke, tmp_path_factory):
    """A model with a null condition, one without, one of another schedule, and a classifier."""
    folder = tmp_path_factory.mktemp("runs")
    for name, more in {
        "model": ("--steps", 12),
        "never-null": ("--steps", 1, "--set", "training.condition_dropout=0"),
        "vp": ("--steps", 1, "--set", "schedule=VP"),
        "plain": ("--steps", 1, "--set", "data.conditional=false"),
        "classifier": CLASSIFIER,
    }.items():
        done = invoke(folder, "train", *SMALL, *more, "--out", name)
        assert done.returncode == 0, done.stderr
        if name == "classifier":
            assert done.stdout.endswith("next: scorefield sample RUN --label 0 --classifier classifier\n")
    return folder


@pytest.fixture
def sampled(invoke, runs, tmp_path):
    """`sampled("model", "--label", 3)`: the samples."""

    def draw(*args):
        out = tmp_path / "x.png"
        run, *options = args
        done = invoke(runs, "sample", run, "--n", 3, "--nfe", 4, "--out", out, "--overwrite", *options)
        assert done.returncode == 0, done.stderr
        return np.load(out.with_suffix(".npz"))["samples"]

    return draw


@pytest.fixture
def refusal(invoke, runs, tmp_path):
    def run(*args):
        done = invoke(runs, "sample", *args, "--n", 2, "--nfe", 2, "--out", tmp_path / "y.png")
        assert done.returncode == 2, done.stderr
        return done.stderr

    return run


def weights(run):
    newest = checkpoints.latest(run / "checkpoints", print)
    assert newest is not None
    return newest / "ema.safetensors"


def drawn(model, label):
    return sf.sample(model, (3, 1, 8, 8), nfe=4, cond={"label": torch.full((3,), label)}).x.numpy()


def test_guidance_is_classifier_free_guidance_of_the_label(runs, sampled):
    model = storage.load(weights(runs / "model")).denoiser
    plain = sampled("model", "--label", 3)
    np.testing.assert_array_equal(sampled("model", "--label", 3, "--guidance", 1), plain)
    np.testing.assert_allclose(
        sampled("model", "--label", 3, "--guidance", 2.5), drawn(sf.ClassifierFreeGuidance(model, 2.5), 3), atol=1e-5
    )
    narrow = sf.ClassifierFreeGuidance(model, Interval(2.5, 0.3, 2.0))
    np.testing.assert_allclose(
        sampled("model", "--label", 3, "--guidance", 2.5, "--guidance-interval", 0.3, 2), drawn(narrow, 3), atol=1e-5
    )
    assert abs(sampled("model", "--label", 3, "--guidance", 2.5) - plain).max() > 1e-3


def test_a_classifier_guides_models_with_and_without_labels(runs, sampled):
    classifier = models.load_classifier(weights(runs / "classifier")).classifier
    for name in ("model", "plain"):
        guided = sf.ClassifierGuidance(storage.load(weights(runs / name)).denoiser, classifier, 4.0)
        ours = sampled(name, "--label", 2, "--guidance", 4, "--classifier", "classifier")
        np.testing.assert_allclose(ours, drawn(guided, 2), atol=1e-5)
        assert abs(ours - sampled(name)).max() > 1e-5


def test_a_classifier_run_is_a_run(runs, invoke, tmp_path):
    recipe = recipes.load(runs / "classifier" / "recipe.toml")
    assert (recipe.task, recipe.network.type, recipe.objective.loss) == ("classifier", "UNetEncoder", "classification")
    assert recipe.network.arguments == {"width": 8, "patch": 2}
    assert (runs / "classifier" / "report.html").is_file()
    assert not (runs / "classifier" / "samples").exists()
    half = invoke(tmp_path, "train", "--config", runs / "classifier" / "recipe.toml", "--out", "again")
    assert half.returncode == 0, half.stderr
    ours, theirs = (p / "checkpoints" / "step-000012" for p in (tmp_path / "again", runs / "classifier"))
    assert (ours / "ema.safetensors").read_bytes() == (theirs / "ema.safetensors").read_bytes()
    # the command that began the run may be repeated
    assert invoke(runs, "train", *SMALL, *CLASSIFIER, "--resume", "--out", "classifier").returncode == 0


def test_what_cannot_guide_is_refused_in_one_line(refusal):
    assert refusal("never-null", "--label", 3, "--guidance", 2) == (
        "error: never-null was trained with training.condition_dropout = 0: it does not know the unconditional model "
        "that guidance needs. Train with --set training.condition_dropout=0.1\n"
    )
    assert "give --label" in refusal("model", "--guidance", 2)
    assert "was trained without labels" in refusal("plain", "--label", 3, "--guidance", 2)
    assert "--guidance-interval goes with --guidance" in refusal("model", "--label", 3, "--guidance-interval", 0, 1)
    assert "share one schedule" in refusal("vp", "--label", 3, "--classifier", "classifier")
    assert "is a denoiser, not a classifier" in refusal("model", "--label", 3, "--classifier", "vp")
    assert "is a classifier, not a denoiser" in refusal("classifier")
    assert "--label must lie in 0..9" in refusal("model", "--label", 10, "--guidance", 2)


def test_a_classifier_needs_labels_and_a_network_with_a_half(cli, refused, tmp_path):
    assert "a classifier needs labels" in refused(
        "train", "--preset", "two-moons", "--task", "classifier", "--out", "a", "--steps", 1
    )
    assert "network.type UNet or MLP; got 'DiT'" in refused(
        "train", "--preset", "digits", "--set", "network.type=DiT", "--task", "classifier", "--out", "b"
    )
    assert "is not for task = 'denoiser'" in refused(
        "train", "--preset", "digits", "--set", "network.type=UNetEncoder", "--out", "c"
    )
    assert refused("train", "--task", "clasifier") == "error: unknown task 'clasifier'. Did you mean 'classifier'?\n"


def test_clipping_keeps_predictions_in_the_range_of_the_pictures(runs, sampled, refusal):
    model = storage.load(weights(runs / "model")).denoiser
    assert model.data_range is not None
    for name, dynamic in {"range": None, "dynamic": 0.995}.items():
        ours = sampled("model", "--label", 3, "--guidance", 6, "--clip", name)
        guided = sf.ClassifierFreeGuidance(model, 6.0)
        np.testing.assert_allclose(ours, drawn(sf.ClippedDenoiser(guided, dynamic=dynamic), 3), atol=1e-5)
        low, high = model.data_range  # predictions lie inside; a multistep method's last step may go a little beyond
        assert low - 0.1 * (high - low) <= ours.min()
        assert ours.max() <= high + 0.1 * (high - low)
    assert "unknown --clip 'dynamik'. Did you mean 'dynamic'?" in refusal("model", "--clip", "dynamik")
