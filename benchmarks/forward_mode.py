"""A flow map's derivative through its network: `forward_mode.jvp` beside plain `torch.func.jvp`, and one evaluation.

    OMP_NUM_THREADS=1 python benchmarks/forward_mode.py

CPU seconds of the derivative, and of it with a backward pass through both its numbers; medians of interleaved rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import scorefield as sf
from scorefield.forward_mode import jvp

Function = Callable[..., Tensor]
Inputs = tuple[Tensor, ...]


def plain(fn: Function, inputs: Inputs, tangents: Inputs) -> Inputs:
    with sdpa_kernel(SDPBackend.MATH):
        return torch.func.jvp(fn, inputs, tangents)[:2]


def evaluation(fn: Function, inputs: Inputs, tangents: Inputs) -> Inputs:
    return (fn(*inputs),)


METHODS = {"one evaluation": evaluation, "torch.func.jvp": plain, "forward_mode.jvp": jvp}


def networks() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    torch.manual_seed(0)
    return {
        "MLP 3 x 64, batch 64": (sf.networks.MLP(2, 64, 3, conditioning="add", scalars=("until",)), (64, 2)),
        "U-Net of 1.1 million, 32 of 32 x 32": (
            sf.networks.UNet(1, 32, (1, 2, 2), scalars=("until",)),
            (32, 1, 32, 32),
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name, (net, shape) in networks().items():

        def fn(x: Tensor, level: Tensor, until: Tensor, net: nn.Module = net) -> Tensor:
            return net(x, level, until=until)

        inputs = torch.randn(shape), torch.rand(shape[0]), torch.rand(shape[0])
        tangents = torch.randn(shape), torch.randn(shape[0]), torch.randn(shape[0])
        spent: dict[str, list[tuple[float, float]]] = {method: [] for method in METHODS}
        for _ in range(args.rounds):
            for method, call in METHODS.items():
                begun = time.process_time()
                out = call(fn, inputs, tangents)
                made = time.process_time()
                torch.stack([v.square().sum() for v in out]).sum().backward()
                spent[method].append((made - begun, time.process_time() - begun))
        print(name)
        for method, seconds in spent.items():
            forward, both = (1e3 * median(s) for s in zip(*seconds, strict=True))
            print(f"  {method:18s} {forward:8.1f} ms, with its gradients {both:8.1f} ms", flush=True)


if __name__ == "__main__":
    main()
