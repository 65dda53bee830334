"""Learned layers of a frame: features for the detector first, then a mask or the picture itself, on demand.

    features ──► base ────────────► features^ ──► detections, preview
    picture  ──► full ──► + base ─► picture^
    features ──► mask ──► + base ─► classes

    picture  ──► low ─────────────► base picture^     what is above it in tiles, of which any may be missing
             ──► full ──► + low ──► picture^
    picture  ──► clean ───────────► clean picture^
             ──► noisy ─► + clean ► picture^

Here are the networks, in ONNX Runtime; what makes bytes of their latents is `common.codec.latent`. Symbols are exact on
every machine, pixels within the tolerance of float32 (docs/bitstream.md, "Codec 5").
"""

from common.scalable.latent_features import LatentFeatures
from common.scalable.pictures import PictureLayers
from common.scalable.regions import Region

__all__ = ["LatentFeatures", "PictureLayers", "Region"]
