"""A run after training: what `sf.load` gives is what was trained, and what is done with it is the library's own."""

import json
import re
import shutil
import signal
from dataclasses import replace

import pytest
import torch

import scorefield as sf
from scorefield import catalogue, data, inverse, recipes, runs
from scorefield.data import units
from scorefield.guidance import Interval
from scorefield.recipes import presets
from scorefield.storage import checkpoints, models

TABLE = ("network.hidden=16", "network.depth=1", "training.batch_size=16", "optim.warmup=2", "optim.ema_decay=0.5")


def train(folder, recipe, *changes, steps=4):
    trained = runs.train(folder, recipes.override(recipe, [*changes, f"training.steps={steps}"]))
    assert trained is not None
    return trained


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of a labelled table, the same on another schedule and as a classifier, of pictures, and of points."""
    folder = tmp_path_factory.mktemp("runs")
    wine = presets.tabular()
    train(folder / "wine", wine, *TABLE, "logging.checkpoint_every=2")
    train(folder / "never-null", wine, *TABLE, "training.condition_dropout=0", steps=1)
    train(folder / "classifier", presets.classifier(wine), *TABLE)
    train(folder / "moons", presets.two_moons(), *TABLE)
    train(folder / "digits", presets.digits(), "network.width=8", "training.batch_size=16", steps=1)
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    """`copy("wine")`: a run of one's own to harm."""

    def make(name):
        shutil.copytree(folder / name, tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture
def told():
    """Lines that were warned of."""
    return []


def test_what_is_loaded_is_what_was_trained(folder, tmp_path):
    trained = train(tmp_path / "run", presets.tabular(), *TABLE)
    loaded = sf.load(str(tmp_path / "run"))
    for run in (trained, loaded):
        assert isinstance(run.denoiser, sf.NetworkDenoiser)
        assert not run.denoiser.training
        assert run.recipe == recipes.load(tmp_path / "run" / "recipe.toml")
        assert (run.folder, run.name) == (tmp_path / "run", str(tmp_path / "run"))
        assert run.checkpoint == "step-000004"
        assert (run.event_shape, run.num_classes, run.conditions) == ((13,), 3, ("label",))
        assert run.class_names == ("class_0", "class_1", "class_2")
        assert run.meta["step"] == 4
        assert len(run.history.loss) == 4
    kept = models.load(loaded.path)
    assert loaded.transform == kept.transform
    averaged, last = (models.load_weights(loaded.path.with_name(f"{n}.safetensors")) for n in ("ema", "model"))
    for run in (trained, loaded):
        weights = dict(run.denoiser.named_parameters())
        assert all(torch.equal(weights[f"net.{name}"], weight) for name, weight in averaged.items())
    assert any(not torch.equal(averaged[name], last[name]) for name in averaged)
    assert (trained.examples, loaded.examples) == (165, None)  # of 178, 13 are held out


def test_samples_are_the_librarys_in_the_units_of_the_data(folder):
    run = sf.load(folder / "digits")
    drawn = run.sample(3, label=[1, 2], nfe=4, seed=5)
    cond = {"label": torch.tensor([1, 2, 1])}
    assert torch.equal(drawn.x, sf.sample(run.denoiser, (3, 1, 8, 8), nfe=4, seed=5, cond=cond).x)
    assert torch.equal(drawn.raw, units.raw(drawn.x, run.transform))
    assert drawn.raw.dtype == torch.int64
    assert drawn.nfe == 4
    assert drawn.solver == sf.solvers.recommended(run.denoiser.schedule, 4, data_std=run.denoiser.data_std).solver
    named = run.sample(2, label=7, nfe=7, solver="heun")
    assert isinstance(named.solver, sf.Heun)
    # sample i is a function of (seed, first_index + i)
    shifted = run.sample(1, label=2, nfe=4, seed=5, first_index=1)
    torch.testing.assert_close(shifted.x[0], drawn.x[1], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"^label must lie in 0\.\.9; got 10$"):
        run.sample(1, label=10)
    with pytest.raises(ValueError, match=r"^text was given, but this model was trained without captions$"):
        run.sample(1, text="a seven")
    with pytest.raises(ValueError, match=r"^label was given, but this model was trained without labels$"):
        sf.load(folder / "moons").sample(1, label=0)
    with pytest.raises(ValueError, match="unknown solver 'hern'"):
        run.sample(1, solver="hern")


class Lengths:
    """An encoder: how long a caption is."""

    def __call__(self, texts):
        return torch.tensor([[float(len(text))] for text in texts])


def test_classes_and_captions_are_asked_for_in_turn(monkeypatch):
    found = runs.labels([1, 2], 5, 3)
    assert found is not None
    assert found.tolist() == [1, 2, 1, 2, 1]
    one = runs.labels(2, 2, 3)
    assert one is not None
    assert one.tolist() == [2, 2]
    assert runs.labels(None, 2, None) is None
    monkeypatch.setitem(catalogue.ENCODERS, "Lengths", f"{__name__}:Lengths")
    told = runs.captions(["a", "four"], 3, {"type": "Lengths"})
    assert told["vector"].tolist() == [[1.0], [4.0], [1.0]]
    assert runs.captions("two", 2, {"type": "Lengths"})["vector"].tolist() == [[3.0], [3.0]]
    assert runs.captions(None, 2, None) == {}
    with pytest.raises(ValueError, match=r"^--text was given, but this model was trained without captions$"):
        runs.captions(["a"], 1, None, called="--text")


def test_a_checkpoint_by_itself_loads_too(tmp_path):
    model = sf.NetworkDenoiser(sf.networks.MLP(2, 8, 1), sf.VP(), sf.V())
    scale = data.Scale(2.0, 1.0, None, 0.0, 1.0)
    sf.save(tmp_path / "m.safetensors", model, {"event_shape": [2]}, transform=scale)
    run = sf.load(tmp_path / "m.safetensors")
    assert (run.recipe, run.folder, run.class_names, run.num_classes) == (None, None, (), None)
    assert (run.name, run.checkpoint) == (str(tmp_path / "m.safetensors"), "m.safetensors")
    assert run.history.step == []
    drawn = run.sample(2, nfe=3)
    torch.testing.assert_close(drawn.raw, (drawn.x - 1) / 2)
    assert run.tuned(3) is None
    for refused in (run.report, lambda: run.keep(3, run.tune(3, paths=2))):
        with pytest.raises(ValueError, match="is a checkpoint by itself; this needs a run folder"):
            refused()
    with pytest.raises(ValueError, match=r"has no recipe.toml to say which data"):
        run.held_out()
    assert run.held_out("two-moons").what == "held-out data of two-moons"
    sf.save(tmp_path / "n.safetensors", model)
    with pytest.raises(ValueError, match=r"n.safetensors does not say the shape of its data: save it with event_shape"):
        sf.load(tmp_path / "n.safetensors").sample(1)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run at .*nowhere"):
        sf.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        sf.load(tmp_path)
    with pytest.raises(ValueError, match="device 'abacus' can't be used here"):
        runs.device_of("abacus")


def test_a_classifiers_run_has_a_classifier(folder):
    run = sf.load(folder / "classifier")
    x = torch.randn(5, 13)
    assert run.classifier(x, 0.5).shape == (5, 3)
    with pytest.raises(ValueError, match="is a classifier, not a denoiser"):
        run.sample(1)
    with pytest.raises(ValueError, match="is a denoiser, not a classifier"):
        _ = sf.load(folder / "wine").classifier


def test_guidance_is_the_librarys_and_only_of_what_can_be_guided(folder):
    run, by = sf.load(folder / "wine"), sf.load(folder / "classifier")
    cond = {"label": torch.tensor([2, 2])}
    for guided, model in (
        (run.guided(2.0), sf.ClassifierFreeGuidance(run.denoiser, 2.0)),
        (run.guided(2.0, interval=(0.2, 3.0)), sf.ClassifierFreeGuidance(run.denoiser, Interval(2.0, 0.2, 3.0))),
        (run.guided(4.0, classifier=by), sf.ClassifierGuidance(run.denoiser, by.classifier, 4.0)),
    ):
        expected = sf.sample(model, (2, 13), nfe=4, cond=cond).x
        assert torch.equal(guided.sample(2, label=2, nfe=4).x, expected)
        assert not torch.equal(run.sample(2, label=2, nfe=4).x, expected)
    never = sf.load(folder / "never-null")
    assert never.guided(1.0).sample(1, label=1, nfe=2).raw.shape == (1, 13)
    for refused in (lambda: never.guided(2.0), lambda: never.guided(1.0, classifier=by)):
        with pytest.raises(ValueError, match=r"never-null was trained with training.condition_dropout = 0"):
            refused()
    with pytest.raises(ValueError, match="was trained without conditions"):
        sf.load(folder / "moons").guided(2.0)
    for other in (sf.load(folder / "moons"), replace(run, transform=None)):
        with pytest.raises(ValueError, match="was trained on other data, or in other units, than"):
            other.guided(2.0, classifier=by)


def test_what_tune_kept_is_used_for_these_weights_alone(copy, told):
    run = sf.load(copy("wine"))
    found = run.tune(4, paths=8)
    path = run.keep(4, found)
    assert json.loads(path.read_text())["weights"] == run.fingerprint
    assert run.tuned(4) == found.solver
    assert run.tuned(5) is None
    assert run.sample(2, nfe=4).solver == found.solver
    assert run.sample(2, nfe=4, tuned=False).solver != found.solver
    assert run.sample(2, nfe=4, solver="ddim").solver == sf.DDIM()
    assert run.guided(2.0).tuned(4) is None  # another model
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "weights": "0" * 64}))
    assert run.tuned(4, warn=told.append) is None
    assert told == [f"{path} was tuned for other weights and is left aside; tune again"]
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"nfe-4.json can't be read"):
        run.tuned(4)


