"""Weights of a network that is not ours, read as its own library means them; the network itself is the user's.

    found = states.read("ema.pt")                    what file it is is seen by its names, or said: convention="..."
    net = found.denoiser(TheirUNet(...))             their class with these weights, as a denoiser

| convention | known by | noise | predicts | told |
| --- | --- | --- | --- | --- |
| guided-diffusion | input_blocks. | betas that are not in the file | eps, and a variance in as many channels more | k |
| denoising-diffusion-pytorch | model. and betas | its betas | eps, x0 or v: its loss weights tell | k |
| score_sde VP | said: its files look the same | beta from 0.1 to 20 | eps | 999 t |
| score_sde VE | said | sigma from its sigmas | the score | sigma |
| k-diffusion | inner_model. | sigma up to 80 | EDM's F | log(sigma) / 4 |
| EDM | map_layer0. | sigma up to 80 | EDM's F, sigma_data 0.5 | log(sigma) / 4 |
| consistency models | said: as guided-diffusion's | sigma up to 80 | where a path ends, by F | 250 log(sigma) |
| EDM with its preconditioning | said | sigma up to 80 | x0 | sigma |

What a file does not say, betas of guided-diffusion say, is an argument. `readings.measure` tells whether it was right.
Nothing in a file runs: safetensors, or torch's weights_only.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from scorefield.catalogue import known
from scorefield.denoisers import NetworkDenoiser
from scorefield.interop.diffusers import consistency, trained_as
from scorefield.parameterizations import X0, EDMPreconditioning, Eps, Parameterization, Score, V
from scorefield.schedules import EDM, VE, VP, Discrete, Schedule

WRAPPED = ("module.", "_orig_mod.")  # of DataParallel, of torch.compile
DDP_TARGETS: tuple[Parameterization, ...] = (Eps(), X0(), V())


class Said(NamedTuple):
    """What `read` was told besides the file."""

    averaged: bool
    betas: Tensor | None
    sigma_data: float


@dataclass(frozen=True)
class State:
    """What was read."""

    convention: str
    tensors: dict[str, Tensor]  # by the names in the network's own state dict
    schedule: Schedule
    parameterization: Parameterization
    level: str | None  # None: as its target has it
    averaged: tuple[Tensor, ...] = ()  # of the parameters in their order, where a file keeps them so
    notes: tuple[str, ...] = field(default=())  # what was understood, a line each

    def denoiser(self, net: nn.Module, *, channels: int | None = None) -> NetworkDenoiser:
        """`net` with these weights, averaged ones where there are some, in eval mode.

        A consistency model is a `flowmaps.ConsistencyMap`, whose net is told 250 log(sigma) itself.

        Args:
            channels: of the prediction, where the network has more: 3 of guided-diffusion's 6.

        Raises:
            ValueError: for a network that has other parameters, or channels of a consistency model.
        """
        own = net.state_dict()
        if strange := sorted(own.keys() ^ self.tensors.keys()):
            where = "network" if strange[0] in own else "file"
            raise ValueError(
                f"net must have the file's {len(self.tensors)} tensors: {strange[0]!r} is in the {where} alone"
            )
        if wrong := [name for name in own if own[name].shape != self.tensors[name].shape]:
            shapes = tuple(own[wrong[0]].shape), tuple(self.tensors[wrong[0]].shape)
            raise ValueError(f"net's {wrong[0]!r} has shape {shapes[0]}; the file's has {shapes[1]}")
        net.load_state_dict(self.tensors)
        if self.averaged:
            trained = [p for p in net.parameters() if p.requires_grad]
            if [p.shape for p in trained] != [p.shape for p in self.averaged]:
                raise ValueError(
                    f"net must have the {len(self.averaged)} parameters of the file's average, in their order"
                )
            for p, mean in zip(trained, self.averaged, strict=True):
                p.data.copy_(mean)
        return trained_as(net, self.schedule, self.parameterization, self.level, channels)


def read(
    path: str | os.PathLike[str],
    *,
    convention: str | None = None,
    betas: Tensor | None = None,
    averaged: bool = True,
    sigma_data: float = 0.5,
) -> State:
    """The weights in a file, and how they are read.

    Args:
        path: .safetensors, or what torch.save wrote.
        convention: one of `CONVENTIONS`; seen by the names unless given.
        betas: (K,), of guided-diffusion; its 1,000 linear ones unless given.
        averaged: the averaged weights, where the file has both.
        sigma_data: of EDM's, k-diffusion's and consistency models' preconditioning.

    Raises:
        FileNotFoundError: for no file.
        ValueError: for one that holds code, is damaged, or of names that no convention has; for betas of another
            than guided-diffusion.
    """
    content = _content(Path(path))
    kind = _seen(content) if convention is None else known("convention", convention, CONVENTIONS)
    if kind is None and "shadow_params" in (content.get("ema") or {}):
        raise ValueError(f"{path} is of score_sde, whose files do not say which: convention='score_sde VP' or '... VE'")
    if kind is None:
        some = ", ".join(list(content)[:3])
        raise ValueError(f"{path} is of no convention known by its names ({some}, ...): say convention=...")
    if betas is not None and kind != "guided-diffusion":
        raise ValueError(f"betas are said of guided-diffusion's files alone; {path} is read as {kind}")
    found = CONVENTIONS[kind](content, Said(averaged, betas, float(sigma_data)))
    plain = {name: t for name, t in found.tensors.items() if isinstance(t, Tensor)}
    level = found.level or "250 log(sigma)"
    said = f"{kind}: {len(plain)} tensors, predicts {found.parameterization}, is told {level}, {_noise(found)}"
    return replace(found, convention=kind, tensors=plain, notes=(said, *found.notes))


def _noise(state: State) -> str:
    schedule = state.schedule
    name = f"{schedule.steps} steps" if isinstance(schedule, Discrete) else repr(schedule)
    return f"noise of {name}, terminal SNR {schedule.terminal_snr:.3g}"


def _content(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no file at {path}")
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        if not _pickled(path):  # of a text torch says that it holds code
            raise ValueError("neither safetensors nor what torch.save writes")
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path} holds more than tensors and is not unpickled, since that runs code: save its state_dict() as "
            "safetensors where it was made"
        ) from None
    except (safetensors.SafetensorError, RuntimeError, EOFError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged or no file of weights ({' '.join(str(error).split()):.80})") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a mapping of names to tensors; got {type(found).__name__}")
    return found


def _pickled(path: Path) -> bool:
    """Whether the file begins as one of torch.save or pickle.dump does: a zip, or an opcode of protocol 2 to 5."""
    with open(path, "rb") as file:
        head = file.read(4)
    return head == b"PK\x03\x04" or (head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"))


def _seen(content: Mapping[str, Any]) -> str | None:
    inner = content.get("model", content)
    names = [_bare(name) for name in (inner if isinstance(inner, Mapping) else content)]
    if "betas" in names and any(name.startswith("model.") for name in names):
        return "denoising-diffusion-pytorch"
    if any(name.startswith("inner_model.") for name in names):
        return "k-diffusion"
    if any("input_blocks." in name for name in names):
        return "guided-diffusion"
    return "EDM" if any("map_layer0." in name for name in names) else None


def _bare(name: str) -> str:
    for prefix in WRAPPED:
        name = name.removeprefix(prefix)
    return name


def _below(tensors: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The tensors whose names begin with `prefix`, less that and what wrappers put before it."""
    bare = {_bare(name): value for name, value in tensors.items()}
    return {_bare(name.removeprefix(prefix)): value for name, value in bare.items() if name.startswith(prefix)}


