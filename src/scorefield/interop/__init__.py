"""Models of other libraries as this one's denoisers, and back: the only place where time is an integer.

`pipelines` and `published` need diffusers and huggingface_hub, and are imported by whoever wants them.
"""

from scorefield.interop import diffusers, hub, programs, readings, states, unet2d

__all__ = ["diffusers", "hub", "programs", "readings", "states", "unet2d"]
