"""Names to things, once: what recipes, the command line and checkpoints call the parts of the library.

An entry is "module:attribute", or that and the arguments that go with the name. Nothing is imported before it is asked
for, so that reading the tables costs nothing. To add a part is to write its class and one line here; then

    recipes build it        networks and their embeddings of the noise level, schedules, parameterisations, losses,
                            weights, times, optimisers, decays, encoders
    checkpoints hold it     networks, schedules, parameterisations, transforms, by the name of the class
    commands take it        solvers, posterior methods, operators, statistics, presets, shapes

A class of yours needs no line to be used from Python; a checkpoint of one is loaded with `types=[YourClass]`.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Entry = str | tuple[str, dict[str, Any]]
Table = dict[str, Entry]

NETWORKS: Table = {
    "MLP": "scorefield.networks:MLP",
    "UNet": "scorefield.networks:UNet",
    "UNet.ddpmpp": "scorefield.networks:UNet.ddpmpp",
    "UNet.ncsnpp": "scorefield.networks:UNet.ncsnpp",
    "UNet.adm": "scorefield.networks:UNet.adm",
    "DiT": "scorefield.networks:DiT",
    "UNetEncoder": "scorefield.networks:UNetEncoder",
    "MLPEncoder": "scorefield.networks:MLPEncoder",
    "MLPGenerator": "scorefield.networks:MLPGenerator",
    "MLPFeatures": "scorefield.networks:MLPFeatures",
    "ConvGenerator": "scorefield.networks:ConvGenerator",
    "ConvFeatures": "scorefield.networks:ConvFeatures",
}

SCHEDULES: Table = {
    "VP": "scorefield.schedules:VP",
    "SubVP": "scorefield.schedules:SubVP",
    "VE": "scorefield.schedules:VE",
    "VEPower": "scorefield.schedules:VEPower",
    "Brownian": "scorefield.schedules:Brownian",
    "EDM": "scorefield.schedules:EDM",
    "Cosine": "scorefield.schedules:Cosine",
    "Rectified": "scorefield.schedules:Rectified",
    "Discrete": "scorefield.schedules:Discrete.linear",
}

#: Of the noise level, built with the number of features.
EMBEDDINGS: Table = {
    "sinusoidal": "scorefield.networks.embeddings:Sinusoidal",
    "fourier": "scorefield.networks.embeddings:RandomFourier",
    "learned": "scorefield.networks.embeddings:Learned",
}

PARAMETERIZATIONS: Table = {
    "X0": "scorefield.parameterizations:X0",
    "Eps": "scorefield.parameterizations:Eps",
    "V": "scorefield.parameterizations:V",
    "Velocity": "scorefield.parameterizations:Velocity",
    "Score": "scorefield.parameterizations:Score",
    "EDMPreconditioning": "scorefield.parameterizations:EDMPreconditioning",
    "ConsistencyPreconditioning": "scorefield.parameterizations:ConsistencyPreconditioning",
}

LOSSES: Table = {
    "denoising": "scorefield.losses:denoising",
    "flow_matching": "scorefield.losses:flow_matching",
    "implicit": "scorefield.losses:implicit",
    "sliced": "scorefield.losses:sliced",
    "finite_difference": "scorefield.losses:finite_difference",
    "classification": "scorefield.losses:classification",
    "lagrangian": "scorefield.flowmaps:lagrangian",
    "mean_flow": "scorefield.flowmaps:mean_flow",
    "consistency": "scorefield.flowmaps:consistency",
    "drifting": "scorefield.flowmaps:drifting",
    "distribution_matching": "scorefield.training:DistributionMatching",
    "elbo": "scorefield.baselines:Elbo",
    "relativistic": "scorefield.baselines:Relativistic",
    "non-saturating": "scorefield.baselines:NonSaturating",
    "wasserstein": "scorefield.baselines:Wasserstein",
}

#: How the pairs of a flow are made.
COUPLINGS: Table = {
    "Independent": "scorefield.losses.couplings:Independent",
    "Assignment": "scorefield.losses.couplings:Assignment",
    "Sinkhorn": "scorefield.losses.couplings:Sinkhorn",
}

#: Functions of (schedule, t), or classes that make one.
WEIGHTS: Table = {
    "x0": "scorefield.losses.weights:x0",
    "eps": "scorefield.losses.weights:eps",
    "snr": "scorefield.losses.weights:snr",
    "v": "scorefield.losses.weights:v",
    "velocity": "scorefield.losses.weights:velocity",
    "score": "scorefield.losses.weights:score",
    "ncsn": "scorefield.losses.weights:ncsn",
    "likelihood": "scorefield.losses.weights:likelihood",
    "MinSNR": "scorefield.losses.weights:MinSNR",
    "Exponential": "scorefield.losses.weights:Exponential",
    "SoftMinSNR": "scorefield.losses.weights:SoftMinSNR",
    "P2": "scorefield.losses.weights:P2",
    "EDM": "scorefield.losses.weights:EDMWeight",
}

#: Laws of t in training.
TIMES: Table = {
    "Uniform": "scorefield.losses.times:Uniform",
    "LogNormal": "scorefield.losses.times:LogNormal",
    "UniformAngle": "scorefield.losses.times:UniformAngle",
    "LogitNormal": "scorefield.losses.times:LogitNormal",
    "Importance": "scorefield.losses.times:Importance",
    "Ladder": "scorefield.losses.times:Ladder",
}

OPTIMIZERS: Table = {
    "AdamW": "scorefield.training.optimizers:AdamW",
    "Muon": "scorefield.training.optimizers:Muon",
}

#: Of the learning rate.
DECAYS: Table = {
    "cosine": "scorefield.training.optimizers:cosine",
    "constant": "scorefield.training.optimizers:constant",
    "inverse_sqrt": "scorefield.training.optimizers:inverse_sqrt",
}

#: Of captions.
ENCODERS: Table = {
    "MiniLM": "scorefield.data.text:MiniLM",
}

#: A recipe's task, and the model that is trained for it.
MODELS: Table = {
    "denoiser": "scorefield.denoisers:NetworkDenoiser",
    "flow": "scorefield.denoisers:Flow",
    "flow-map": "scorefield.flowmaps:FlowMap",
    "consistency-map": "scorefield.flowmaps:ConsistencyMap",
    "classifier": "scorefield.guidance:NetworkClassifier",
    "vae": "scorefield.baselines:VAE",
    "gan": "scorefield.baselines:GAN",
}

#: From raw data to the model's units: what a recipe says, and what measures it on the data.
TRANSFORMS: Table = {
    "standard": "scorefield.data:Scale.to_standard",
    "unit-range": "scorefield.data:Scale.to_unit_range",
    "columns": "scorefield.data:Standardize.measured",
    "channels": "scorefield.data:Channels.measured",
}

#: What else a checkpoint may hold: of data's way to the model, and where a flow begins.
STORED: Table = {
    "DiffusersUNet2D": "scorefield.interop.unet2d:DiffusersUNet2D",
    "HorizontalFlip": "scorefield.data:HorizontalFlip",
    "LatentSpace": "scorefield.data:LatentSpace",
    "PCA": "scorefield.data:PCA",
    "TableSchema": "scorefield.data:TableSchema",
    "Gaussian": "scorefield.distributions:Gaussian",
    "GaussianMixture": "scorefield.distributions:GaussianMixture",
    "UniformBoxes": "scorefield.distributions:UniformBoxes",
    "Empirical": "scorefield.distributions:Empirical",
}

#: Two-dimensional laws, exact at every noise level.
SHAPES: Table = {
    "eight-gaussians": "scorefield.distributions:eight_gaussians",
    "25-gaussians": "scorefield.distributions:gaussian_grid",
    "two-moons": "scorefield.distributions:two_moons",
    "spiral": "scorefield.distributions:spiral",
    "checkerboard": "scorefield.distributions:checkerboard",
    "rings": "scorefield.distributions:rings",
    "pinwheel": "scorefield.distributions:pinwheel",
}

#: Data that have a name, besides the shapes.
SOURCES: Table = {
    "digits": "scorefield.recipes.sources:digits",
    "mnist": ("scorefield.recipes.sources:published", {"name": "mnist"}),
    "fashion": ("scorefield.recipes.sources:published", {"name": "fashion"}),
    "captions": "scorefield.recipes.sources:captioned",
    "series": "scorefield.recipes.sources:series",
    "wine": ("scorefield.recipes.sources:table", {"name": "wine"}),
    "breast-cancer": ("scorefield.recipes.sources:table", {"name": "breast-cancer"}),
    "diabetes": ("scorefield.recipes.sources:table", {"name": "diabetes"}),
}

PRESETS: Table = {
    "digits": "scorefield.recipes.presets:digits",
    "mnist": "scorefield.recipes.presets:mnist",
    "fashion": "scorefield.recipes.presets:fashion",
    "captions": "scorefield.recipes.presets:captions",
    "two-moons": "scorefield.recipes.presets:two_moons",
    "flow": "scorefield.recipes.presets:flow",
    "vae": "scorefield.recipes.presets:vae",
    "gan": "scorefield.recipes.presets:gan",
    "tabular": "scorefield.recipes.presets:tabular",
    "series": "scorefield.recipes.presets:series",
    "photos": "scorefield.recipes.presets:photos",
    "photos-gpu": "scorefield.recipes.presets:photos_gpu",
    "image-folder": "scorefield.recipes.presets:image_folder",
}

SOLVERS: Table = {
    "ddim": "scorefield.solvers:DDIM",
    "ddpm": "scorefield.solvers:DDPM",
    "euler": "scorefield.solvers:Euler",
    "heun": "scorefield.solvers:Heun",
    "rk4": "scorefield.solvers:RK4",
    "adaptive": "scorefield.solvers:Adaptive",
    "dpm-solver-3": ("scorefield.solvers:DPMSolver", {"order": 3}),
    "dpm-solver++": "scorefield.solvers:DPMSolverPP",
    "dpm-solver++-3m": ("scorefield.solvers:DPMSolverPP", {"order": 3}),
    "dpm-solver++-sde": ("scorefield.solvers:DPMSolverPP", {"eta": 1.0}),
    "deis": "scorefield.solvers:DEIS",
    "unipc": "scorefield.solvers:UniPC",
    "sa-solver": "scorefield.solvers:SASolver",
    "edm-churn": "scorefield.solvers:Churn",
    "adaptive-sde": "scorefield.solvers:AdaptiveSDE",
    "euler-maruyama": "scorefield.solvers:EulerMaruyama",
    "predictor-corrector": "scorefield.solvers:PredictorCorrector",
    "analytic-dpm": "scorefield.solvers:AnalyticDPM",
    "stochastic-adams": "scorefield.solvers:StochasticAdams",
    "annealed-langevin": "scorefield.solvers:AnnealedLangevin",
}

#: Ways to draw from a posterior.
METHODS: Table = {
    "bridge": "scorefield.inverse:Bridge",
    "twisted-smc": "scorefield.inverse:TwistedSMC",
    "laplace-bridge": "scorefield.inverse:LaplaceBridge",
    "spectral-bridge": "scorefield.inverse:SpectralBridge",
    "moment-matching": "scorefield.inverse:MomentMatching.method",
    "pigdm": "scorefield.inverse:PiGDM.method",
    "diffpir": "scorefield.inverse:DiffPIR.method",
    "ddnm": "scorefield.inverse:DDNM.method",
    "dps": "scorefield.inverse:DPS",
    "ddrm": "scorefield.inverse:DDRM",
    "daps": "scorefield.inverse:DAPS",
    "red-diff": "scorefield.inverse:REDDiff",
}

#: What is measured of an event of a given shape.
OPERATORS: Table = {
    "denoise": "scorefield.recipes.operators:denoise",
    "inpaint": "scorefield.recipes.operators:inpaint",
    "inpaint-box": "scorefield.recipes.operators:inpaint_box",
    "blur": "scorefield.recipes.operators:blur",
    "motion": "scorefield.recipes.operators:motion",
    "downsample": "scorefield.recipes.operators:downsample",
    "radon": "scorefield.recipes.operators:radon",
    "mri": "scorefield.recipes.operators:mri",
    "phase": "scorefield.recipes.operators:phase",
    "compressed": "scorefield.recipes.operators:compressed",
    "colorize": "scorefield.recipes.operators:colorize",
    "jpeg": "scorefield.recipes.operators:jpeg",
}

#: Of how little a datum is like the training data.
STATISTICS: Table = {
    "score-norms": "scorefield.anomaly:score_norms",
    "denoising-error": "scorefield.anomaly:denoising_error",
    "likelihood": "scorefield.anomaly:likelihood",
    "typicality": "scorefield.anomaly:typicality",
    "complexity": "scorefield.anomaly:complexity",
}

#: The measurements and laws that a detector's file holds.
DETECTOR_PARTS: Table = {
    "NegativeLogLikelihood": "scorefield.anomaly:NegativeLogLikelihood",
    "NegativeElbo": "scorefield.anomaly:NegativeElbo",
    "CodeLength": "scorefield.anomaly:CodeLength",
    "ScoreNorms": "scorefield.anomaly:ScoreNorms",
    "DenoisingErrors": "scorefield.anomaly:DenoisingErrors",
    "Difference": "scorefield.anomaly:Difference",
    "Upper": "scorefield.anomaly:Upper",
    "Typicality": "scorefield.anomaly:Typicality",
    "Standardised": "scorefield.anomaly:Standardised",
    "GaussianLaw": "scorefield.anomaly:GaussianLaw",
    "MixtureLaw": "scorefield.anomaly:MixtureLaw",
    "KernelLaw": "scorefield.anomaly:KernelLaw",
}


def find(entry: Entry) -> Callable[..., Any]:
    """What stands there, with the arguments that go with the name; imports its module."""
    place, arguments = (entry, {}) if isinstance(entry, str) else entry
    module, _, attribute = place.partition(":")
    thing = operator.attrgetter(attribute)(importlib.import_module(module))
    return functools.partial(thing, **arguments) if arguments else thing


def make(kind: str, name: str, table: Mapping[str, Entry], **options: Any) -> Any:
    """What `name` stands for, called with `options`; `kind` is what a message calls it.

    Raises:
        ValueError: for an unknown name; says which known one is nearest.
    """
    return find(table[known(kind, name, table)])(**options)


def known(kind: str, name: str, table: Iterable[str]) -> str:
    """The name in `table` that `name` is, in whatever case it is written.

    Raises:
        ValueError: if it is none; says which is nearest.
    """
    names = list(table)
    same = [name] if name in names else [other for other in names if other.casefold() == name.casefold()]
    if len(same) != 1:
        raise unknown(kind, name, names)
    return same[0]


def stored_classes() -> dict[str, str]:
    """The classes a checkpoint may name, each with its place: those that the tables name or have a constructor of."""
    found = {}
    for table in (NETWORKS, SCHEDULES, PARAMETERIZATIONS, TRANSFORMS, STORED):
        for entry in table.values():
            module, _, attribute = (entry if isinstance(entry, str) else entry[0]).partition(":")
            name = attribute.partition(".")[0]
            found[name] = f"{module}:{name}"
    return found


def unknown(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for a `name` that is not among the `known`; names the nearest one."""
    return ValueError(f"unknown {kind} {name!r}. {nearest(name, known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """'Did you mean ...?', or the list of what there is."""
    known = sorted(known)
    folded = {other.casefold(): other for other in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.4)
    return f"Did you mean {folded[near[0]]!r}?" if near else f"Known: {', '.join(known) or 'none'}."