def _guided(content: Mapping[str, Any], said: Said) -> State:
    tensors = _below(content)
    chain = Discrete.linear() if said.betas is None else Discrete(betas=said.betas)
    twice = tensors["out.2.weight"].shape[0], tensors["input_blocks.0.0.weight"].shape[1]
    notes = [] if said.betas is not None else ["betas are not in the file: linear, 1e-4 to 0.02, are taken"]
    if twice[0] == 2 * twice[1]:
        notes.append(f"{twice[0]} channels for {twice[1]}: a variance too, so denoiser(net, channels={twice[1]})")
    if "label_emb.weight" in tensors:
        notes.append(f"{len(tensors['label_emb.weight'])} classes")
    return State("", tensors, chain, Eps(), "k", notes=tuple(notes))


def _ddp(content: Mapping[str, Any], said: Said) -> State:
    whole, mean = content.get("model", content), content.get("ema")
    held, notes = _below(whole), []
    if said.averaged and isinstance(mean, Mapping) and (of_mean := _below(mean, "ema_model.")):
        held = {**held, **of_mean}
        notes.append("averaged weights (ema_model.) are taken")
    chain = Discrete(alphas_cumprod=torch.cumprod(1 - held["betas"].double(), 0))
    target: Parameterization = Eps()
    if (weight := held.get("loss_weight")) is not None:  # min(SNR, c) / SNR, itself, or / (SNR + 1): by the objective
        abar = torch.cumprod(1 - held["betas"].double(), 0)
        snr = abar / (1 - abar)
        target = min(DDP_TARGETS, key=lambda p: _misfit(weight.double(), snr, p))
    else:
        notes.append("the objective is not in the file: eps is taken")
    return State("", _below(held, "model."), chain, target, "k", notes=tuple(notes))


