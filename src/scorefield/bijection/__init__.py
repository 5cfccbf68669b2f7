"""The map between data and latent, walks in the latent, and editing along it."""

from scorefield.bijection.editing import edit, inpaint
from scorefield.bijection.latents import Encoded, attribute_direction, decode, encode, interpolate, move, slerp

__all__ = [
    "Encoded",
    "attribute_direction",
    "decode",
    "edit",
    "encode",
    "inpaint",
    "interpolate",
    "move",
    "slerp",
]
