"""Warnings that point at the line which called the library, however deep within it they are raised."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import warnings

import torch

# its own files, and what stands between a caller and what it called: decorators, nn.Module.__call__, an import
_WITHIN = (
    os.path.join(os.path.dirname(__file__), ""),
    os.path.join(os.path.dirname(torch.__file__), ""),
    contextlib.__file__,
    functools.__file__,
    "<frozen importlib",
)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """`warnings.warn` of the first line, outwards from here, that is not the library's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_WITHIN):
        frame = frame.f_back
    there = frame.f_globals
    registry = there.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, category, frame.f_code.co_filename, frame.f_lineno, there.get("__name__"), registry)
