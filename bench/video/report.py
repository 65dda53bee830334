"""The rows and the bytes at an agreement for a person: on the console and in Markdown."""

from collections.abc import Sequence
from typing import Any

from bench.bd import Curve
from bench.video.clips import MOVING, STATIC
from bench.video.rows import TARGETS, Row, bytes_at

HEADS = ("codec", "quality", "camera", "bytes a frame", "agreement", "PSNR dB", "MS-SSIM")
Standing = dict[str, Any]


def standings(rows: Sequence[Row]) -> list[Standing]:
    """Of each kind of camera and codec the bytes at TARGETS, and how far from the first codec's, in percent."""
    found = []
    for camera in (STATIC, MOVING):
        names = list(dict.fromkeys(row.codec for row in rows if row.camera == camera))
        for name in names:
            at = {str(target): bytes_at(rows, name, camera, target) for target in TARGETS}
            first = {str(target): bytes_at(rows, names[0], camera, target) for target in TARGETS}
            percent = {key: value and first[key] and 100 * (value / first[key] - 1) for key, value in at.items()}
            found.append({"camera": camera, "codec": name, "bytes_at": at, "percent": percent})
    return found


def curve(rows: Sequence[Row], codec: str, camera: str) -> Curve:
    """Bytes a frame over agreement."""
    own = [row for row in rows if (row.codec, row.camera) == (codec, camera)]
    return Curve((row.bytes_per_frame, row.agreement_ap50) for row in own)


def cells(row: Row) -> list[str]:
    """A row's figures as text, in the order of HEADS."""
    looks = "" if row.psnr is None else f"{row.psnr:.2f}", "" if row.ms_ssim is None else f"{row.ms_ssim:.4f}"
    size, agreement = f"{row.bytes_per_frame:,.0f}", f"{row.agreement_ap50:.3f}"
    return [row.codec, str(row.quality), row.camera, size, agreement, *looks]


def standing_heads() -> list[str]:
    """Of the table of `standing_cells`."""
    return ["camera", "codec", *(f"bytes at {target:.2f}" for target in TARGETS)]


def standing_cells(standing: Standing) -> list[str]:
    """One codec at both targets, and beside the first codec in brackets."""
    texts = []
    for target in map(str, TARGETS):
        size, percent = standing["bytes_at"][target], standing["percent"][target]
        said = "not reached" if size is None else f"{size:,.0f}"
        texts.append(said if not percent else f"{said} ({percent:+.0f} %)")
    return [standing["camera"], standing["codec"], *texts]
