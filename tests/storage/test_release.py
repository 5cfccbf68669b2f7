"""What release 0.1.0 wrote, its models, a run, recipes and names, still means what it meant (see CONTRIBUTING.md).

Everything in `release-0.1.0/` was written by 0.1.0 itself (`make.py` there); what it answered is in `expected.json`.
Models are asked in float64, so that no processor's rounding comes near the tolerance of 1e-6.
"""

import importlib
import json
import shutil
import tomllib
import warnings
from pathlib import Path

import pytest
import torch

import scorefield as sf
from scorefield import recipes, storage
from scorefield.cli import main
from scorefield.storage import checkpoints, models
from scorefield.training import fit

RELEASE = Path(__file__).parent / "release-0.1.0"
EXPECTED = json.loads((RELEASE / "expected.json").read_text())
NAMES = json.loads((RELEASE / "names.json").read_text())
SETS = tomllib.loads((RELEASE / "parts.toml").read_text())["sets"]


def assert_close(got, expected, tolerance=1e-6):
    """Relative to the largest entry."""
    got, expected = (torch.as_tensor(value, dtype=torch.float64) for value in (got, expected))
    assert got.shape == expected.shape
    assert float((got - expected).abs().max()) <= tolerance * float(expected.abs().max())


@pytest.mark.parametrize("name", EXPECTED["models"])
@torch.no_grad()
def test_a_model_answers_as_it_did(name):
    expected = EXPECTED["models"][name]
    path = RELEASE / "models" / f"{name}.safetensors"
    if name.endswith("-classifier"):
        model, transform, meta = models.load_classifier(path)
    else:
        model, transform, meta = storage.load(path)
    assert meta == {"name": name, "steps": 3}
    assert_close(model.data_mean, expected["data_mean"])
    assert_close(model.data_std, expected["data_std"])
    model.double()
    x = torch.tensor(expected["x"], dtype=torch.float64)
    cond = {key: torch.tensor(value) for key, value in expected["cond"].items()}
    cond = {key: value.double() if value.is_floating_point() else value for key, value in cond.items()}
    for answer in expected["answers"]:
        t = answer["t"]
        assert_close(model.schedule(t), answer["alpha_sigma"])
        assert_close(model.output(x, t, **cond), answer["output"])
        if "x0" in answer:
            assert_close(model(x, t, **cond), answer["x0"])
    if transform is None:
        assert expected["transform"] is None
        return
    if isinstance(transform, torch.nn.Module):
        transform.double()
    assert_close(transform.inverse(x), expected["transform"]["y"])
    assert_close(transform(transform.inverse(x)), expected["transform"]["x"])
    kept = [transform.mean, transform.sigma_data, transform.levels, getattr(transform, "noise", None)]
    assert kept == expected["transform"]["is"]


@pytest.fixture
def run(tmp_path):
    return shutil.copytree(RELEASE / "run", tmp_path / "run")


def test_a_run_goes_on_from_its_checkpoint_and_ends_where_it_would_have(run, capsys):
    """Other processors' kernels end 2e-7 away; without the optimisers' state it is 0.7, without the averages' 0.03."""
    middle = checkpoints.latest(run / "checkpoints", pytest.fail)
    assert middle is not None
    assert middle.name == "step-000010"
    with pytest.raises(SystemExit) as stop:
        main(["train", "--resume", "--out", str(run)])
    assert (stop.value.code, capsys.readouterr().err) == (0, "")  # a checkpoint passed over would be said here
    ended = sf.load(run, warn=pytest.fail)
    assert ended.checkpoint == "step-000020"
    expected = EXPECTED["run"]
    with torch.no_grad():
        x0 = ended.denoiser.double()(torch.tensor(expected["x"], dtype=torch.float64), expected["t"])
    assert_close(x0, expected["x0"], 1e-5)
    rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 21))
    assert_close([row["loss"] for row in rows], expected["loss"], 1e-5)
    assert ended.transform is not None
    assert ended.event_shape == (2,)


def test_a_hand_written_recipe_says_the_same_as_the_one_its_run_kept(run):
    """Every key of both is known, and means what it did when the run wrote it out in full."""
    written = recipes.load(RELEASE / "recipe.toml")
    assert recipes.difference(written, recipes.load(run / "recipe.toml")) is None
    stated = tomllib.loads((run / "recipe.toml").read_text())
    kept = written.model_dump(mode="json", exclude_none=True)

    def within(values, others):
        return all(within(v, others[k]) if isinstance(v, dict) else others[k] == v for k, v in values.items())

    assert within(stated, kept)


@pytest.mark.parametrize("sets", SETS, ids=lambda sets: sets[0])
def test_a_recipe_with_any_part_builds_and_trains(sets):
    base = ["optim.warmup=0", "training.steps=1", "training.batch_size=4", "training.condition_dropout=0.0"]
    small = ["network={type='MLP', hidden=8, depth=1}"]
    recipe = recipes.override(recipes.load(RELEASE / "recipe.toml"), base + small)
    experiment = recipes.build(recipes.override(recipe, ["optim.optimizer='AdamW'", *sets]))
    history = fit(experiment.denoiser, experiment.source, **experiment.fit).history
    assert torch.isfinite(torch.tensor(history.loss)).all()


@pytest.mark.parametrize("module", NAMES)
def test_public_names_are_still_there(module):
    face = importlib.import_module(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a renamed one works, and says so
        assert [name for name in NAMES[module] if not hasattr(face, name)] == []
