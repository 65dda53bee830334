"""A frame as an edge codes it, with every layer of its bundle."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common import feature_codec
from common.bundle import Bundle
from common.codec import Features, Layer, Window
from common.network.front import Front
from common.payload.picture import place
from common.scalable import PictureLayers
from tests.scalable import tiny

SIZES = [(64, 48), (17, 33), (16, 16), (1, 1), (700, 500), (333, 1), (600, 16)]


class Coded(NamedTuple):
    picture: NDArray[np.uint8]
    features: list[Features]
    window: Window
    layers: list[Layer]
    """All of them, the base layer first."""

    @property
    def size(self) -> tuple[int, int]:
        """width, height"""
        return self.picture.shape[1], self.picture.shape[0]


def features_of(bundle: Bundle, picture: NDArray[np.uint8]) -> list[Features]:
    given = bundle.manifest.input
    box = given.box(picture.shape[1], picture.shape[0])
    return Front(bundle).run(place(picture, box, given.width, given.pad))


def frame(bundle: Bundle, width: int, height: int, seed: int = 0, quality: int = 320) -> Coded:
    picture = tiny.picture(width, height, seed)
    features, window = features_of(bundle, picture), bundle.manifest.input.window(width, height)
    layers = feature_codec.of(bundle).encode(features, quality, window)
    if bundle.manifest.layers:
        pictures = PictureLayers.open(bundle)
        for layer in pictures.layers:
            layers = [*layers, pictures.encode(layer.name, picture, layers, quality)]
    return Coded(picture, features, window, layers)