def test_tuning_asks_for_every_class_in_turn(folder, monkeypatch):
    asked = {}
    monkeypatch.setattr("scorefield.runs.trained.tune", lambda *args, **options: asked.update(options))
    sf.load(folder / "wine").tune(4, paths=4)
    assert asked["cond"]["label"].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    sf.load(folder / "moons").tune(4, paths=4)
    assert asked["cond"] == {}


def test_held_out_data_have_a_name_and_the_runs_shape(folder, tmp_path):
    run = sf.load(folder / "digits")
    source, what = run.held_out()
    assert what == "held-out data of digits"
    assert torch.equal(source.batch(torch.arange(898)).x, data.digits().test)
    assert sf.load(folder / "wine").held_out().what == "held-out data of wine"  # by share: it has no split
    with pytest.raises(ValueError, match=r"of two-moons has events of shape \(2,\) and continuous values; the run's"):
        run.held_out("two-moons")
    rows = torch.tensor([5, 2])
    raw = source.batch(rows).x
    x = run.to_model(raw, rows, seed=3)
    assert torch.equal(x[1:], run.to_model(raw[1:], rows[1:], seed=3))  # noise is keyed by (seed, row)
    assert not torch.equal(x, run.to_model(raw, rows, seed=4))
    assert torch.equal(units.raw(x, run.transform), raw.long())


