"""Two small objectives that are not denoisers, and a process that trains one: it may be killed in the middle of a step.

python objective_cases.py NAME FOLDER [--kill STEP TURN] [--set option=value ...]
"""

import argparse
import ast
import os
import signal
from pathlib import Path

import torch
from torch import nn

from scorefield import networks, training
from scorefield.training import Turn, distributed

f64 = torch.float64
STEPS = 20


def data(n=50):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(7))
    return x @ torch.tensor([[1.0, 0.8, 0.1], [0.0, 0.5, 0.2], [0.0, 0.0, 0.1]])


class Autoencoder(training.Objective):
    """One loss: the error of a decoded, noisy code, at a scale that is learned, plus the code's size."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.encoder = nn.Sequential(nn.Linear(3, 8, dtype=f64), nn.SiLU(), nn.Linear(8, 2, dtype=f64))
        self.decoder = nn.Sequential(nn.Linear(2, 8, dtype=f64), networks.Dropout(0.2), nn.Linear(8, 3, dtype=f64))
        self.log_scale = nn.Parameter(torch.zeros((), dtype=f64))

    def models(self):
        return {"encoder": self.encoder, "decoder": self.decoder}

    def batch(self, raw, cond, draws):
        return super().batch(raw.double(), cond, draws)

    def forward(self, batch, draws, now):
        code = self.encoder(batch["x0"])
        size = code.square().mean(1)
        code = code + 0.1 * draws.normal((2,), f64)
        error = (self.decoder(code) - batch["x0"]).square().mean(1)
        return {"loss": error * torch.exp(-self.log_scale) + self.log_scale + 0.1 * size, "error": error, "size": size}


class Pair(training.Objective):
    """A critic with a gradient penalty, and the generator it is a critic of; each has an optimiser of its own."""

    turns = (
        Turn("critic", ("critic",), training.AdamW(betas=(0.0, 0.9)), lr_ratio=2.0),
        Turn("generator", ("generator",)),
    )

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.generator = nn.Sequential(nn.Linear(2, 8, dtype=f64), nn.Tanh(), nn.Linear(8, 3, dtype=f64))
        self.critic = nn.Sequential(nn.Linear(3, 8, dtype=f64), nn.SiLU(), nn.Linear(8, 1, dtype=f64))

    def models(self):
        return {"generator": self.generator, "critic": self.critic}

    def averaged(self):
        return ("generator",)

    def forward(self, batch, draws, now):
        made, real = self.generator(draws.normal((2,), f64)), batch["x0"].double()
        if now.turn == "generator":
            return {"loss": -self.critic(made)[:, 0]}
        between = torch.lerp(real, made.detach(), draws.uniform((1,))).requires_grad_()
        slope = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)[0]
        penalty = (slope.square().sum(1).add(1e-12).sqrt() - 1).square()
        gap = self.critic(made.detach()) - self.critic(real)
        return {"loss": gap[:, 0] + 10 * penalty, "penalty": penalty}


class Uneven(Pair):
    """The generator moves in every third step."""

    turns = (Pair.turns[0], Turn("generator", ("generator",), every=3))


class Spectral(Pair):
    """The generator's last layer has a spectral norm of 1, by buffers that move whenever it is called."""

    def __init__(self):
        super().__init__()
        nn.utils.parametrizations.spectral_norm(self.generator[2])


MADE = {"autoencoder": Autoencoder, "pair": Pair, "uneven": Uneven, "spectral": Spectral}


def fit(folder, objective, **options):
    """20 steps in `folder`, a checkpoint every 10; going on where one is there."""
    folder.mkdir(exist_ok=True)
    on_step = options.pop("on_step", None)
    run = training.Run(folder, checkpoint_every=10, warn=lambda line: None)
    options = {"steps": STEPS, "batch_size": 12, "warmup": 3, "lr": 1e-2, "ema_decay": 0.9, **options}
    with run.opened():
        return training.fit(objective, data(), run=run, on_step=on_step, **options)


def killed_at(objective, step, turn):
    """Kills its process when the loss of `turn` is asked for in `step`, from 0."""

    def look(module, args):
        now = args[2]
        if (now.step, now.turn) == (step, turn):
            os.kill(os.getpid(), signal.SIGKILL)

    objective.register_forward_pre_hook(look)
    return objective


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kill", nargs=2)
    parser.add_argument("--set", nargs="*", default=[])
    args = parser.parse_args()
    options = {key: ast.literal_eval(value) for key, value in (pair.split("=") for pair in args.set)}
    objective = MADE[args.name]()
    if args.kill:
        killed_at(objective, int(args.kill[0]), args.kill[1])
    with distributed.process_group():
        fit(args.folder, objective, **options)


if __name__ == "__main__":
    main()
