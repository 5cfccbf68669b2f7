"""Log-densities, bits per dimension and bounds, each with its error.

`log_prob` integrates the probability-flow ODE, `sample_log_prob` draws samples with their log p in one pass;
`bits_per_dim` applies it to integers; `elbo` bounds it from below without integrating anything. `per_datum` and
`over_data` make one account of many data.
"""

from scorefield.likelihood.bits import BitsPerDim, bits_per_dim, dequantized
from scorefield.likelihood.bound import Elbo, elbo
from scorefield.likelihood.density import LogProb, log_prob
from scorefield.likelihood.dequantization import Dequantizer, fit_dequantizer
from scorefield.likelihood.divergence import Divergence, Exact, Hadamard, Rademacher
from scorefield.likelihood.sampled import Sampled, sample_log_prob
from scorefield.likelihood.summary import Effort, default_probes, over_data, per_datum

__all__ = [
    "BitsPerDim",
    "Dequantizer",
    "Divergence",
    "Effort",
    "Elbo",
    "Exact",
    "Hadamard",
    "LogProb",
    "Rademacher",
    "Sampled",
    "bits_per_dim",
    "default_probes",
    "dequantized",
    "elbo",
    "fit_dequantizer",
    "log_prob",
    "over_data",
    "per_datum",
    "sample_log_prob",
]
