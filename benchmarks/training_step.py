"""One step of training: ours against diffusers' recipe on the same U-Net, and against denoising-diffusion-pytorch.

    pip install -c constraints.txt -e ".[peers]" && pip install --no-deps denoising-diffusion-pytorch==2.3.4
    OMP_NUM_THREADS=1 python benchmarks/training_step.py [--rounds 9] [--attention 1 2] [--table steps|knobs|memory]

Batches of 16 images 1 x 32 x 32, one thread. Every round runs a step of each case, in an order that turns; the figures
are the median and quartiles over rounds of CPU seconds (of the whole process) over those of diffusers' recipe in the
same round, as a speed: 2 is twice as fast. Data are bytes in memory for all, unless a row says otherwise.

`steps`   whole steps. "diffusers' network" is one UNet2DModel with one set of initial weights, in its own recipe and
          in our Engine; "our network" is a UNet with the same plan of layers.
`knobs`   diffusers' recipe with one thing changed at a time: what each choice is worth.
`memory`  the most memory of a process of its own, above what it holds before the first step.

Recipes: diffusers' is its training script's (DDPMScheduler.add_noise, mean squared error of eps, AdamW, gradient norm
clipped at 1, EMAModel); denoising-diffusion-pytorch's is its Trainer's (GaussianDiffusion, Adam, clipping, EMA every
10 steps). The latter imports torchvision for two functions that its step never calls; where that is missing an empty
module stands in.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import importlib
import importlib.util
import io
import json
import os
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import scorefield as sf
from scorefield import data, networks
from scorefield.training import DenoisingObjective, precision
from scorefield.training.engine import Engine, Options

OUT = Path(__file__).parent / "out"
BATCH, SIZE, IMAGES = 16, 32, 2048
ATTENTION = (2,)  # levels with attention: 0 is the full resolution, 2 has 8 x 8 positions
Step = Callable[[int], object]


def images() -> Tensor:
    """Bytes `(IMAGES, 1, SIZE, SIZE)`: their values do not matter to a clock."""
    return torch.randint(0, 256, (IMAGES, 1, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def their_network() -> nn.Module:
    """The widths and blocks of the Hugging Face course's for MNIST, attention where `ATTENTION` says, heads of 8."""
    from diffusers.models.unets.unet_2d import UNet2DModel  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    at = ["Attn" if i in ATTENTION else "" for i in range(3)]
    return UNet2DModel(
        sample_size=SIZE,
        in_channels=1,
        out_channels=1,
        layers_per_block=2,
        block_out_channels=(32, 64, 64),
        down_block_types=tuple(f"{attn}DownBlock2D" for attn in at),  # type: ignore[arg-type]
        up_block_types=tuple(f"{attn}UpBlock2D" for attn in reversed(at)),  # type: ignore[arg-type]
    )


def our_network() -> networks.UNet:
    """The same plan of layers in our own blocks."""
    return networks.UNet(
        1,
        32,
        (1, 2, 2),
        blocks=2,
        attention_levels=ATTENTION,
        head_channels=8,
        middle=2,
        conditioning="add",
    )


class Adapted(nn.Module):
    """diffusers' network as a `net(x, level)`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return self.net(x, 999 * level).sample


def ours(net: nn.Module, **options: Any) -> Step:
    """`Engine.step`: all that `fit` does in a step but its log."""
    source = data.Arrays(images())
    objective = DenoisingObjective(
        sf.NetworkDenoiser(net, sf.VP(), sf.Eps()),
        transform=data.Scale(scale=2 / 256, shift=-1.0, levels=256, noise=False),
    )
    engine = Engine(
        objective, source, Options(steps=10_000, batch_size=BATCH, lr=1e-4, warmup=500, ema_decay=0.9999, **options)
    )
    return engine.step


@dataclass(frozen=True)
class Knobs:
    """diffusers' recipe, and what may be changed in it."""

    fused: bool = False  # AdamW
    foreach: bool = False  # the weights' average in one call
    pictures: bool = False  # PNGs decoded for each batch, as from a folder, not bytes in memory
    bf16: bool = False  # torch's autocast
    our_bf16: bool = False  # training.precision's
    channels_last: bool = False
    clip: bool = True
    stream: bool = False  # our noise, keyed by sample, not torch.randn