def test_a_posterior_has_the_method_that_is_named_or_the_recommended_one(folder, monkeypatch):
    run = sf.load(folder / "moons")
    likelihood = inverse.GaussianNoise(inverse.operators.Dense(torch.tensor([[1.0, 0.0]])), torch.zeros(1, 1), 0.1)
    assert run.posterior(likelihood, "ddnm").method == inverse.Guidance(inverse.DDNM)
    assert run.posterior(likelihood, inverse.TwistedSMC()).method == inverse.TwistedSMC()
    measured_on = []

    def recommended(likelihood, denoiser, examples):
        measured_on.append(examples)
        return inverse.Bridge()

    monkeypatch.setattr(inverse, "recommended", recommended)
    assert run.posterior(likelihood).method == inverse.Bridge()
    source, _ = run.held_out()
    last = torch.arange(len(source) - 64, len(source))
    assert torch.equal(measured_on[0], run.to_model(source.batch(last).x, last))
    alone = sf.load(run.path)  # no data: the model's own draws
    alone.posterior(likelihood)
    assert torch.equal(measured_on[1], sf.sample(run.denoiser, (16, 2), nfe=20).x)


def test_a_damaged_checkpoint_is_passed_over_with_a_line(copy, told):
    path = copy("wine")
    newest = path / "checkpoints" / "step-000004" / "ema.safetensors"
    raw = bytearray(newest.read_bytes())
    raw[-1] ^= 1
    newest.write_bytes(raw)
    run = sf.load(path, warn=told.append)
    assert run.checkpoint == "step-000002"
    assert len(told) == 1
    assert "step-000004 is damaged" in told[0]
    with pytest.warns(UserWarning, match="step-000004 is damaged"):
        sf.load(path)


