"""The constants of `sf.solvers.recommended`, fitted to random problems: writes `src/scorefield/solvers/constants.py`.

    OMP_NUM_THREADS=1 python benchmarks/default_sampler.py                   # from START: half an hour
    OMP_NUM_THREADS=1 python benchmarks/default_sampler.py --kept --steps 500    # on from the constants that are kept

Problems are those of `_families.py`, on instances and starts that no other script uses: seeds 1000 to 1047 of A, 1000
to 1011 of B, and the digits with starts of their own. About the data's mean and in units of their standard deviation,
on the circle, a run of N steps of an exact denoiser can be differentiated in the constants that make its grid and its
weights. All rows of the table are fitted at once, as the sampler reads them: a step of Adam takes a number of
evaluations, 2 to 60, and a case (where the process begins, and by how much data_std is wrong), those more often where
least was gained, and lowers

    log mean_f exp(beta l_f) / beta,     l_f = 0.8 <log |error|> + 0.2 log <|error|> - (the same of Adams methods)

over the three families f: what counts most is the family that gained least. `Adams` is the default before: what one
gets without knowing more of the field than that it is smooth.
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
from scorefield.solvers.recommended import between, kriging, part, ratios, spread

FILE = Path(sf.__file__).parent / "solvers" / "constants.py"
BETA = 4.0
STEPS = 200  # of the fine trajectories
ROWS = (2, 3, 4, 5, 6, 8, 10, 12, 13, 14, 17, 20, 24, 30, 40, 60, 90, 140)
BEGINNINGS = (0.6, 1.0, 1.6, 2.5, 4.0, 6.5, 10.0, 20.0, 40.0, 80.0, 150.0, 1000.0)  # sigma / (alpha data_std) at t = 1
CASES = tuple((first, 1.0) for first in BEGINNINGS) + ((80.0, 0.5), (80.0, 2.0), (2.0, 2.0))  # and true std / data_std
ALLOWED = 0.3  # log error that a case of a wrong data_std may be worse by until it counts as others do
ADAMS = (  # up to so many evaluations
    (8, sf.Multistep(order=3, field=sf.solvers.PathVelocity(sf.Rectified(), scale=0.65))),
    (17, sf.Multistep(order=4, field=sf.solvers.PathVelocity(sf.Rectified(), scale=1.75))),
    (math.inf, sf.Multistep(order=5, field=sf.solvers.PathVelocity(sf.Cosine(0.0), scale=0.7), finish=2)),
)


START = Constants(  # of every row: near the best for 14 evaluations of a full process
    log_near=-2.0, log_gap=-0.2, amplitude_1=2.0, amplitude_2=0.2, amplitude_3=0.4, amplitude_4=0.2, log_width=-0.3,
    log_tail=0.2, log_nugget=-23.0, log_power=0.6, log_scale=0.8, log_onset=0.0, bend_1=-0.1, bend_2=-0.1, bend_3=0.0,
    gentle=0.5, tilt=0.0, log_sd=0.0,
)  # fmt: skip


class Mixtures(NamedTuple):
    """I mixtures of K Gaussians in D dimensions, mean 0 and std 1, and B points of each."""

    log_weights: Tensor  # (I, K)
    means: Tensor  # (I, K, D)
    variances: Tensor  # (I, K, D), or (I, 1, 1): isotropic, one for all
    basis: Tensor | None  # (I, K, D, D): eigenvectors in columns
    x0: Tensor  # (I, B, D)

    def scaled(self, by: float) -> Mixtures:
        return self._replace(means=self.means * by, variances=self.variances * by**2, x0=self.x0 * by)

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
    def end(self, z: Tensor, first: float) -> Tensor:
        """Of the exact path from `z` at theta = atan(first), by Runge-Kutta of order 4 on theta ~ r^3."""
        last = math.atan(first)

        def rate(z: Tensor, r: float) -> Tensor:
            return self.field(z, torch.tensor(last * r**3)) * (3 * last * r**2) if r > 0 else torch.zeros_like(z)

        h = -1 / STEPS
        for i in range(STEPS):
            r, half, next_ = 1 - i / STEPS, 1 - (i + 0.5) / STEPS, 1 - (i + 1) / STEPS
            a = rate(z, r)
            b = rate(z + h / 2 * a, half)
            c = rate(z + h / 2 * b, half)
            z = z + h / 6 * (a + 2 * b + 2 * c + rate(z + h * c, max(next_, 0.0)))
        return z


def mixtures(name: str, seeds: range, n: int) -> Mixtures:
    """Instances of A or B, `n` points of each."""
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
    return Mixtures(*(torch.stack(column) for column in zip(*parts, strict=True)))


def digits(n: int, seed: int = 1000) -> Mixtures:
    """C, with points of its own."""
    x = torch.from_numpy(load_digits(return_X_y=True)[0]) / 16
    std = (x.var(0, correction=0) + SMOOTHING**2).mean().sqrt()
    means = (x - x.mean(0)) / std
    h = SMOOTHING / std
    generator = torch.Generator().manual_seed(seed)
    pick = torch.randint(len(x), (n,), generator=generator)
    x0 = means[pick] + h * torch.randn(n, x.shape[1], generator=generator)
    return Mixtures(torch.zeros(1, len(x)), means[None], (h**2).reshape(1, 1, 1), None, x0[None])


class Problem:
    """A family in one case: starts, their ends, and what Adams methods reach."""

    def __init__(self, law: Mixtures, first: float, scale: float, seed: int = 1) -> None:
        self.law, self.first = law.scaled(scale), first
        theta, generator = math.atan(first), torch.Generator().manual_seed(seed)
        noise = torch.randn(law.x0.shape, generator=generator)
        self.start = math.cos(theta) * self.law.x0 + math.sin(theta) * noise
        self.end = self.law.end(self.start, first)
        self.before: dict[int, Tensor] = {}

    def distance(self, z: Tensor) -> Tensor:
        """Each sample's to the exact end, over the rms of the ends, `(I, B)`."""
        return (z - self.end).norm(dim=-1) / self.end.square().sum(-1).mean(1, keepdim=True).sqrt()

    def run(self, s: Tensor, solver: Kriging) -> Tensor:
        """As `Kriging.coefficients` has it, in z, where tensors may be its parameters; s `(N + 1,)`, falling to 0."""
        b = s / solver.scale
        size = solver.size(torch.ones_like(b), b)
        weights = solver.weights(b / (1 + b))
        theta = torch.atan(s)
        z, past = self.start * torch.sqrt(1 + s[0] ** 2) / solver.scale / size[0], []
        for i in range(len(s) - 1):
            x = z * size[i] * solver.scale  # x0 + s eps
            circle, c = torch.cos(theta[i]) * x, torch.cos(theta[i])
            x0 = c * circle - torch.sin(theta[i]) * self.law.field(circle, theta[i])
            eps = (x - x0) / s[i]
            f = (1 + solver.tilt * b[i]) / size[i] * eps - (b[i] + solver.tilt) / size[i] * x0 / solver.scale
            past = [f, *past[: solver.memory]]
            z = z + sum(weights[i, j] * f for j, f in enumerate(past))
        return self.distance(z * solver.scale)

    def kriging(self, table: dict[int, Constants], nfe: int) -> Tensor:
        """Differentiable in the table. How many evaluations a full process would take is not, but for its beginning."""
        known = {n: Constants(*(float(torch.as_tensor(v).detach()) for v in c)) for n, c in table.items()}
        full, begin, _ = part(known, nfe, self.first, 0.0)
        c = between(table, full)
        r = torch.tensor(begin)
        if begin > 0:  # Newton's method at the root: its derivative in the constants is the root's
            ahead = torch.tensor([begin, begin + 1e-5])
            with torch.no_grad():
                slope = torch.atan(ratios(c, ahead)).diff() / 1e-5
            r = r - (torch.atan(ratios(c, r)) - math.atan(self.first)) / slope[0]
        inner = ratios(c, spread(c, nfe, r, 1.0)[1:-1])  # powers of 0 have no gradient at the ends
        return self.run(torch.cat([torch.tensor([self.first]), inner, torch.zeros(1)]), kriging(c))

    @torch.no_grad()
    def adams(self, nfe: int) -> Tensor:
        if nfe not in self.before:
            solver = next(solver for most, solver in ADAMS if nfe <= most)
            denoiser = _Process(sf.EDM(sigma_max=self.first))
            x, past = self.start * math.hypot(1, self.first), ()
            for step in solver.plan(denoiser, sf.grids.angular(denoiser.schedule, nfe, scale=2.0)):
                row, theta = step.coefficients, torch.atan(denoiser.schedule.noise_ratio(step.t))
                z = torch.cos(theta) * x
                x0 = torch.cos(theta) * z - torch.sin(theta) * self.law.field(z, theta)
                past = (row.of_x * x + row.of_x0 * x0, *past[: solver.memory])
                x = row.keep * x + sum(w * f for w, f in zip(row.weights, past, strict=False))
            self.before[nfe] = self.distance(x)
        return self.before[nfe]


