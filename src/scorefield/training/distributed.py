"""Several processes as one: torch.distributed under torchrun, and nothing else.

Every process trains the same network on its own part of each step's samples. DistributedDataParallel averages the
gradients; with sharding (FSDP2) the weights, gradients and optimiser states are split among the processes too. Without
torchrun there is one process, and none of this does anything.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Joins the processes that torchrun started, for the length of the block; nothing outside torchrun."""
    if "RANK" not in os.environ or distributed.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # on a GPU too some numbers are of the CPU: losses, what the first process tells the others
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    store, own, world = next(iter(rendezvous("env://")))
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        # torchrun keeps one store for all its restarts, where the addresses of the dead would be found; machines count
        # restarts each for itself, so several need TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in torchrun's environment
        store = PrefixStore(f"restart-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    distributed.init_process_group(backend, store=store, rank=own, world_size=world)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def barrier() -> None:
    if size() > 1:
        distributed.barrier()


def mean(values: Tensor) -> Tensor:
    """The mean over processes."""
    if size() > 1:
        distributed.all_reduce(values)
        values /= size()
    return values


def from_first(value: Any) -> Any:
    """What the first process passes, in all of them."""
    if size() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box)
    return box[0]


def wrap(module: nn.Module, *, sharded: bool) -> nn.Module:
    """`module` with its gradients averaged over the processes; `sharded` modules do that by themselves."""
    if size() == 1 or sharded:
        return module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch 2.13's new name for it is unknown to 2.8
        return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False)


def shard(module: nn.Module) -> None:
    """Splits the weights of `module`, in place, among the processes: FSDP2, a unit for each direct block.

    Raises:
        ValueError: outside torchrun.
    """
    if not distributed.is_initialized():
        raise ValueError("sharding needs several processes: start them with torchrun")
    for child in module.children():
        for block in child if isinstance(child, nn.ModuleList) else ():
            fully_shard(block)
    fully_shard(module)


def reshard(module: nn.Module) -> None:
    """Lets go of the whole weights that sharded parts of `module` hold, and of what these were asked for."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def split_as(value: Tensor, weight: Tensor) -> Tensor:
    """`value`, computed from a sharded `weight`, split among the processes as that is."""
    return value.redistribute(placements=weight.placements) if isinstance(weight, DTensor) else value  # type: ignore
