"""A folder of data like the real one, with a few small photos whose pixels say where they are."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZES = {"bsds500_train": (300, 280), "street": (420, 260), "camvid": (340, 256), "cars": (100, 60)}
MASKED = ("0016E5_00010", "0001TP_00020")
"""Photos of camvid with masks; the second is of the drive that is held out."""


def picture(width: int, height: int) -> NDArray[np.uint8]:
    """Red rises to the right, green downwards, blue in waves."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    blue = 128 + 100 * np.sin(x / 17) * np.cos(y / 11)
    return np.stack([x * 255 / width, y * 255 / height, blue], -1).round().astype(np.uint8)


def write(root: Path) -> Path:
    """Two photos of each source, masks for those of camvid, pictures to compare on; returns `root`."""
    images = []
    for source, (width, height) in SIZES.items():
        for i in range(2):
            name = MASKED[i] if source == "camvid" else f"{source}-{i}"
            path = root / "images" / source / f"{name}.png"
            _save(picture(width, height - i), path)
            images.append({"file_name": str(path.relative_to(root)), "source": source, "id": len(images)})
            images[-1] |= {"width": width, "height": height - i}
            if source == "camvid":
                mask = np.zeros((height - i, width), np.uint8)
                mask[:, : width // 2], mask[: height // 2, width // 2 :] = 8, 11
                _save(mask, root / "masks" / source / f"{name}.png")
    for name in ("instances_train.json", "instances_val.json"):
        (root / name).write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    for i in range(2):
        _save(picture(96, 70 + i), root / "kodak" / f"kodim{i}.png")
        _save(picture(200, 150 + i), root / "images" / "coco_val" / f"{i}.png")
    return root


def _save(pixels: NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
