"""Where to clip features before they are quantised: `model` derives it, `choose` compares the ways to choose it."""

from common.codec.clip.choose import CHOICES, Choice, choose
from common.codec.clip.model import Clip, Model, error, fit, optimal_clip, probabilities, universal
from common.codec.clip.sample import Sample

__all__ = [
    "CHOICES",
    "Choice",
    "Clip",
    "Model",
    "Sample",
    "choose",
    "error",
    "fit",
    "optimal_clip",
    "probabilities",
    "universal",
]
