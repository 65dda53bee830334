"""Golden vectors of docs/bitstream.md's codecs 3 and 4. To write them anew: python -m tests.payload.vectors"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from common.codec import Container, pack
from common.payload import DetectionList, PictureCodec
from common.types import Detection

FOLDER = Path(__file__).parents[1] / "vectors" / "payload"
LABELS = ("person", "car", "cat")
SIZE = (1920, 1080)
FOUND = (
    Detection("cat", 1.0, (0.0, 0.0, 1920.0, 1080.0)),
    Detection("person", 0.5, (100.25, 50.5, 300.75, 500.0)),
    Detection("person", 0.0501, (1900.0, 1070.0, 1900.0, 1070.0)),
)


def scene() -> Any:
    """RGB [48, 64, 3]: two ramps and a square, smooth enough for any JPEG."""
    y, x = np.mgrid[0:48, 0:64]
    out = np.stack([4 * x, 5 * y, np.full_like(x, 128)], -1).astype(np.uint8)
    out[16:32, 16:32] = (200, 40, 40)
    return out


def frames() -> dict[str, bytes]:
    """A whole frame of each kind."""
    listed = DetectionList(LABELS, 100).encode(FOUND, *SIZE)
    return {
        "detections": pack(Container(bytes.fromhex("01234567"), 4, 0, *SIZE, listed)),
        "nothing-found": pack(
            Container(bytes.fromhex("01234567"), 4, 0, *SIZE, DetectionList(LABELS, 100).encode([], 1, 1))
        ),
        "picture": pack(Container(bytes.fromhex("01234567"), 3, 90, 64, 48, PictureCodec().encode(scene(), 90))),
    }


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, data in frames().items():
        (FOLDER / f"{name}.bin").write_bytes(data)
    index = {"labels": LABELS, "size": SIZE, "detections": [asdict(d) for d in FOUND]}
    (FOLDER / "index.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
