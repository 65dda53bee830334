"""Frames coded after others, decoded in a process of their own: it prints what each leaves, and the integers behind it.

python -m tests.scalable.after kernel|reference BUNDLE CONTAINER...
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from common import bundle as bundles
from common import feature_codec
from common.bundle import Bundle
from common.codec import State, unpack
from common.codec.arithmetic import REFERENCE
from common.scalable import LatentFeatures


def opened(bundle: Bundle, way: str) -> LatentFeatures:
    """The bundle's codec, by the kernel or by the reference."""
    codec = feature_codec.of(bundle)
    assert isinstance(codec, LatentFeatures)
    if way == "reference":
        codec.coder.arithmetic = REFERENCE
    return codec


def decoded(bundle: Bundle, way: str, containers: Sequence[bytes]) -> list[list[str]]:
    """Of each frame the name of its state and the hash of its latent."""
    codec, held, found = opened(bundle, way), dict[bytes, State](), []
    for data in containers:
        container = unpack(data)
        window = bundle.manifest.input.window(container.width, container.height)
        read = codec.read(container.layers, window, held.get)
        assert read.state is not None
        held[read.state.name] = read.state
        found.append([read.state.name.hex(), hashlib.sha256(read.latent.tobytes()).hexdigest()])
    return found


if __name__ == "__main__":
    way, path, *files = sys.argv[1:]
    print(json.dumps(decoded(bundles.load(Path(path), "both"), way, [Path(file).read_bytes() for file in files])))
