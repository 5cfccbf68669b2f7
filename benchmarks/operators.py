"""What a projection costs: `Radon` at 128 x 128, 30 views, against rotating the image by bilinear interpolation.

    OMP_NUM_THREADS=1 python benchmarks/operators.py

The rotation is the usual one in deep-learning toolboxes: `grid_sample` at each angle and a sum over columns; its
adjoint is taken by automatic differentiation, which makes it exact. One image and a batch of 8, float32, interleaved,
medians of the process's CPU time (one thread), so that other load does not count. Beside the times: how far the adjoint
is from one, and each projector's distance to the closed form of the Shepp-Logan phantom.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from scorefield.data import phantoms
from scorefield.inverse import operators as ops

SIZE, VIEWS, ROUNDS = 128, 30, 21
OUT = Path(__file__).parent / "out"


class Rotation:
    """x turned under parallel rays, by bilinear interpolation on the grid of a square of the image's diagonal."""

    def __init__(self, size: int, angles: Tensor, detectors: int) -> None:
        self.pad = detectors - size
        cos, sin = torch.cos(angles), torch.sin(angles)
        zero = torch.zeros_like(cos)
        turn = torch.stack([torch.stack([cos, sin, zero], 1), torch.stack([-sin, cos, zero], 1)], 1).float()
        self.grid = functional.affine_grid(turn, [len(angles), 1, detectors, detectors], align_corners=False)
        self.detectors, self.shape = detectors, (1, size, size)

    def __call__(self, x: Tensor) -> Tensor:
        before = self.pad // 2
        padded = functional.pad(x, (before, self.pad - before, before, self.pad - before))
        views = [
            functional.grid_sample(padded, g.expand(len(x), -1, -1, -1), align_corners=False)
            for g in self.grid[:, None]
        ]
        return torch.stack([view.sum(2) for view in views], 2)

    def adjoint(self, y: Tensor) -> Tensor:
        x = torch.zeros(len(y), *self.shape, requires_grad=True)
        return torch.autograd.grad(self(x), x, y)[0]


def seconds(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Medians of CPU time, the tasks taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()
    for _ in range(rounds):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def adjoint_error(forward: Tensor, y: Tensor, x: Tensor, back: Tensor) -> float:
    """|<A x, y> - <x, A^T y>| over ||A x|| ||y||, the sums in float64."""
    a, b, c, d = (t.double().flatten() for t in (forward, y, x, back))
    return abs(float(a @ b - c @ d)) / float(a.norm() * b.norm())


def main() -> None:
    ours = ops.Radon((1, SIZE, SIZE), VIEWS)
    free = ops.Radon((1, SIZE, SIZE), VIEWS, matrix=False)
    rotation = Rotation(SIZE, ours.angles, ours.output_shape[-1])
    projectors = {"strips, matrix kept": ours, "strips, made anew": free, "grid_sample": rotation}
    start = time.process_time()
    ours(torch.zeros(1, 1, SIZE, SIZE))
    setup = time.process_time() - start

    edges = torch.linspace(-0.5, 0.5, 32 * ours.output_shape[-1] + 1, dtype=torch.float64) * ours.output_shape[-1]
    fine = (edges[1:] + edges[:-1]) / SIZE  # bins of a pixel, in halves of the image
    exact = phantoms.line_integrals(phantoms.SHEPP_LOGAN, ours.angles, fine).unflatten(1, (-1, 32)).mean(2) * SIZE / 2

    rows = []
    for batch in (1, 8):
        x = torch.randn(batch, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
        y = torch.randn(batch, *ours.output_shape, generator=torch.Generator().manual_seed(1))
        tasks: dict[str, Callable[[], object]] = {}
        for name, projector in projectors.items():
            tasks[f"{name}/forward"] = lambda p=projector, x=x: p(x)
            tasks[f"{name}/adjoint"] = lambda p=projector, y=y: p.adjoint(y)
        times = seconds(tasks, ROUNDS if batch == 1 else ROUNDS // 3)
        for name, projector in projectors.items():
            seen = projector(phantoms.shepp_logan(SIZE)).double()[0, 0]
            rows.append(
                {
                    "projector": name,
                    "batch": batch,
                    "forward_ms": 1e3 * times[f"{name}/forward"],
                    "adjoint_ms": 1e3 * times[f"{name}/adjoint"],
                    "adjoint_error": adjoint_error(projector(x), y, x, projector.adjoint(y)),
                    "sinogram_error": float((seen - exact).norm() / exact.norm()),
                }
            )
    print(f"{SIZE} x {SIZE}, {VIEWS} views, {torch.get_num_threads()} thread(s); matrix made in {setup:.2f} s, once")
    print("| projector | batch | forward, ms | adjoint, ms | adjoint error | sinogram error |")
    print("| --- | --- | --- | --- | --- | --- |")
    for r in rows:
        print(
            f"| {r['projector']} | {r['batch']} | {r['forward_ms']:.2f} | {r['adjoint_ms']:.2f} "
            f"| {r['adjoint_error']:.1e} | {r['sinogram_error']:.4f} |"
        )
    x = ours.fbp(ours(phantoms.shepp_logan(SIZE)))
    error = (x - phantoms.shepp_logan(SIZE)).square().mean()
    print(f"filtered back-projection of Shepp-Logan from {VIEWS} views: PSNR {-10 * math.log10(float(error)):.2f} dB")
    OUT.mkdir(exist_ok=True)
    (OUT / "operators.json").write_text(json.dumps({"setup_s": setup, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
