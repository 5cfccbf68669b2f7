"""What training reads, and transforms that know what they do to a density.

`load` makes a source of a path, `named` of a name; `Arrays`, `ImageFolder` and `Mapped` are made directly.
"""

from scorefield.data import captions, phantoms, text, units
from scorefield.data._moments import Moments, moments
from scorefield.data.channels import Channels
from scorefield.data.digits import LEVELS, Split, digits
from scorefield.data.download import fetch
from scorefield.data.files import load
from scorefield.data.images import ImageFolder
from scorefield.data.latent_space import PCA, LatentSpace
from scorefield.data.published import named
from scorefield.data.recordings import Series, read_series
from scorefield.data.sources import Arrays, Batch, Mapped, Requantised, Source, in_memory
from scorefield.data.summary import Summary, summarize
from scorefield.data.synthetic import series, series_law, tabular
from scorefield.data.transforms import HorizontalFlip, Scale, Standardize, Transform, bits_per_dim, dequantize, quantize

__all__ = [
    "LEVELS",
    "PCA",
    "Arrays",
    "Batch",
    "Channels",
    "HorizontalFlip",
    "ImageFolder",
    "LatentSpace",
    "Mapped",
    "Moments",
    "Requantised",
    "Scale",
    "Series",
    "Source",
    "Split",
    "Standardize",
    "Summary",
    "Transform",
    "bits_per_dim",
    "captions",
    "dequantize",
    "digits",
    "fetch",
    "in_memory",
    "load",
    "moments",
    "named",
    "phantoms",
    "quantize",
    "read_series",
    "series",
    "series_law",
    "summarize",
    "tabular",
    "text",
    "units",
]
