"""What travels instead of features: the picture (mode `image`), or the detections (mode `edge`).

Both go in the container of common/codec, under a codec id of their own; docs/bitstream.md has a chapter for each.
"""

from common.payload.detections import DetectionList
from common.payload.picture import PictureCodec

SHADOW = 128
"""The kind of the layer that carries a picture beside a frame's own layers, to check the frame's result by."""

__all__ = ["SHADOW", "DetectionList", "PictureCodec"]
