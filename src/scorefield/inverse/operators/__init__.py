"""What a measurement does to a datum."""

from scorefield.inverse.operators.base import LinearOperator, Operator
from scorefield.inverse.operators.dense import Dense

__all__ = ["Dense", "LinearOperator", "Operator"]
