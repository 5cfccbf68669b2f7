"""A denoiser as a program that runs without this library: torch.export's .pt2, or ONNX.

    program(x_t, t, *conditions) = E[x0 | x_t]      x_t (B, *event), t (B,) in [0, 1], any B, and of pictures any size

The schedule and the parameterisation are inside, so the program knows all that its caller need not. What it is told
comes after t in the order of `inputs`: a label, a vector or tokens where the network takes them, and last `null`, (B,)
bool, True for samples that are told none of these. Checks of values, a t beyond [0, 1] say, are not part of a program.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from scorefield.denoisers import Denoiser
from scorefield.denoisers.base import evaluating, require_denoiser
from scorefield.storage.files import replace

EXAMPLE = 2  # samples a program is traced with; torch takes 0 and 1 for constants
TOKENS = 4  # of them likewise


def inputs(denoiser: Denoiser) -> tuple[str, ...]:
    """The names of the program's inputs, in order: "x", "t", the network's conditions, and "null" if it has any."""
    told = tuple(getattr(getattr(denoiser, "net", None), "conditions", ()))
    return ("x", "t", *told, *(["null"] if told else []))


def program(denoiser: Denoiser, event_shape: Sequence[int], *, sizes: bool | None = None) -> ExportedProgram:
    """`denoiser` in eval mode, traced by `torch.export.export`, its batch open; see the top of this module.

    Args:
        event_shape: of one sample; what the program is traced with.
        sizes: leave the axes after the first open too. Unless given, wherever the network takes them: pictures and
            series.

    Raises:
        TypeError: for no denoiser.
        ValueError: for one that can't be traced, with torch's reason.
    """
    require_denoiser("denoiser", denoiser)
    names, event = inputs(denoiser), tuple(event_shape)
    open_sizes = len(event) > 1 and getattr(denoiser.net, "in_channels", None) is not None if sizes is None else sizes
    batch = Dim("batch")
    device = next((p.device for p in denoiser.parameters()), torch.device("cpu"))
    example = [_example(denoiser, name, event, device) for name in names]
    shapes: list[dict[int, Any]] = [{0: batch} for _ in names]
    if open_sizes:
        shapes[0] |= dict.fromkeys(range(2, 1 + len(event)), Dim.AUTO)
    if "tokens" in names:
        shapes[names.index("tokens")][1] = Dim("length")
    told = _Told(denoiser, names)
    try:
        with evaluating(told), torch.no_grad():
            return torch.export.export(
                told, tuple(example), dynamic_shapes=(*shapes[:2], *([tuple(shapes[2:])] if shapes[2:] else []))
            )
    except Exception as error:  # whatever torch raises in the midst of a program
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ValueError(f"{type(denoiser).__name__} can't be traced: {reason.strip()}") from error


def to_torch_export(
    denoiser: Denoiser, path: str | os.PathLike[str], event_shape: Sequence[int], *, sizes: bool | None = None
) -> Path:
    """Writes `program` to a .pt2 file, which `torch.export.load(path).module()` reads without this library.

    Raises:
        ValueError: as `program`.
    """
    traced, path = program(denoiser, event_shape, sizes=sizes), Path(path)
    content = io.BytesIO()
    torch.export.save(traced, content)
    replace(path, content.getvalue())
    return path


def to_onnx(
    denoiser: Denoiser, path: str | os.PathLike[str], event_shape: Sequence[int], *, sizes: bool | None = None
) -> Path:
    """Writes `program` to an .onnx file, its inputs named as `inputs` says and its output "x0".

    Needs the packages onnx and onnxscript.

    Raises:
        ImportError: without them.
        ValueError: as `program`.
    """
    try:
        import onnxscript  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError("ONNX needs two packages: pip install onnx onnxscript") from None
    traced, path = program(denoiser, event_shape, sizes=sizes), Path(path)
    # not optimised: onnxscript 0.7 loses a node where a value is clamped twice, and runtimes optimise by themselves
    made = torch.onnx.export(
        traced, dynamo=True, optimize=False, verbose=False, input_names=list(inputs(denoiser)), output_names=["x0"]
    )
    assert made is not None
    replace(path, made.model_proto.SerializeToString())
    return path


class _Told(nn.Module):
    """The denoiser with its conditions in order: programs have no keyword arguments of any name."""

    def __init__(self, denoiser: Denoiser, names: Sequence[str]) -> None:
        super().__init__()
        self.denoiser, self.names = denoiser, tuple(names[2:])

    def forward(self, x: Tensor, t: Tensor, *told: Tensor) -> Tensor:
        return self.denoiser(x, t, **dict(zip(self.names, told, strict=True)))


def _example(denoiser: Any, name: str, event: tuple[int, ...], device: torch.device) -> Tensor:
    net = getattr(denoiser, "net", None)
    if name == "t":
        return torch.linspace(0.3, 0.7, EXAMPLE, device=device)
    if name == "label":
        return torch.zeros(EXAMPLE, dtype=torch.int64, device=device)
    if name == "null":
        return torch.zeros(EXAMPLE, dtype=torch.bool, device=device)
    dtype = next((p.dtype for p in denoiser.parameters() if p.is_floating_point()), torch.float32)
    shape = {"vector": (getattr(net, "vector_dim", 0),), "tokens": (TOKENS, getattr(net, "token_dim", 0))}
    return torch.zeros(EXAMPLE, *shape.get(name, event), dtype=dtype, device=device)
