"""Multiply-adds of a bundle's learned layers: of the picture layer for each pixel, of the others for each frame.

Networks are counted as they run on a picture of one size, in one tile; the hyper-decoders are of integers.
"""

from collections.abc import Mapping
from typing import Any

from bench.macs import Sizes, multiply_adds
from bench.rd.layered import FULL
from common.bundle import Bundle, PictureLayer
from common.codec.integers import IntegerNet
from common.codec.latent import LatentCoder
from common.scalable.latent_features import grid_of, open_coder, read_arrays
from common.scalable.pictures import PREVIEW

Counts = dict[str, float]
HYPER_DECODER = "hyper-decoder (integers)"
PER_PIXEL, PER_FRAME = "kmac_per_pixel", "mmac_per_frame"


def counted(bundle: Bundle, size: tuple[int, int]) -> dict[str, Counts]:
    """Thousands for each pixel of a picture of this size, width and height; millions for each frame."""
    full = [layer for layer in bundle.manifest.layers if layer.name == FULL]
    pixels = size[0] * size[1]
    of_picture = {name: n for layer in full for name, n in picture_layer(bundle, layer, size).items()}
    return {
        PER_PIXEL: {name: n / pixels / 1e3 for name, n in of_picture.items()},
        PER_FRAME: {name: n / 1e6 for name, n in of_frame(bundle).items()},
    }


def picture_layer(bundle: Bundle, about: PictureLayer, size: tuple[int, int]) -> dict[str, int]:
    """Of the networks of the layer that codes the picture."""
    stride, fold = about.stride, about.pad // about.stride
    rows, columns = -(-size[1] // stride), -(-size[0] // stride)
    padded = -(-rows // fold) * fold, -(-columns // fold) * fold
    cells, pixels = (rows, columns), (rows * stride, columns * stride)
    coder = open_coder(bundle, about.model_dump(), about.prefix, read_arrays(bundle))
    return {
        "analysis": network(bundle, f"{about.prefix}_analysis.onnx", {"x": pixels, "context": cells}),
        "hyper-analysis": network(bundle, f"{about.prefix}_hyper.onnx", {"y": padded}),
        HYPER_DECODER: hyper_decoder(coder, padded, base_grid(bundle)),
        "synthesis": network(bundle, f"{about.prefix}_synthesis.onnx", {"y": cells, "context": cells}),
    }


def of_frame(bundle: Bundle) -> dict[str, int]:
    """Of the front half, the base layer, the mask layer where there is one, and the preview."""
    found, grid = {"front half": bundle.manifest.cut.macs_front}, base_grid(bundle)
    tables = {"base": (bundle.manifest.codec, str(bundle.manifest.codec["prefix"]))}
    tables |= {layer.name: (layer.model_dump(), layer.prefix) for layer in bundle.manifest.layers if layer.name != FULL}
    for name, (params, prefix) in tables.items():
        found[f"{name} analysis"] = network(bundle, f"{prefix}_analysis.onnx")
        coder = open_coder(bundle, params, prefix, read_arrays(bundle))
        found[f"{name} {HYPER_DECODER}"] = hyper_decoder(coder, grid, grid)
        found[f"{name} feature transform"] = network(bundle, f"{prefix}_lst.onnx")
        if f"{prefix}_head.onnx" in bundle.manifest.files:
            found[f"{name} head"] = network(bundle, f"{prefix}_head.onnx")
    return found | ({"preview": network(bundle, PREVIEW)} if PREVIEW in bundle.manifest.files else {})


def base_grid(bundle: Bundle) -> tuple[int, int]:
    """Rows and columns of the base layer's latent."""
    return grid_of(bundle.manifest.codec, bundle.manifest.cut.shapes[0])


def network(bundle: Bundle, file: str, sizes: Sizes | None = None) -> int:
    """Of one file."""
    return multiply_adds(bundle.file(file), sizes)


def hyper_decoder(coder: LatentCoder, grid: tuple[int, int], base: tuple[int, int]) -> int:
    """From z to means and scales of a latent of this grid; what it is told of the base layer's included."""
    coarse = grid[0] >> coder.halvings, grid[1] >> coder.halvings
    told = integers(coder.context_net, *base) if coder.context_net else 0
    return integers(coder.decoder, *coarse) + integers(coder.head, *grid) + told


def integers(net: IntegerNet, rows: int, columns: int) -> int:
    """Of a network of integers on a grid."""
    total = 0
    for layer in net.layers:
        total += layer.weight.size * rows * columns
        rows, columns = rows << layer.shuffle, columns << layer.shuffle
    return total


def costs_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was counted as lines of two cells."""
    pixel, frame = found[PER_PIXEL], found[PER_FRAME]
    parts = (", ".join(f"{name} {n:.2f}" for name, n in counts.items()) for counts in (pixel, frame))
    units = f"{sum(pixel.values()):.1f} kMAC a pixel", f"{sum(frame.values()):.1f} MMAC a frame"
    whats = "multiply-adds of the picture layer", "multiply-adds of what is below it"
    return [(what, f"{unit}: {part}") for what, unit, part in zip(whats, units, parts, strict=True)]
