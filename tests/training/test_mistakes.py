"""What `fit` says to arguments that are none: one line, the argument first, what was expected and what came."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from training_cases import data, denoiser

import scorefield as sf
from scorefield import losses, networks, training
from scorefield.data import HorizontalFlip, Scale

X = data()
CLASSIFIER = sf.guidance.NetworkClassifier(networks.MLP(2, 8, 1), sf.VP(), sf.V())
LABELLED = {"denoiser": denoiser(classes=3)}


class Same(Dataset):
    """One item, over and over."""

    def __init__(self, item: Any, n: int = 50) -> None:
        self.item, self.n = item, n

    def __getitem__(self, i):
        return self.item

    def __len__(self):
        return self.n


def distance(denoiser, x0, **how):
    return (denoiser(x0, 0.5) - x0).square()


KINDS = (
    "data must be a tensor or array (N, *event), a torch Dataset or DataLoader, or a source of scorefield.data; got "
)
LOSS = "loss must be loss(denoiser, x0, t=..., generator=..., cond=...); "
EACH = "loss must return a tensor of shape (12,), a number for each sample; got "
MODEL = "denoiser must be a NetworkDenoiser(net, schedule, parameterization), a NetworkClassifier or an Objective; got "
LAW = "times must be a law of t, such as losses.Uniform(); got "
WEIGHT = "weight must be a function weight(schedule, t), such as losses.weights.snr; "
TRANSFORM = "transform must be a transform of scorefield.data, such as data.Scale.to_unit_range(data); got "
AUGMENT = "augment must be a function augment(x0, generator), such as data.HorizontalFlip(); "
OPTIMIZER = "optimizer must be an optimiser of scorefield.training, such as training.AdamW(); got "
DECAY = "decay must be a function decay(step, steps, warmup), such as training.cosine; "
PAIRS = "data must be arrays and labels apart, fit(denoiser, data, labels=labels), or a torch Dataset of pairs; got a "

MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"denoiser": nn.Linear(2, 2)}, MODEL + "Linear"),
    ({"denoiser": lambda x, t: x}, MODEL + "<lambda>"),
    ({"denoiser": None}, MODEL + "None"),
    ({"denoiser": "mlp"}, MODEL + "'mlp'"),
    ({"denoiser": sf.NetworkDenoiser}, MODEL + "NetworkDenoiser"),
    ({"denoiser": training.DenoisingObjective}, MODEL + "DenoisingObjective"),
    (
        {"denoiser": sf.NetworkDenoiser(nn.Linear(2, 2), sf.VP(), sf.V())},
        "denoiser.net must be a network that is called as net(x, level); Linear is called otherwise: "
        "too many positional arguments",
    ),
    (
        {"denoiser": denoiser().requires_grad_(False)},
        "DenoisingObjective has no weight to train: none requires a gradient",
    ),
    (
        {"denoiser": torch.compile(denoiser(), backend="eager")},
        "denoiser must not be compiled but its network: denoiser.net = torch.compile(denoiser.net)",
    ),
    ({"denoiser": CLASSIFIER}, "loss must be losses.classification for a NetworkClassifier; got denoising"),
    ({"denoiser": CLASSIFIER, "loss": losses.classification}, "classification needs labels"),
    ({"data": None}, KINDS + "NoneType"),
    ({"data": "data.npy"}, KINDS + "str"),
    ({"data": 3.0}, KINDS + "float"),
    ({"data": {"x": X}}, KINDS + "dict"),
    ({"data": (x for x in X)}, KINDS + "generator"),
    ({"data": [(x, 1) for x in X]}, PAIRS + "list of pairs"),
    ({"data": tuple((x.numpy(), 1) for x in X)}, PAIRS + "tuple of pairs"),
    ({"data": ["a", "b"]}, "data must hold numbers; got list of <U1"),
    ({"data": [[1, 2], [3]]}, "data must hold numbers; got list of object"),
    ({"data": np.array([None, 1])}, "data must hold numbers; got ndarray of object"),
    ({"data": [torch.zeros(2), torch.zeros(3)]}, "data must hold tensors of one shape; got (2,) and (3,)"),
    ({"data": []}, "data must be (N, *event) and not empty; got shape (0,)"),
    ({"data": torch.tensor(1.0)}, "data must be (N, *event) and not empty; got shape ()"),
    ({"data": torch.randn(50)}, "x must have 2 entries in each event; got shape (12,)"),
    ({"data": X * torch.nan}, "data: x must be finite in float32; 100 entries are not"),
    (
        {"data": torch.zeros(50, 2, dtype=torch.uint8)},
        "data of 256 levels need a transform to the model's units, transform=data.Scale.to_unit_range(data)",
    ),
    ({"data": Same("abc")}, "an item of the data set must be numbers; got str"),
    ({"data": Same(X[0], 0)}, "dataset must not be empty"),
    ({"data": Same({"image": X[0]})}, "dataset[0] has no 'x'; it has image: pass x, Mapped(dataset, x=...)"),
    (LABELLED | {"data": Same((X[0], "cat"))}, "dataset[0]: label must be numbers; got str"),
    ({"data": DataLoader(TensorDataset(X), batch_size=None)}, "the DataLoader brings batches of its own"),
    (LABELLED | {"labels": "a"}, "labels must hold numbers, in a tensor or what becomes one; got 'a'"),
    (LABELLED | {"labels": X[:, 0]}, "labels: label must be (N,) integers; got (50,) torch.float32"),
    (LABELLED | {"labels": torch.full((50,), -1)}, "labels: label must not be negative; got -1"),
    (LABELLED | {"labels": torch.full((50,), 9)}, "labels must lie in 0..2; got 0..9"),
    (LABELLED | {"labels": torch.eye(3)[torch.arange(50) % 3]}, "labels must have shape (50,), one for each datum"),
    ({"steps": 0}, "steps must be at least 1; got 0"),
    ({"steps": -1}, "steps must be at least 1; got -1"),
    ({"steps": 1.5}, "steps must be a whole number; got 1.5"),
    ({"steps": "10"}, "steps must be a whole number; got '10'"),
    ({"steps": None}, "steps must be a whole number; got None"),
    ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
    ({"batch_size": 2.0}, "batch_size must be a whole number; got 2.0"),
    ({"accumulate": 5}, "batch_size must be a multiple of accumulate x processes, 5; got 12"),
    ({"warmup": -1}, "warmup must be at least 0; got -1"),
    ({"patience": -1}, "patience must be at least 0; got -1"),
    ({"rollbacks": -1}, "rollbacks must be at least 0; got -1"),
    ({"seed": None}, "seed must be a whole number; got None"),
    ({"seed": 2**70}, f"seed must be less than 2^64; got {2**70}"),
    ({"lr": "1e-3"}, "lr must be a number; got '1e-3'"),
    ({"lr": torch.ones(2)}, "lr must be a number; got tensor([1., 1.])"),
    ({"lr": float("inf")}, "lr must be positive and finite; got inf"),
    ({"clip": float("nan")}, "clip must be positive; got nan"),
    ({"ema_decay": "0.999"}, "ema_decay must be a number; got '0.999'"),
    ({"ema_decay": 1}, "ema_decay must lie in [0, 1); got 1.0"),
    ({"ema": 0.9}, "fit takes no 'ema'. Did you mean 'ema_decay'?"),
    ({"power_ema": 0.1}, "power_ema must be several numbers, such as (0.05, 0.1); got 0.1"),
    ({"power_ema": "0.1"}, "power_ema must be several numbers, such as (0.05, 0.1); got '0.1'"),
    ({"power_ema": (0.5,)}, "power_ema must hold widths in (0, 0.2887); got 0.5"),
    ({"compile": "no"}, "compile must be True or False; got 'no'"),
    ({"bf16": None}, "bf16 must be True or False; got None"),
    ({"shard": True}, "sharding needs several processes: start them with torchrun"),
    ({"device": "cuda:99"}, "fit takes no 'device'. It trains where the weights are: denoiser.to('cuda')."),
    ({"epochs": 3}, "fit takes no 'epochs'. Give steps: epochs x len(data) / batch_size."),
    ({"optimizer": "adam"}, OPTIMIZER + "'adam'"),
    ({"optimizer": training.AdamW}, OPTIMIZER + "the class AdamW itself"),
    ({"optimizer": torch.optim.Adam(denoiser().parameters())}, OPTIMIZER + "Adam"),
    ({"decay": "cosine"}, DECAY + "got 'cosine'"),
    ({"decay": lambda step: 1.0}, DECAY + "<lambda> is called otherwise: too many positional arguments"),
    ({"decay": lambda *steps: "x"}, "what decay returns must be a number; got 'x'"),
    ({"loss": "mse"}, LOSS + "got 'mse'"),
    ({"loss": None}, LOSS + "got None"),
    ({"loss": losses.Uncertainty}, LOSS + "got the class Uncertainty itself"),
    ({"loss": nn.MSELoss()}, LOSS + "MSELoss is called otherwise: got an unexpected keyword argument 't'"),
    ({"loss": nn.functional.mse_loss}, LOSS + "mse_loss is called otherwise: got an unexpected keyword argument 't'"),
    ({"loss": distance}, EACH + "shape (12, 2)"),
    ({"loss": lambda *a, **how: distance(*a).mean()}, EACH + "shape ()"),
    ({"loss": lambda *a, **how: None}, EACH + "None"),
    (
        {"loss": lambda *a, **how: distance(*a).mean(1).detach()},
        "loss must depend on the weights that are trained; it has no gradient",
    ),
    ({"times": "uniform"}, LAW + "'uniform'"),
    ({"times": torch.rand(5)}, LAW + "Tensor"),
    ({"times": losses.Uniform}, LAW + "the class Uniform itself"),
    ({"weight": 2.0}, WEIGHT + "got 2.0"),
    ({"weight": lambda t: t}, WEIGHT + "<lambda> is called otherwise: too many positional arguments"),
    ({"weight": losses.weights.MinSNR}, WEIGHT + "got the class MinSNR itself"),
    ({"transform": lambda x: x / 2}, TRANSFORM + "<lambda>"),
    ({"transform": Scale}, TRANSFORM + "the class Scale itself"),
    ({"augment": [HorizontalFlip()]}, AUGMENT + "got list"),
    ({"augment": lambda x0: x0}, AUGMENT + "<lambda> is called otherwise: too many positional arguments"),
    ({"augment": lambda x0, generator: None}, "augment must return a tensor of 12 samples; got None"),
    ({"condition_dropout": "0.1"}, "condition_dropout must be a number; got '0.1'"),
    ({"condition_dropout": 2}, "condition_dropout must lie in [0, 1]; got 2.0"),
    ({"run": "runs/mine"}, "run must be a folder as training.Run(folder); got 'runs/mine'"),
    ({"run": Path("runs")}, f"run must be a folder as training.Run(folder); got {type(Path()).__name__}"),
    ({"progress": "yes"}, "progress must be True or False; got 'yes'"),
    ({"on_step": [print]}, "on_step must be a function of a Progress; got list"),
    (
        {"on_step": lambda: None},
        "on_step must be a function of a Progress; <lambda> is called otherwise: too many positional arguments",
    ),
]


@pytest.mark.parametrize(
    ("given", "said"), MISTAKES, ids=[f"{i} {[*given][-1]}" for i, (given, _) in enumerate(MISTAKES)]
)
def test_a_mistake_is_one_line_that_names_the_argument(given, said):
    arguments = {"denoiser": denoiser(), "data": X, "steps": 2, "batch_size": 12} | given
    with pytest.raises((TypeError, ValueError), match=re.escape(said)) as refused:
        training.fit(**arguments)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 250


def test_steps_must_be_given():
    with pytest.raises(TypeError, match="fit needs steps, the number of updates of the weights"):
        training.fit(denoiser(), X)


def test_a_batch_may_be_larger_than_the_data():
    """A step then sees data twice."""
    assert training.fit(denoiser(), X, steps=2, batch_size=120).history.step == [1, 2]
