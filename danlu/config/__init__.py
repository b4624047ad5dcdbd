"""The recipe: one strict tree of settings, read from YAML, shown and explained.

Lives here: the recipe's sections and settings, reading and writing them, the shipped recipes, and
the few paths that the environment decides. Never here: what a setting does (that is in the room
that obeys it), nor any import of torch.
"""

from danlu.config.describe import Setting, annotated, describe
from danlu.config.load import (
    load_recipe,
    make_recipe,
    recipe_summary,
    recipe_text,
    resolved_recipe,
    save_recipe,
    shipped_recipes,
)
from danlu.config.paths import danlu_home
from danlu.config.recipe import Recipe

__all__ = [
    "Recipe",
    "Setting",
    "annotated",
    "danlu_home",
    "describe",
    "load_recipe",
    "make_recipe",
    "recipe_summary",
    "recipe_text",
    "resolved_recipe",
    "save_recipe",
    "shipped_recipes",
]
