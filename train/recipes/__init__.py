"""What can be trained: one file each, saying only what differs from the loop's and the tasks' defaults."""

from importlib import import_module
from types import ModuleType

from common.errors import MidstreamError

RECIPES = {
    "detector": "the embedded detector",
    "picture": "the picture layer alone, at its finest rate",
    "every_rate": "one picture layer for every rate, long; after picture",
    "variable": "the same by several objectives, for comparison; after picture",
    "features": "the base layer alone, of the embedded detector's features",
    "scalable2": "base and picture in one latent space; after features and every_rate",
    "disentangled": "task and picture apart; after features and every_rate",
    "finish": "previews and offsets of the two; last, after scalable2 and disentangled",
    "masks": "the head that reads masks from features",
    "scalable3": "base, masks, picture; after finish and masks",
    "frequency": "low and high frequencies apart, the high ones in tiles",
    "frequency_passes": "its latents in passes, the networks as they are; after the bundle frequency",
    "clean": "a clean picture out of a noisy one; after picture",
    "deep_clean": "the same with more blocks, on from there; after clean",
    "clean_passes": "the same deeper still, coded in passes, on from there; after deep_clean",
    "clean_checkered": "deeper at an eighth of the size, and more passes on a checkerboard; after clean_passes",
    "clean_sharp": "told of the step, deeper yet, on with the sharpest photos; after clean_checkered",
    "denoise": "the noise upon the clean picture; after clean_sharp",
    "temporal": "the tables of frames that are coded after others, counted on videos",
    "latent_temporal": "the same of learned base layers; after the bundle scalable2",
    "fusion": "what a base layer adds to the frames of a video",
    "plain": "the picture layer without a base, for comparison; after every_rate",
    "independent": "disentangled without p(y2 | y1), for comparison; after features and every_rate",
    "rates": "a picture layer for each of four rates, for comparison; after picture",
    "ablation": "parts of the variable rate, for comparison; after picture",
    "tradeoff": "three settings of the losses' weights, short, for comparison; after features and every_rate",
}
"""In an order in which each has what it needs; those that need others look for them beside their own folder."""


def recipe(name: str) -> ModuleType:
    """The recipe's module: `main` trains, `STEPS` is how long. Raises MidstreamError naming those there are."""
    if name not in RECIPES:
        raise MidstreamError(f"there is no recipe {name!r}; there are {', '.join(RECIPES)}")
    return import_module(f"train.recipes.{name}")
