"""Explicit Runge-Kutta methods as data.

A tableau of m stages integrates dx/du = f(x, u) over a step h by

    k_i = f(x + h sum_{j<i} a_ij k_j, u + c_i h),    c_i = sum_j a_ij,    x' = x + h sum_i b_i k_i.

`embedded` are the weights b* of a second solution, of lower order: h sum_i (b_i - b*_i) k_i estimates a step's error.
"""

from __future__ import annotations

from dataclasses import dataclass

Weights = tuple[float, ...]


@dataclass(frozen=True, repr=False)
class Tableau:
    """An explicit method.

    Args:
        a: the rows of the stages after the first, a_i of length i.
        b: one weight a stage, with sum 1.
        order: of x'.
        embedded: b*, of an order below, for methods that estimate their own error.

    Raises:
        ValueError: for rows of another length, or weights that do not sum to 1 within 1e-12.
    """

    a: tuple[Weights, ...]
    b: Weights
    order: int
    embedded: Weights | None = None

    def __post_init__(self) -> None:
        lengths = [len(row) for row in self.a]
        if lengths != list(range(1, len(self.b))):
            raise ValueError(
                f"Tableau: a must have rows of length 1 to {len(self.b) - 1}, one for each stage after the first; "
                f"got lengths {lengths}"
            )
        for name, weights in (("b", self.b), ("embedded", self.embedded)):
            if weights is not None and (len(weights) != len(self.b) or abs(sum(weights) - 1) > 1e-12):
                raise ValueError(
                    f"Tableau: {name} must be {len(self.b)} weights with sum 1; got {len(weights)} with sum "
                    f"{sum(weights):g}"
                )

    def __repr__(self) -> str:
        pair = f", embedded={self.order - 1}" if self.embedded else ""
        return f"Tableau(stages={self.stages}, order={self.order}{pair})"

    @property
    def c(self) -> Weights:
        """Where in the step each stage looks: 0 first."""
        return (0.0, *(sum(row) for row in self.a))

    @property
    def stages(self) -> int:
        return len(self.b)

    @property
    def fsal(self) -> bool:
        """Whether the last stage is f at the new point, which is the next step's first ("first same as last")."""
        return bool(self.a) and self.b == (*self.a[-1], 0.0)


EULER = Tableau(a=(), b=(1,), order=1)
HEUN = Tableau(a=((1,),), b=(1 / 2, 1 / 2), order=2)
RALSTON = Tableau(a=((1 / 2,), (0, 3 / 4)), b=(2 / 9, 1 / 3, 4 / 9), order=3)  # Ralston (1962), least error of three
CLASSICAL = Tableau(a=((1 / 2,), (0, 1 / 2), (0, 0, 1)), b=(1 / 6, 1 / 3, 1 / 3, 1 / 6), order=4)  # Kutta (1901)

# Bogacki & Shampine (1989), 3(2): Ralston's three stages, and f at the new point
BOGACKI_SHAMPINE = Tableau(
    a=(*RALSTON.a, RALSTON.b), b=(*RALSTON.b, 0), order=3, embedded=(7 / 24, 1 / 4, 1 / 3, 1 / 8)
)

# Dormand & Prince (1980), 5(4)
_FIFTH = (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)
DORMAND_PRINCE = Tableau(
    a=(
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        _FIFTH,
    ),
    b=(*_FIFTH, 0),
    order=5,
    embedded=(5179 / 57600, 0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40),
)
