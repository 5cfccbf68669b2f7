"""Recipes: what to train, on what, and how, as plain values in a TOML file; presets; and building what they say."""

from scorefield.recipes import presets
from scorefield.recipes.build import Experiment, build
from scorefield.recipes.files import difference, dumps, load, loads, override
from scorefield.recipes.schema import Recipe

__all__ = ["Experiment", "Recipe", "build", "difference", "dumps", "load", "loads", "override", "presets"]
