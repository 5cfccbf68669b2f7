"""Flow maps: x_t to x_s in one evaluation, from a teacher or from data alone, and an audit of what that costs."""

from scorefield.flowmaps.base import FlowMap
from scorefield.flowmaps.jump import Jump
from scorefield.flowmaps.objectives import consistency, drifting, lagrangian, mean_flow

__all__ = ["FlowMap", "Jump", "consistency", "drifting", "lagrangian", "mean_flow"]
