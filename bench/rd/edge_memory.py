"""What an edge that codes pictures has resident at most: a program, since a process knows only its own.

    python -m bench.rd.edge_memory BUNDLE WIDTH HEIGHT      prints megabytes

It loads what an edge loads, codes one picture's base layer and its picture layers, and looks at its peak.
"""

import sys
from pathlib import Path

import numpy as np

import edge.app  # noqa: F401 - resident at an edge, whether it codes or not
from common import bundle as bundles
from common import feature_codec
from common.network.front import Front
from common.payload.picture import place
from common.scalable import PictureLayers


def main(folder: Path, width: int, height: int) -> None:
    """Code a picture of smooth noise of this size and print the peak."""
    bundle = bundles.load(folder, "edge")
    taken = bundle.manifest.input
    coarse = np.random.default_rng(0).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8)
    picture = np.ascontiguousarray(coarse.repeat(16, 0).repeat(16, 1)[:height, :width])
    features = Front(bundle).run(place(picture, taken.box(width, height), taken.width, taken.pad))
    layers = feature_codec.of(bundle).encode(features, None, taken.window(width, height))
    pictures = PictureLayers.open(bundle)
    for layer in pictures.layers:
        layers.append(pictures.encode(layer.name, picture, layers))
    print(f"{peak_mb():.1f}")


def peak_mb() -> float:
    """Of this process. Not getrusage's: that counts the parent's memory before this program took its place."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return kilobytes / 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:4]))