def theirs(net: nn.Module, knobs: Knobs = Knobs()) -> Step:
    """The step of diffusers' training script for unconditional models."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler  # pyright: ignore[reportMissingImports]
    from diffusers.training_utils import EMAModel  # pyright: ignore[reportMissingImports]

    if knobs.channels_last:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    scheduler = DDPMScheduler(1000)
    optimizer = torch.optim.AdamW(
        net.parameters(), 1e-4, betas=(0.95, 0.999), weight_decay=1e-6, fused=knobs.fused or None
    )
    average, kept = EMAModel(net.parameters(), use_ema_warmup=True), copy.deepcopy(net)
    pairs = [list(m.parameters()) for m in (kept, net)]
    batches = pictures() if knobs.pictures else in_memory()

    def step(k: int) -> None:
        x0 = next(batches)
        if knobs.channels_last:
            x0 = x0.to(memory_format=torch.channels_last)
        noise = sf.Stream(k, torch.arange(BATCH)).normal(x0.shape[1:]) if knobs.stream else torch.randn(x0.shape)
        t = torch.randint(0, 1000, (BATCH,))
        cpu = torch.device("cpu")
        with torch.autocast("cpu", torch.bfloat16, enabled=knobs.bf16), precision.autocast(cpu, knobs.our_bf16):
            output = net(scheduler.add_noise(x0, noise, t), t).sample  # type: ignore[arg-type]
            loss = F.mse_loss(output.float(), noise)
        loss.backward()
        if knobs.clip:
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if knobs.foreach:
            with torch.no_grad():
                torch._foreach_lerp_(*pairs, 1e-4)  # type: ignore[arg-type]
        else:
            average.step(net.parameters())
        loss.item()

    return step


def lucidrains() -> Step:
    """The step of denoising-diffusion-pytorch's Trainer, on its network of about the same size."""
    with torchvision_or_nothing():
        package = importlib.import_module("denoising_diffusion_pytorch")
    from ema_pytorch import EMA  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    net = package.Unet(dim=24, dim_mults=(1, 2, 4), channels=1)
    diffusion = package.GaussianDiffusion(net, image_size=SIZE, timesteps=1000)
    optimizer = torch.optim.Adam(diffusion.parameters(), lr=1e-4, betas=(0.9, 0.99))
    average, batches = EMA(diffusion, beta=0.995, update_every=10), in_memory()

    def step(k: int) -> None:
        loss = diffusion((next(batches) + 1) / 2)
        loss.item()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update()

    return step


@contextlib.contextmanager
def torchvision_or_nothing() -> Iterator[None]:
    if importlib.util.find_spec("torchvision") is not None:
        yield
        return
    empty = {"torchvision": ("transforms", "utils"), "torchvision.transforms": (), "torchvision.utils": ()}
    for name, parts in empty.items():
        sys.modules[name] = types.ModuleType(name)
        for part in parts:
            setattr(sys.modules[name], part, types.ModuleType(part))
    try:
        yield
    finally:
        for name in empty:
            del sys.modules[name]


def in_memory() -> Iterator[Tensor]:
    x = images()
    while True:
        for rows in torch.randperm(IMAGES).split(BATCH):
            yield x[rows].float() * (2 / 255) - 1


def pictures() -> Iterator[Tensor]:
    """The same from PNGs through a DataLoader and PIL."""
    import numpy as np
    from PIL import Image

    class Folder(torch.utils.data.Dataset):
        def __init__(self) -> None:
            self.files = []
            for x in images():
                self.files.append(io.BytesIO())
                Image.fromarray(x[0].numpy()).save(self.files[-1], "PNG")

        def __len__(self) -> int:
            return IMAGES

        def __getitem__(self, i: int) -> Tensor:
            with Image.open(self.files[i]) as picture:
                array = np.array(picture.convert("L"))
            return torch.from_numpy(array)[None].float().div(127.5).sub(1)

    while True:
        yield from torch.utils.data.DataLoader(Folder(), BATCH, shuffle=True)


