"""Accuracy against bytes: a bundle's codec beside the papers' codec, HEVC of the features and coded pictures.

`scene` holds the photos and what the network makes of them uncoded, `ways` are the codecs in one form, `rows` measures
them, `compare` draws conclusions with their confidence, `report` writes them down. `run` puts them together.
"""

from bench.accuracy.run import run
from bench.accuracy.scene import Scene, Shot, folder, listing

__all__ = ["Scene", "Shot", "folder", "listing", "run"]