class _Process(sf.Denoiser):
    """A schedule that plans are made for."""

    def __init__(self, schedule: sf.Schedule) -> None:
        super().__init__()
        self.schedule, self.data_mean, self.data_std = schedule, 0.0, 1.0

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        raise NotImplementedError


def loss(e: Tensor) -> Tensor:
    """l of one family, but for what it is compared with; the floor keeps the luckiest samples from leading."""
    floor = 0.3 * e.detach().median(1, keepdim=True).values
    return 0.4 * torch.log(e**2 + floor**2).mean() + 0.2 * e.mean(1).log().mean()


def fit(laws: list[Mixtures], begin: dict[int, Constants], steps: int, rate: float, out: Path) -> dict[int, Constants]:
    problems = {case: [Problem(law, *case) for law in laws] for case in CASES}
    values = {n: [torch.tensor(v, requires_grad=True) for v in c] for n, c in begin.items()}
    flat = [v for row in values.values() for v in row]
    bends = Constants._fields.index("bend_1")
    groups = [
        {"params": [v for row in values.values() for v in row[:bends]], "lr": rate},
        {"params": [v for row in values.values() for v in row[bends:]], "lr": 0.4 * rate},
    ]
    optimiser = torch.optim.Adam(groups, betas=(0.8, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [rate, 0.4 * rate], total_steps=steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(0)
    cells = [(case, nfe) for case in CASES for nfe in range(2, 61)]
    likely = torch.tensor([nfe**-0.5 for _, nfe in cells])
    gains, seen = torch.zeros(len(cells)), []
    for step in range(steps):
        cell = int(torch.multinomial(likely * torch.exp(3 * gains), 1, generator=generator))
        case, nfe = cells[cell]
        table = {n: Constants(*row) for n, row in values.items()}
        gained = torch.stack([loss(p.kriging(table, nfe)) - loss(p.adams(nfe)) for p in problems[case]])
        objective = torch.logsumexp(BETA * gained, 0) / BETA
        near = [i for i in range(len(cells)) if cells[i][0] == case and abs(math.log(cells[i][1] / nfe)) < 0.15]
        gains[near] += 0.5 * (objective.item() - ALLOWED * (case[1] != 1) - gains[near])
        seen.append(objective.item())
        optimiser.zero_grad()
        over = torch.zeros(())
        for row in values.values():  # nodes must stay in order
            over = over + torch.relu(torch.stack(row[bends : bends + 3]).abs().sum() - 0.8) ** 2
            over = over + torch.relu(row[bends + 3] - 0.9) ** 2 + torch.relu((row[bends + 4] - 0.25).abs() - 0.75) ** 2
        (objective + 5 * over).backward()
        for v in flat:
            if v.grad is not None and not bool(v.grad):
                v.grad = None  # of rows that were not read: leave their momentum alone
        if all(bool(torch.isfinite(v.grad)) for v in flat if v.grad is not None):
            torch.nn.utils.clip_grad_norm_([v for v in flat if v.grad is not None], 1.0)
            optimiser.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            worst = ", ".join(f"{cells[i]}: {math.exp(gains[i]):.2f}" for i in gains.topk(4).indices.tolist())
            print(f"{step + 1}: {math.exp(sum(seen[-100:]) / 100):.3f}; worst {worst}", flush=True)
            found = {n: Constants(*(v.item() for v in row)) for n, row in values.items()}
            write(found, out)
    return found


def write(table: dict[int, Constants], out: Path) -> None:
    text = FILE.read_text()
    head = text[: text.index("TABLE = {")]
    lines = []
    for n, c in sorted(table.items()):
        first, second = (", ".join(f"{float(v):.7f}" for v in half) for half in (c[:8], c[8:]))
        lines.append(f"    {n}: Constants({first},\n        {second}),")
    out.write_text(head + "TABLE = {  # evaluations: constants\n" + "\n".join(lines) + "\n}\n# fmt: on\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kept", action="store_true", help="begin at the constants that are kept, not at START")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--out", type=Path, default=FILE)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    laws = [mixtures("A", range(1000, 1048), 10), mixtures("B", range(1000, 1012), 8), digits(48)]
    begin = {n: between(TABLE, n) for n in ROWS} if args.kept else {n: START for n in ROWS}
    write(fit(laws, begin, args.steps, args.rate, args.out), args.out)


if __name__ == "__main__":
    main()
