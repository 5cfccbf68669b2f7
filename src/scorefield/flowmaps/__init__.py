"""Flow maps: x_t to x_s in one evaluation, from a teacher or from data alone, and an audit of what that costs."""

from scorefield.flowmaps.base import ConsistencyMap, FlowMap
from scorefield.flowmaps.jump import Jump
from scorefield.flowmaps.objectives import lagrangian, mean_flow
from scorefield.flowmaps.to_data import consistency, drifting

__all__ = ["ConsistencyMap", "FlowMap", "Jump", "consistency", "drifting", "lagrangian", "mean_flow"]
