"""Data in memory, and transforms that know what they do to a density."""

from scorefield.data.digits import LEVELS, Split, digits
from scorefield.data.transforms import Scale, bits_per_dim, dequantize, quantize

__all__ = ["LEVELS", "Scale", "Split", "bits_per_dim", "dequantize", "digits", "quantize"]
