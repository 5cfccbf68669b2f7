"""What a measurement does to a datum."""

from scorefield.inverse.operators._solve import Solution, conjugate_gradients
from scorefield.inverse.operators.algebra import Diagonal, Nonlinear, stack
from scorefield.inverse.operators.base import SVD, LinearOperator, Operator
from scorefield.inverse.operators.blur import Blur, gaussian_kernel, motion_kernel
from scorefield.inverse.operators.compressed import SubsampledTransform, random_matrix
from scorefield.inverse.operators.dense import Dense
from scorefield.inverse.operators.fourier import Fourier, cartesian_mask, coil_maps, radial_mask
from scorefield.inverse.operators.interop import Linear, Sparse, as_operator
from scorefield.inverse.operators.jpeg import JPEG
from scorefield.inverse.operators.phase import PhaseRetrieval
from scorefield.inverse.operators.pixels import Downsample, Greyscale, Mask, Separable
from scorefield.inverse.operators.radon import Radon, transmission_noise

__all__ = [
    "JPEG",
    "SVD",
    "Blur",
    "Dense",
    "Diagonal",
    "Downsample",
    "Fourier",
    "Greyscale",
    "Linear",
    "LinearOperator",
    "Mask",
    "Nonlinear",
    "Operator",
    "PhaseRetrieval",
    "Radon",
    "Separable",
    "Solution",
    "Sparse",
    "SubsampledTransform",
    "as_operator",
    "cartesian_mask",
    "coil_maps",
    "conjugate_gradients",
    "gaussian_kernel",
    "motion_kernel",
    "radial_mask",
    "random_matrix",
    "stack",
    "transmission_noise",
]
