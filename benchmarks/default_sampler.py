"""The constants of `sf.solvers.recommended`, fitted to random problems: writes `src/scorefield/solvers/constants.py`.

    OMP_NUM_THREADS=1 python benchmarks/default_sampler.py --nfe 8 10 12         # minutes for each; others stay
    OMP_NUM_THREADS=1 python benchmarks/default_sampler.py --nfe 24 --begin 27   # from the constants of 27

Problems are those of `_families.py`, on instances and starts that no other script uses: seeds 1000 to 1047 of A, 1000
to 1003 of B, and the digits with starts of their own. About the data's mean and in units of their standard deviation,
on the circle, a run of N steps of an exact denoiser can be differentiated in the constants that make its grid and its
weights. Adam lowers, from the constants that are kept,

    log sum_f exp(beta l_f) / beta,     l_f = 0.8 <log |error|> + 0.2 log <|error|> - log(kept default's median error)

over the three families f: what counts most is the family that gained least. The kept ones came about so, one N after
another, each begun where its neighbour ended. A row that is fitted on its own may end in another basin than its
neighbours, and between basins one cannot interpolate: look at every N with `every_step.py`.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor

import scorefield as sf
from _families import SMOOTHING, family
from scorefield.solvers.constants import TABLE, Constants
from scorefield.solvers.kriging import Kriging
from scorefield.solvers.recommended import FULL, constants, ratios

FILE = Path(sf.__file__).parent / "solvers" / "constants.py"
BETA = 3.0
STEPS = 400  # of the fine trajectories


class Mixtures(NamedTuple):
    """I mixtures of K Gaussians in D dimensions, mean 0 and std 1, and B points on the circle of each."""

    log_weights: Tensor  # (I, K)
    means: Tensor  # (I, K, D)
    variances: Tensor  # (I, K, D), or (I, 1, 1): isotropic, one for all
    basis: Tensor | None  # (I, K, D, D): eigenvectors in columns
    start: Tensor  # (I, B, D), at theta = atan(FULL)

    def field(self, z: Tensor, theta: Tensor) -> Tensor:
        """dz/dtheta = (cos z - E[x0 | z]) / sin."""
        c, s = torch.cos(theta), torch.sin(theta)
        v = c**2 * self.variances + s**2
        if self.basis is None:
            logits = (c * z @ self.means.mT - c**2 * self.means.square().sum(-1)[:, None] / 2) / v
            mean = torch.softmax(logits + self.log_weights[:, None], 2) @ self.means
            x0 = mean + c * self.variances / v * (z - c * mean)
        else:
            y = (z[:, None] - c * self.means[:, :, None]) @ self.basis  # (I, K, B, D)
            gained = y / v[:, :, None]
            fit = (y * gained).sum(-1) + v.log().sum(-1)[:, :, None]
            share = torch.softmax(self.log_weights[:, :, None] - fit / 2, 1)
            each = self.means[:, :, None] + (c * self.variances[:, :, None] * gained) @ self.basis.mT
            x0 = (share[..., None] * each).sum(1)
        return (c * z - x0) / s

    @torch.no_grad()
    def end(self) -> Tensor:
        """Of the exact path, by Runge-Kutta of order 4 on theta ~ r^3."""
        first = math.atan(FULL)

        def rate(z: Tensor, r: float) -> Tensor:
            return self.field(z, torch.tensor(first * r**3)) * (3 * first * r**2) if r > 0 else torch.zeros_like(z)

        z, h = self.start, -1 / STEPS
        for i in range(STEPS):
            r, half, next_ = 1 - i / STEPS, 1 - (i + 0.5) / STEPS, 1 - (i + 1) / STEPS
            a = rate(z, r)
            b = rate(z + h / 2 * a, half)
            c = rate(z + h / 2 * b, half)
            z = z + h / 6 * (a + 2 * b + 2 * c + rate(z + h * c, max(next_, 0.0)))
        return z


def _on_circle(x0: Tensor, generator: torch.Generator) -> Tensor:
    theta = math.atan(FULL)
    return math.cos(theta) * x0 + math.sin(theta) * torch.randn(x0.shape, generator=generator)


def mixtures(name: str, seeds: range, n: int) -> Mixtures:
    """Instances of A or B, `n` starts of each."""
    parts: list[tuple[Tensor, ...]] = []
    generator = torch.Generator().manual_seed(seeds[0])
    for seed in seeds:
        law = family(name, seed)
        assert isinstance(law, sf.GaussianMixture)
        mean, std = law.mean, law.variance.mean().sqrt()
        root = law._spectrum.root()  # pyright: ignore[reportPrivateUsage]
        variances, basis = torch.linalg.eigh(root @ root.mT / std**2)
        x0 = (law.sample(n, generator=generator) - mean) / std
        parts.append((law.weights.log(), (law.means - mean) / std, variances.clamp(min=1e-12), basis, x0))
    weights, means, variances, basis, x0 = (torch.stack(column) for column in zip(*parts, strict=True))
    return Mixtures(weights, means, variances, basis, _on_circle(x0, generator))


def digits(n: int) -> Mixtures:
    """C, with starts of its own."""
    x = torch.from_numpy(load_digits(return_X_y=True)[0]) / 16
    std = (x.var(0, correction=0) + SMOOTHING**2).mean().sqrt()
    means = (x - x.mean(0)) / std
    h = SMOOTHING / std
    generator = torch.Generator().manual_seed(1000)
    pick = torch.randint(len(x), (n,), generator=generator)
    x0 = means[pick] + h * torch.randn(n, x.shape[1], generator=generator)
    return Mixtures(torch.zeros(1, len(x)), means[None], (h**2).reshape(1, 1, 1), None, _on_circle(x0[None], generator))


def errors(problem: Mixtures, end: Tensor, c: Constants, nfe: int) -> Tensor:
    """Each sample's distance to the exact end, over the rms of the ends, `(I, B)`."""
    near = torch.as_tensor(c.log_near).exp()
    gap, width, tail, nugget = (torch.as_tensor(v).exp() for v in (c.log_gap, c.log_width, c.log_tail, c.log_nugget))
    amplitude: tuple = (c.amplitude_1, c.amplitude_2, c.amplitude_3, c.amplitude_4)
    solver = Kriging(near, near + gap, width, tail, amplitude, nugget)  # type: ignore[arg-type]  # tensors: differentiable
    inner = torch.atan(ratios(c, torch.linspace(0, 1, nfe + 1)[1:-1]))  # powers of 0 have no gradient at the ends
    theta = torch.cat([torch.tensor([math.atan(FULL)]), inner, torch.zeros(1)])
    weights = solver.weights(theta * 2 / math.pi) * math.pi / 2  # for dz/dtheta
    z, past = problem.start, []
    for i in range(nfe):
        past = [problem.field(z, theta[i]), *past[: solver.nodes]]
        z = z + sum(weights[i, j] * f for j, f in enumerate(past))
    return (z - end).norm(dim=-1) / end.square().sum(-1).mean(1, keepdim=True).sqrt()


