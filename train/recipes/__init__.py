"""What can be trained: one file each, saying only what differs from the loop's and the tasks' defaults."""

from importlib import import_module
from types import ModuleType

from common.errors import MidstreamError

RECIPES = {
    "detector": "the embedded detector",
    "picture": "the picture layer alone, at its finest rate",
    "variable": "one picture layer for every rate; after picture",
    "features": "the base layer alone, of the embedded detector's features",
    "scalable2": "base and picture in one latent space; after features and variable",
    "disentangled": "task and picture apart; after features and variable",
    "finish": "previews and offsets of the two; last, after scalable2 and disentangled",
    "masks": "the head that reads masks from features",
    "scalable3": "base, masks, picture; after finish and masks",
    "plain": "the picture layer without a base, for comparison; after variable",
    "rates": "a picture layer for each of four rates, for comparison; after picture",
    "ablation": "parts of the variable rate, for comparison; after picture",
    "tradeoff": "three settings of the losses' weights, short, for comparison; after features and variable",
}
"""In an order in which each has what it needs; those that need others look for them beside their own folder."""


def recipe(name: str) -> ModuleType:
    """The recipe's module: `main` trains, `STEPS` is how long. Raises MidstreamError naming those there are."""
    if name not in RECIPES:
        raise MidstreamError(f"there is no recipe {name!r}; there are {', '.join(RECIPES)}")
    return import_module(f"train.recipes.{name}")