def test_the_report_is_written_again(copy, monkeypatch):
    run = sf.load(copy("wine"))
    assert ">7<" in replace(run, examples=7).report().read_text(encoding="utf-8")  # known from training
    page = run.report().read_text(encoding="utf-8")
    assert "Run: tabular" in page
    assert ">165<" in page  # of 178, the others held out
    assert "mean of the last 4 steps" in page
    titles = ["Samples beside data", "Training", "Nearest training data", "Error by noise level"]
    assert re.findall("<h2>(.*?)</h2>", page) == titles
    # of a run that is not over, on data that are elsewhere
    assert run.folder is not None
    for name in ("training.png", "levels.png"):
        (run.folder / name).unlink()
    with (run.folder / "metrics.jsonl").open("a") as log:
        log.write('{"step": 5, "lo')  # being written
    monkeypatch.setattr(recipes, "training_data", lambda *a, **k: (_ for _ in ()).throw(FileNotFoundError("gone")))
    page = run.report().read_text(encoding="utf-8")
    assert ">unknown<" in page
    assert "mean of the last 4 steps" in page
    assert "no samples are shown beside them: gone" in page
    assert re.findall("<h2>(.*?)</h2>", page) == ["Training"]
    (run.folder / "recipe.toml").unlink()
    kept, own = sf.load(run.folder).recipe, run.recipe
    assert kept is not None
    assert own is not None
    assert recipes.difference(kept, own) is None  # its checkpoints keep it
    monkeypatch.setattr("scorefield.runs.trained.of_checkpoints", lambda folder: None)  # nor those of 0.1.0
    with pytest.raises(ValueError, match=r"has no recipe.toml to report on"):
        sf.load(run.folder).report()


def test_a_signal_stops_training_where_it_can_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "scorefield.runs.training._sample_into",
        lambda folder, denoiser, experiment, step: signal.raise_signal(signal.SIGINT),
    )
    recipe = recipes.override(presets.two_moons(), [*TABLE, "training.steps=4", "logging.sample_every=2"])
    with pytest.raises(runs.Interrupted, match=r"^after step 2 of 4, which is saved$") as stopped:
        runs.train(tmp_path / "run", recipe)
    assert stopped.value.folder == tmp_path / "run"
    assert checkpoints.latest(tmp_path / "run" / "checkpoints", print) == tmp_path / "run/checkpoints/step-000002"
    monkeypatch.undo()
    trained, whole = (runs.train(tmp_path / name, recipe) for name in ("run", "whole"))
    assert trained is not None
    assert whole is not None
    assert trained.path.read_bytes() == whole.path.read_bytes()