def loss(e: Tensor) -> Tensor:
    """l of one family, but for what it is compared with; the floor keeps the luckiest samples from leading."""
    floor = 0.3 * e.detach().median(1, keepdim=True).values
    return 0.4 * torch.log(e**2 + floor**2).mean() + 0.2 * e.mean(1).log().mean()


def fit(problems: list[tuple[Mixtures, Tensor]], nfe: int, begin: Constants, steps: int, rate: float) -> Constants:
    kept = [loss(errors(*p, constants(nfe), nfe)) for p in problems]
    values = [torch.tensor(v, requires_grad=True) for v in begin]
    bends = values[-3:]
    groups = [{"params": values[:-3], "lr": rate}, {"params": bends, "lr": 0.4 * rate}]
    optimiser = torch.optim.Adam(groups, betas=(0.8, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [rate, 0.4 * rate], total_steps=steps, pct_start=0.15)
    best, found = math.inf, begin
    for step in range(steps):
        c = Constants(*values)  # type: ignore[arg-type]
        gains = torch.stack([loss(errors(*p, c, nfe)) - k for p, k in zip(problems, kept, strict=True)])
        objective = torch.logsumexp(BETA * gains, 0) / BETA - math.log(3) / BETA
        if objective.item() < best:
            best, found = objective.item(), Constants(*(v.item() for v in values))
        if step == 0 or step == steps - 1:
            print(nfe, step, *(f"{g.exp().item():.3f}" for g in gains), flush=True)
        optimiser.zero_grad()
        over = torch.relu(torch.stack([b.abs() for b in bends]).sum() - 0.8)  # nodes must stay in order
        (objective + 5 * over**2).backward()
        torch.nn.utils.clip_grad_norm_(values, 2.0)
        optimiser.step()
        schedule.step()
    return found


def write(table: dict[int, Constants]) -> None:
    text = FILE.read_text()
    head = text[: text.index("TABLE = {")]
    lines = []
    for n, c in sorted(table.items()):
        first, second = (", ".join(f"{v:.7f}" for v in half) for half in (c[:8], c[8:]))
        lines.append(f"    {n}: Constants({first},\n        {second}),")
    FILE.write_text(head + "TABLE = {  # evaluations: constants\n" + "\n".join(lines) + "\n}\n# fmt: on\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nfe", nargs="+", type=int, default=sorted(TABLE), help="rows to fit")
    parser.add_argument("--begin", type=int, help="the row whose constants they begin at; their own")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rate", type=float, default=0.03)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    made = [mixtures("A", range(1000, 1048), 16), mixtures("B", range(1000, 1004), 24), digits(48)]
    problems = [(p, p.end()) for p in made]
    table = dict(TABLE)
    for nfe in args.nfe:
        table[nfe] = fit(problems, nfe, constants(args.begin or nfe), args.steps, args.rate)
        write(table)


if __name__ == "__main__":
    main()
