"""Recipes: what to train, on what, and how, as plain values in a TOML file; presets; and building what they say."""

from scorefield.recipes import presets
from scorefield.recipes.build import Experiment, build, held_out, seen, text_condition, training_data
from scorefield.recipes.files import begun, difference, dumps, load, loads, override
from scorefield.recipes.reading import absolute, going_on, missing, shadowed, without_policy
from scorefield.recipes.schema import Data, Recipe

__all__ = [
    "Data",
    "Experiment",
    "Recipe",
    "absolute",
    "begun",
    "build",
    "difference",
    "dumps",
    "going_on",
    "held_out",
    "load",
    "loads",
    "missing",
    "override",
    "presets",
    "seen",
    "shadowed",
    "text_condition",
    "training_data",
    "without_policy",
]