STEPS: dict[str, Callable[[], Step]] = {
    "diffusers' network, its recipe": lambda: theirs(their_network()),
    "the same, bf16": lambda: theirs(their_network(), Knobs(bf16=True)),
    "diffusers' network, our engine": lambda: ours(Adapted(their_network())),
    "diffusers' network, our engine, bf16": lambda: ours(Adapted(their_network()), bf16=True),
    "our network, our engine": lambda: ours(our_network()),
    "our network, our engine, bf16": lambda: ours(our_network(), bf16=True),
    "denoising-diffusion-pytorch": lucidrains,
}

KNOBS: dict[str, Callable[[], Step]] = {
    "diffusers' recipe": lambda: theirs(their_network()),
    **{
        name: functools.partial(lambda knobs: theirs(their_network(), knobs), knobs)
        for name, knobs in {
            "AdamW fused": Knobs(fused=True),
            "average by one foreach call": Knobs(foreach=True),
            "no clipping": Knobs(clip=False),
            "noise keyed by sample": Knobs(stream=True),
            "PNGs through a DataLoader": Knobs(pictures=True),
            "channels_last": Knobs(channels_last=True),
            "bf16": Knobs(bf16=True),
            "bf16, attention in float32, group norm in order": Knobs(our_bf16=True),
            "bf16, channels_last": Knobs(bf16=True, channels_last=True),
        }.items()
    },
}


def speeds(cases: dict[str, Callable[[], Step]], rounds: int) -> list[dict[str, Any]]:
    """CPU and wall seconds of each case, interleaved, and its speed over the first case's."""
    steps = {name: make() for name, make in cases.items()}
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    names = list(steps)
    for k in range(-2, rounds):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            began = time.process_time(), time.perf_counter()
            steps[name](k + 2)
            if k >= 0:  # the first two calls allocate
                spent[name].append((time.process_time() - began[0], time.perf_counter() - began[1]))
    rows, base = [], spent[names[0]]
    for name in names:
        row: dict[str, Any] = {"case": name}
        for which, unit in enumerate(("cpu", "wall")):
            mine = [pair[which] for pair in spent[name]]
            pairs = [b[which] / m for b, m in zip(base, mine, strict=True)]
            low, middle, high = statistics.quantiles(pairs, n=4, method="inclusive")
            row |= {f"{unit}_ms": 1e3 * statistics.median(mine), f"{unit}_speed": [low, middle, high]}
        rows.append(row)
    return rows


def peak(name: str) -> float:
    """MiB that some steps of a case take above what the process held before them; to be called in a fresh process."""
    step = STEPS[name]()
    before = memory("VmRSS")
    for k in range(4):
        step(k)
    return memory("VmHWM") - before  # getrusage's figure would include the parent's, from before the exec


def memory(which: str) -> float:
    """VmRSS, held now, or VmHWM, the most ever, of this process in MiB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[which].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="append", choices=["steps", "knobs", "memory"])
    parser.add_argument("--attention", type=int, nargs="+", default=[2], help="levels of both networks that have it")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    args = parser.parse_args()
    global ATTENTION
    ATTENTION = tuple(args.attention)
    torch.set_num_threads(args.threads)
    if args.only:
        print(peak(args.only))
        return
    OUT.mkdir(exist_ok=True)
    for network in (their_network(), our_network()):
        print(f"{type(network).__name__}: {sum(p.numel() for p in network.parameters()) / 1e6:.2f} million parameters")
    print(f"{args.threads} threads, load average {os.getloadavg()[0]:.1f}")
    for table in args.table or ["steps", "knobs", "memory"]:
        print(f"\n{table}", flush=True)
        if table == "memory":
            rows = []
            for name in STEPS:
                command = [sys.executable, __file__, "--only", name, "--threads", str(args.threads)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                rows.append({"case": name, "mib": float(done.stdout.split()[-1])})
                print(f"| {name} | {rows[-1]['mib']:.0f} MiB |", flush=True)
        else:
            rows = speeds(STEPS if table == "steps" else KNOBS, args.rounds)
            print("| case | CPU ms | speed (quartiles) | wall ms | speed (quartiles) |\n" + "| --- " * 5 + "|")
            for row in rows:
                cells = [
                    f"{row[unit + '_ms']:.0f} | {{1:.2f}} ({{0:.2f}}-{{2:.2f}})".format(*row[unit + "_speed"])
                    for unit in ("cpu", "wall")
                ]
                print(f"| {row['case']} | {' | '.join(cells)} |", flush=True)
        (OUT / f"training_step_{table}.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
