"""Posteriors of two simulators of the literature, learned from 10,000 simulations: two moons and SLCP.

    OMP_NUM_THREADS=1 python benchmarks/simulators.py [two_moons] [slcp]

    two moons  theta ~ U[-1, 1]^2, y in the plane on one of two crescents         (Greenberg et al. 2019)
    SLCP       theta ~ U[-3, 3]^5, y = four points of one normal law in the plane, of mean (theta_1, theta_2), standard
               deviations theta_3^2, theta_4^2 and correlation tanh(theta_5)      (Papamakarios et al. 2019)

C2ST: the share a classifier gets right between draws and reference draws, one half at best: a perceptron of two layers
of 10 D units in five folds (Lueckmann et al. 2021), 1,000 of each, standardised; three observations, simulated from
theta drawn from the prior. The reference of two moons is exact; SLCP's is 2,000 chains of 3,000 random-walk steps from
the likeliest of two million draws of the prior, its own C2ST between two sets beside it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from scorefield.simulators import Uniform, infer

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import simulator_posterior as moons

SIMULATIONS, DRAWS = 10_000, 1_000


def slcp(theta: Tensor, generator: torch.Generator) -> Tensor:
    """y `(N, 8)`."""
    z = torch.randn(len(theta), 4, 2, generator=generator)
    one, two, along = theta[:, 2, None].square(), theta[:, 3, None].square(), torch.tanh(theta[:, 4, None])
    first = theta[:, 0, None] + one * z[..., 0]
    second = theta[:, 1, None] + two * (along * z[..., 0] + (1 - along**2).sqrt() * z[..., 1])
    return torch.stack([first, second], 2).flatten(1)


def slcp_log_prob(theta: Tensor, y: Tensor) -> Tensor:
    """log p(y | theta), `(N,)` for one y `(8,)`, -inf outside the prior."""
    theta = theta.double()
    one, two = theta[:, 2].square().clamp(min=1e-9), theta[:, 3].square().clamp(min=1e-9)
    along, points = torch.tanh(theta[:, 4]), y.double().reshape(4, 2)
    a = (points[None, :, 0] - theta[:, None, 0]) / one[:, None]
    b = (points[None, :, 1] - theta[:, None, 1]) / two[:, None]
    rest = (1 - along**2).clamp(min=1e-9)
    inside = (a.square() + b.square() - 2 * along[:, None] * a * b).sum(1) / rest
    logs = -inside / 2 - 4 * (one.log() + two.log() + rest.log() / 2)
    return torch.where((theta.abs() <= 3).all(1), logs, -torch.inf)


def slcp_posterior(y: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n draws of theta given y, each the end of a chain of its own."""
    theta = 6 * torch.rand(2_000_000, 5, generator=generator) - 3
    logs = slcp_log_prob(theta, y)
    chosen = torch.multinomial(torch.softmax(logs / 2, 0), n, replacement=True, generator=generator)
    x, now = theta[chosen].double(), logs[chosen]
    spread = x.std(0)
    for k in range(3000):
        step = spread * torch.randn(n, 5, generator=generator).double() * (1.0, 0.4, 0.15)[k % 3]
        tried = x + step
        if k % 4 == 0:  # the signs of the two standard deviations' roots are free
            tried = x * torch.cat(
                [torch.ones(n, 2), torch.randint(0, 2, (n, 2), generator=generator) * 2 - 1, torch.ones(n, 1)], 1
            )
        there = slcp_log_prob(tried, y)
        taken = torch.rand(n, generator=generator).double().log() < there - now
        x, now = torch.where(taken[:, None], tried, x), torch.where(taken, there, now)
    return x.float()


def c2st(x: Tensor, y: Tensor) -> float:
    """Of as many draws, accuracy in five folds."""
    both = torch.cat([x, y]).double()
    both = ((both - y.mean(0)) / y.std(0)).numpy()
    labels, width = np.r_[np.zeros(len(x)), np.ones(len(y))], 10 * x.shape[1]
    net = MLPClassifier((width, width), max_iter=1000, early_stopping=False, random_state=1)
    order = np.random.default_rng(1).permutation(len(labels))
    return float(cross_val_score(net, both[order], labels[order], cv=5, scoring="accuracy").mean())


TASKS = {
    "two_moons": (Uniform(torch.tensor([-1.0, -1.0]), torch.tensor([1.0, 1.0])), moons.simulate, moons.exact_posterior),
    "slcp": (Uniform(torch.full((5,), -3.0), torch.full((5,), 3.0)), slcp, slcp_posterior),
}


def main(names: list[str]) -> None:
    print("| task | C2ST, three observations | of two reference sets | outside the prior | training, CPU-s, steps |")
    print("| --- | --- | --- | --- | --- |")
    for name in names:
        prior, simulate, reference = TASKS[name]
        g = torch.Generator().manual_seed(0)
        theta = prior.theta(torch.randn(SIMULATIONS, prior.dim, generator=g))
        y = simulate(theta, g)
        start = time.process_time()
        learned = infer(prior, theta, y)
        seconds = time.process_time() - start
        truth = prior.theta(torch.randn(3, prior.dim, generator=torch.Generator().manual_seed(1)))
        observed = simulate(truth, torch.Generator().manual_seed(2))
        found, floor, outside = [], [], 0
        for k, one in enumerate(observed):
            h = torch.Generator().manual_seed(10 + k)
            exact = reference(one, 2 * DRAWS, h)[torch.randperm(2 * DRAWS, generator=h)]
            made = learned.sample(one, DRAWS, nfe=50, seed=k)
            outside += int(((made < prior.low) | (made > prior.high)).any(1).sum())
            found.append(c2st(made, exact[:DRAWS]))
            floor.append(c2st(exact[DRAWS:], exact[:DRAWS]))
        shown = ", ".join(f"{v:.3f}" for v in found), ", ".join(f"{v:.3f}" for v in floor)
        print(f"| {name} | {shown[0]} | {shown[1]} | {outside} | {seconds:.0f}, {learned.step} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:] or list(TASKS))
