"""Posteriors of simulators: from pairs (theta, y) alone, p(theta | y) of any y, and of several y of one theta.

learned = infer(Uniform(low, high), theta, y)
learned.sample(y_observed, 1000)        # (1000, D), inside the prior
learned.sample_together(ys, 1000)       # of one theta that made all of them
"""

from scorefield.simulators.infer import Learned, infer
from scorefield.simulators.priors import Normal, Prior, Uniform
from scorefield.simulators.summary import Summary, summarised
from scorefield.simulators.together import Together

__all__ = ["Learned", "Normal", "Prior", "Summary", "Together", "Uniform", "infer", "summarised"]
