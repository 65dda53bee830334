"""Scalable video: base layers that the detector needs, and above them what shows the frames.

After Choi and Bajić, "Scalable video coding for humans and machines" (MMSP 2022). docs/bitstream.md, "Sequences", is
the normative text of the bytes; docs/learned-codecs.md, "Video", says what pays and what does not.

    Coder(bundle, codec, fusion)    both directions
    chunks.base_alone(data)         the sequence without its enhancements
"""

from common.video.sequence import Coder, Settings, Shown

__all__ = ["Coder", "Settings", "Shown"]
