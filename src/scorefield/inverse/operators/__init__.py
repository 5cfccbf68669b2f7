"""What a measurement does to a datum."""

from scorefield.inverse.operators.base import LinearOperator, Operator
from scorefield.inverse.operators.dense import Dense
from scorefield.inverse.operators.radon import Radon, transmission_noise

__all__ = ["Dense", "LinearOperator", "Operator", "Radon", "transmission_noise"]
