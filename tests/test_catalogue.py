"""One catalogue: what it names is there, reading it imports nothing, and a part of one's own is a class and a line."""

import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import scorefield as sf
from scorefield import catalogue, recipes, runs
from scorefield.losses import denoising
from scorefield.solvers.base import AffineSolver

TABLES = {name: table for name, table in vars(catalogue).items() if name.isupper()}


@pytest.mark.parametrize(
    "entry", [pytest.param(e, id=f"{t}[{name}]") for t, table in TABLES.items() for name, e in table.items()]
)
def test_what_is_named_is_there(entry):
    assert callable(catalogue.find(entry))


def test_reading_the_catalogue_imports_nothing_but_the_standard_library():
    code = (
        "import sys, scorefield.catalogue; "
        "print({m.partition('.')[0] for m in sys.modules} - sys.stdlib_module_names - {'scorefield', 'lazy_loader'})"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code_with_path(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "{'__main__'}"


def code_with_path(code):
    """Without `site`, so that no .pth file imports anything of its own."""
    return f"import sys; sys.path[:0] = {sys.path!r}; {code}"


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"^unknown solver 'hern'\. Did you mean 'heun'\?$"):
        catalogue.make("solver", "hern", catalogue.SOLVERS)
    with pytest.raises(
        ValueError,
        match=r"^unknown task 'zzz'\. Known: classifier, consistency-map, denoiser, flow, flow-map, gan, vae\.$",
    ):
        catalogue.make("task", "zzz", catalogue.MODELS)


def test_a_name_may_bring_arguments_that_options_override():
    assert catalogue.make("solver", "dpm-solver++-3m", catalogue.SOLVERS) == sf.DPMSolverPP(order=3)
    assert catalogue.make("solver", "dpm-solver++-3m", catalogue.SOLVERS, order=1) == sf.DPMSolverPP(order=1)


# --- one of each kind, as a user would write it ---


@dataclass(frozen=True)
class Quadratic(sf.Schedule):
    """sigma = sigma_max t^2 beside the whole of the data."""

    sigma_max: float = 20.0

    def alpha(self, t):
        return torch.ones_like(t)

    def sigma(self, t):
        return self.sigma_max * t**2


class TwoLayers(nn.Module):
    """A network of points, told log noise as a third coordinate."""

    conditions = ()

    def __init__(self, dim, width=8):
        super().__init__()
        self.dim, self.width = dim, width
        self.layers = nn.Sequential(nn.Linear(dim + 1, width), nn.Tanh(), nn.Linear(width, dim))

    def forward(self, x, level):
        return self.layers(torch.cat([x, level[:, None]], 1))


class Steps(nn.Module):
    """How many of `features` steps a level has climbed."""

    def __init__(self, features):
        super().__init__()
        self.features = features

    def forward(self, level):
        return (level[:, None] > torch.linspace(-2, 2, self.features).to(level)).to(level.dtype)


def tripled(denoiser, x0, **options):
    """Three times the denoising loss."""
    return 3 * denoising(denoiser, x0, **options)


@dataclass(frozen=True)
class Overshoot(AffineSolver):
    """DDIM's step towards `share` times the prediction."""

    share: float = 1.0

    def weights(self, denoiser, t, s):
        a, b, c = sf.DDIM().weights(denoiser, t, s)
        return a, b * self.share, c


@pytest.fixture
def own(monkeypatch):
    """The line of each in the catalogue."""
    monkeypatch.setitem(catalogue.SCHEDULES, "Quadratic", f"{__name__}:Quadratic")
    monkeypatch.setitem(catalogue.NETWORKS, "TwoLayers", f"{__name__}:TwoLayers")
    monkeypatch.setitem(catalogue.LOSSES, "tripled", f"{__name__}:tripled")
    monkeypatch.setitem(catalogue.SOLVERS, "overshoot", (f"{__name__}:Overshoot", {"share": 2.0}))


def test_a_part_of_ones_own_is_one_class_and_one_line(own, tmp_path):
    """Trained through a recipe in TOML, saved, loaded, and sampled by its name."""
    recipe = recipes.override(
        recipes.presets.two_moons(),
        [
            'network={type="TwoLayers", width=5}',
            'schedule={type="Quadratic", sigma_max=10.0}',
            "objective.loss=tripled",
            "training.steps=3",
            "training.batch_size=16",
        ],
    )
    trained = runs.train(tmp_path / "run", recipes.loads(recipes.dumps(recipe)))
    assert trained is not None
    loaded = sf.load(tmp_path / "run")
    assert isinstance(loaded.denoiser, sf.NetworkDenoiser)
    assert isinstance(loaded.denoiser.net, TwoLayers)
    assert loaded.denoiser.net.width == 5
    assert loaded.denoiser.schedule == Quadratic(10.0)
    drawn = loaded.sample(4, solver="overshoot", nfe=2)
    assert torch.equal(drawn.x, sf.sample(loaded.denoiser, (4, 2), solver=Overshoot(2.0), nfe=2).x)
    assert not torch.allclose(drawn.x, sf.sample(loaded.denoiser, (4, 2), solver=sf.DDIM(), nfe=2).x, rtol=0.01)
    # the loss is the one that was named: the same first batch has a third of it under the library's
    other = runs.train(tmp_path / "other", recipes.override(recipe, ["objective.loss=denoising"]))
    assert other is not None
    assert trained.history.loss[0] == pytest.approx(3 * other.history.loss[0], rel=1e-6)


def test_so_is_an_embedding_of_the_noise_level(monkeypatch, tmp_path):
    monkeypatch.setitem(catalogue.EMBEDDINGS, "steps", f"{__name__}:Steps")
    torch.manual_seed(0)
    net = sf.networks.MLP(2, hidden=8, depth=1, level_embedding="steps")
    for p in net.parameters():
        nn.init.normal_(p)
    x = torch.zeros(3, 2)
    a, b, c = net(x, torch.tensor([0.0, 0.01, 1.0]))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    sf.save(tmp_path / "m.safetensors", sf.NetworkDenoiser(net, sf.VP(), sf.V()), {"event_shape": [2]})
    loaded = sf.load(tmp_path / "m.safetensors").denoiser
    assert isinstance(loaded, sf.NetworkDenoiser)
    assert torch.equal(loaded.net(x, torch.ones(3)), net(x, torch.ones(3)))


def test_a_part_without_its_line_is_refused_where_it_is_named(own, tmp_path, monkeypatch):
    model = sf.NetworkDenoiser(TwoLayers(2), Quadratic(), sf.Eps())
    sf.save(tmp_path / "m.safetensors", model, {"event_shape": [2]})
    assert sf.load(tmp_path / "m.safetensors").sample(3, nfe=2).x.shape == (3, 2)
    monkeypatch.delitem(catalogue.SCHEDULES, "Quadratic")
    with pytest.raises(ValueError, match="unknown type 'Quadratic' in a checkpoint"):
        sf.load(tmp_path / "m.safetensors")
    assert sf.load(tmp_path / "m.safetensors", types=[Quadratic]).denoiser.schedule == Quadratic()
