"""Models of other libraries, as this one's denoisers: the only place where time is an integer."""

from scorefield.interop import diffusers

__all__ = ["diffusers"]
