"""What training reads, and transforms that know what they do to a density.

`load` makes a source of a path, `named` of a name; `Arrays`, `ImageFolder` and `Mapped` are made directly.
"""

from scorefield.data import captions, phantoms, text, units
from scorefield.data._moments import Moments, moments
from scorefield.data.channels import Channels
from scorefield.data.digits import LEVELS, Split, digits
from scorefield.data.download import fetch
from scorefield.data.files import as_table, load, policies
from scorefield.data.images import ImageFolder
from scorefield.data.latent_space import PCA, LatentSpace
from scorefield.data.published import named
from scorefield.data.recordings import Series, read_series
from scorefield.data.schema import TableSchema
from scorefield.data.sources import Arrays, Batch, Mapped, Requantised, Source, in_memory
from scorefield.data.splitting import Parts, Subset, row_keys, split
from scorefield.data.summary import Summary, summarize
from scorefield.data.synthetic import series, series_law, tabular
from scorefield.data.tables import from_frame
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
    "Parts",
    "Requantised",
    "Scale",
    "Series",
    "Source",
    "Split",
    "Standardize",
    "Subset",
    "Summary",
    "TableSchema",
    "Transform",
    "as_table",
    "bits_per_dim",
    "captions",
    "dequantize",
    "digits",
    "fetch",
    "from_frame",
    "in_memory",
    "load",
    "moments",
    "named",
    "phantoms",
    "policies",
    "quantize",
    "read_series",
    "row_keys",
    "series",
    "series_law",
    "split",
    "summarize",
    "tabular",
    "text",
    "units",
]