def _misfit(weight: Tensor, snr: Tensor, target: Parameterization) -> float:
    """How far weight is from what the objective's is, with the SNR clipped at the best c, or not at all."""
    divisor = {Eps(): snr, X0(): torch.ones_like(snr), V(): snr + 1}[target]
    clips = (float("inf"), float((weight * divisor).max()))
    return min(float((weight.log() - (snr.clamp(max=c) / divisor).log()).abs().mean()) for c in clips)


def _score_sde(
    content: Mapping[str, Any], averaged: bool
) -> tuple[dict[str, Any], tuple[Tensor, ...], tuple[str, ...]]:
    shadow = tuple((content.get("ema") or {}).get("shadow_params", ())) if averaged else ()
    notes = (f"averaged weights, {len(shadow)} in the parameters' order",) if shadow else ()
    return _below(content.get("model", content)), shadow, notes


def _score_sde_vp(content: Mapping[str, Any], said: Said) -> State:
    tensors, shadow, notes = _score_sde(content, said.averaged)
    return State("", tensors, VP(), Eps(), "999t", shadow, notes)


def _score_sde_ve(content: Mapping[str, Any], said: Said) -> State:
    tensors, shadow, notes = _score_sde(content, said.averaged)
    ends = (0.01, 50.0)
    if "sigmas" in tensors:
        ends = (float(tensors["sigmas"].min()), float(tensors["sigmas"].max()))
    else:
        notes = (*notes, "sigmas are not in the file: 0.01 to 50 are taken")
    return State("", tensors, VE(*ends, from_zero=False), Score(), "sigma", shadow, notes)


def _k_diffusion(content: Mapping[str, Any], said: Said) -> State:
    whole = content.get("model", content)
    if said.averaged and isinstance(content.get("model_ema"), Mapping):
        whole = content["model_ema"]
    target = EDMPreconditioning(said.sigma_data)
    return State("", _below(whole, "inner_model."), EDM(), target, "log_sigma/4")


def _edm(content: Mapping[str, Any], said: Said) -> State:
    tensors = _below(content)
    inner = _below(tensors, "model.")
    target = EDMPreconditioning(said.sigma_data)
    return State("", inner or tensors, EDM(), target, "log_sigma/4")


def _consistency(content: Mapping[str, Any], said: Said) -> State:
    process = consistency(sigma_data=said.sigma_data)
    tensors = _below(content)
    notes = ["sigma from 0.002 to 80 is not in the file, and taken"]
    if "label_emb.weight" in tensors:
        notes.append(f"{len(tensors['label_emb.weight'])} classes")
    return State("", tensors, process.schedule, process.parameterization, None, notes=tuple(notes))


def _edm_whole(content: Mapping[str, Any], said: Said) -> State:
    return State("", _below(content), EDM(), X0(), "sigma")


CONVENTIONS = {
    "guided-diffusion": _guided,
    "denoising-diffusion-pytorch": _ddp,
    "score_sde VP": _score_sde_vp,
    "score_sde VE": _score_sde_ve,
    "k-diffusion": _k_diffusion,
    "EDM": _edm,
    "EDM with its preconditioning": _edm_whole,
    "consistency models": _consistency,
}
"""What a file's names and numbers mean, by the library that writes them."""
