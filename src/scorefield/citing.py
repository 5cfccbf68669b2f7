"""What to cite: the papers behind the parts that were used.

`USED` says which, by the name of a class, a function, or a word of recipes; `references.bib` holds them. A part that is
this project's own, or everybody's, has none.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

SDE, DDPM, EDM = "song2021sde", "ho2020ddpm", "karras2022edm"

#: By name, the keys of `references.bib`.
USED: dict[str, tuple[str, ...]] = {
    # schedules
    "VP": (SDE,),
    "SubVP": (SDE,),
    "VE": ("song2019ncsn", SDE),
    "VEPower": (SDE,),
    "EDM": (EDM,),
    "Cosine": ("nichol2021",),
    "Rectified": ("liu2023rectified", "lipman2023flow"),
    "Discrete": (DDPM,),
    # targets
    "Eps": (DDPM,),
    "V": ("salimans2022",),
    "Velocity": ("lipman2023flow",),
    "Score": ("vincent2011",),
    "EDMPreconditioning": (EDM,),
    "ConsistencyPreconditioning": ("song2023consistency",),
    # networks
    "UNet": ("ronneberger2015", DDPM),
    "UNet.ddpmpp": (SDE,),
    "UNet.ncsnpp": (SDE,),
    "UNet.adm": ("dhariwal2021",),
    "DiT": ("peebles2023",),
    # losses, weights, laws of noise levels, couplings
    "denoising": ("vincent2011",),
    "implicit": ("hyvarinen2005",),
    "sliced": ("song2019sliced",),
    "finite_difference": ("pang2020",),
    "flow_matching": ("lipman2023flow",),
    "ncsn": ("song2019ncsn",),
    "likelihood": ("kingma2021vdm", "song2021mle"),
    "MinSNR": ("hang2023",),
    "EDMWeight": (EDM,),
    "LogNormal": (EDM,),
    "Ladder": ("song2019ncsn",),
    "ladder_of": ("song2020improved",),
    "Assignment": ("tong2024", "pooladian2023"),
    "Sinkhorn": ("tong2024", "pooladian2023"),
    "Reflow": ("liu2023rectified",),
    # few steps
    "lagrangian": ("boffi2024",),
    "mean_flow": ("geng2025meanflow",),
    "consistency": ("song2023consistency",),
    "DistributionMatching": ("yin2024dmd",),
    "distribution_matching": ("yin2024dmd",),
    # solvers
    "DDPM": (DDPM,),
    "DDIM": ("song2021ddim",),
    "AnalyticDPM": ("bao2022analytic",),
    "Churn": (EDM,),
    "DPMSolver": ("lu2022dpmsolver",),
    "DPMSolverPP": ("lu2022dpmsolverpp",),
    "DPMSolverPPS": ("lu2022dpmsolverpp",),
    "DEIS": ("zhang2023deis",),
    "UniPC": ("zhao2023unipc",),
    "SASolver": ("xue2023sasolver",),
    "EulerMaruyama": ("anderson1982", SDE),
    "PredictorCorrector": (SDE,),
    "AnnealedLangevin": ("song2019ncsn",),
    "AdaptiveSDE": ("jolicoeur2021",),
    "Picard": ("shih2023",),
    "mala": ("roberts1996",),
    "baoab": ("leimkuhler2013",),
    "log_prob": (SDE,),
    "elbo": ("kingma2021vdm",),
    # guidance
    "ClassifierFreeGuidance": ("ho2022cfg",),
    "ClassifierGuidance": ("dhariwal2021",),
    "Autoguidance": ("karras2024bad",),
    "Interval": ("kynkaanniemi2024",),
    "Rescaled": ("lin2024",),
    "Projected": ("sadat2025",),
    "Conjunction": ("liu2022composable",),
    "feynman_kac": ("skreta2025",),
    "ClippedDenoiser": ("saharia2022",),
    # posteriors
    "DPS": ("chung2023dps",),
    "PiGDM": ("song2023pigdm",),
    "DDRM": ("kawar2022ddrm",),
    "DDNM": ("wang2023ddnm",),
    "DiffPIR": ("zhu2023diffpir",),
    "DAPS": ("zhang2024daps",),
    "SpectralBridge": ("song2023pigdm", "zhang2024daps"),
    "REDDiff": ("mardani2024",),
    "TwistedSMC": ("wu2023tds",),
    "MomentMatching": ("rozet2024",),
    # what is compared with
    "VAE": ("kingma2014",),
    "GAN": ("goodfellow2014",),
    "relativistic": ("huang2024r3gan",),
    "wasserstein": ("gulrajani2017",),
    # optimisers and data
    "posthoc_ema": ("karras2024edm2",),
    "AdamW": ("loshchilov2019",),
    "Muon": ("jordan2024muon",),
    "mnist": ("lecun",),
    "fashion": ("xiao2017",),
    "digits": ("alpaydin1998",),
}

#: Of a recipe of that task, what is said but not used.
UNUSED: dict[str, tuple[str, ...]] = dict.fromkeys(("vae", "gan"), ("schedule", "parameterization", "times", "weight"))

ITSELF = """@software{scorefield,
  author = {{The scorefield authors}},
  title = {scorefield: score-based generative modelling, checked against exact answers},
  version = {VERSION},
  year = {2026},
}
"""


def citations(*used: Any) -> str:
    """BibTeX of the papers behind what was used, and of this library: `print(sf.citations(run, solver))`.

    Args:
        used: anything of the library: a run (`sf.load`, or the path of one), a recipe, a denoiser, samples, a schedule,
            solver, loss, posterior; or a name, as recipes have them.

    Raises:
        ValueError: for a text that is neither a name nor a run.
    """
    names = dict.fromkeys(name for thing in used for name in _names(_opened(thing), set()))
    keys = dict.fromkeys(key for name in names for key in USED.get(name, ()))
    from scorefield import __version__

    return "\n".join([*(references()[key] for key in keys), ITSELF.replace("VERSION", __version__)])


@functools.cache
def references() -> dict[str, str]:
    """The entries of `references.bib` by key."""
    text = resources.files("scorefield").joinpath("references.bib").read_text(encoding="utf-8")
    return {m[2]: m[0] for m in re.finditer(r"^@(\w+)\{(\w+),\n(?:  .*\n)*\}\n", text, re.MULTILINE)}


def _opened(thing: Any) -> Any:
    """A run in the place of its path."""
    if not isinstance(thing, str | Path) or (isinstance(thing, str) and thing in USED):
        return thing
    if not Path(thing).exists():
        raise ValueError(f"no part and no run is called {str(thing)!r}")
    from scorefield.runs import load

    return load(thing)


def _names(thing: Any, seen: set[int], unused: tuple[str, ...] = ()) -> Iterator[str]:
    """The names of what `thing` is made of, itself first, without attributes that are `unused`."""
    if isinstance(thing, str):
        yield thing
        return
    if thing is None or id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, functools.partial):
        yield from _names(thing.func, seen)
        thing = {**thing.keywords}
    if isinstance(thing, Mapping):
        thing = tuple(thing.values())
    if isinstance(thing, tuple | list):
        for part in thing:
            yield from _names(part, seen, unused)
        return
    if isinstance(own := getattr(thing, "__qualname__", None), str):  # a class or a function
        yield own
        return
    if not type(thing).__module__.startswith("scorefield"):
        return
    yield type(thing).__qualname__
    yield from _names(getattr(thing, "recipe", None), seen)  # of a run: read when asked for, no attribute yet
    unused = UNUSED.get(str(getattr(thing, "task", "")), unused)
    for name, part in getattr(thing, "__dict__", {}).items():
        if name not in unused:
            yield from _names(part, seen, unused)
