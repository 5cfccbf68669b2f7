"""A table as people have them: text, truth values, whole numbers, decimals, empty cells, and classes."""

import numpy as np
import pandas as pd

ISLANDS = ("Biscoe", "Dream", "Torgersen")
SPECIES = ("Adelie", "Chinstrap", "Gentoo")


def penguins(n: int = 344, seed: int = 0) -> pd.DataFrame:
    """Like Palmer's penguins: three species, whose island and size go together; 4% of two columns empty."""
    rng = np.random.default_rng(seed)
    k = rng.choice(3, n, p=[0.44, 0.2, 0.36])
    male = rng.random(n) < 0.5
    island = np.where(k == 2, 0, np.where(k == 1, 1, rng.integers(0, 3, n)))
    bill = np.array([38.8, 48.8, 47.5])[k] + 1.6 * (2 * male - 1) + 2 * rng.normal(size=n)
    flipper = np.array([190, 196, 217])[k] + 3 * (2 * male - 1) + 5 * rng.normal(size=n)
    mass = np.array([3700, 3733, 5076])[k] + 330 * (2 * male - 1) + 280 * rng.normal(size=n)
    table = pd.DataFrame(
        {
            "species": np.array(SPECIES)[k],
            "island": np.array(ISLANDS)[island],
            "bill_length_mm": bill.round(1),
            "flipper_length_mm": pd.array(flipper.round().astype(int), dtype="Int64"),
            "body_mass_g": mass.round().astype(int),
            "sex": np.where(male, "male", "female"),
            "tagged": rng.random(n) < 0.3,
            "year": rng.integers(2007, 2010, n),
        }
    )
    table.loc[rng.random(n) < 0.04, "sex"] = None
    table.loc[rng.random(n) < 0.04, "flipper_length_mm"] = pd.NA
    return table
