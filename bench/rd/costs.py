"""Multiply-adds of a bundle's learned layers: of the picture layer for each pixel, of the others for each frame.

Networks are counted as they run on a picture of one size, in one tile; the hyper-decoders are of integers.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from bench.macs import Sizes, multiply_adds
from common.bundle import Bundle, PictureLayer
from common.codec.integers import IntegerNet
from common.codec.latent import LatentCoder
from common.codec.passes import count
from common.layers import LOW, MASK, NOISY
from common.scalable.latent_features import LatentFeatures, grid_of, open_coder, read_arrays
from common.scalable.pictures import PREVIEW

Counts = dict[str, float]
Shape = tuple[int, ...]
HYPER_DECODER = "hyper-decoder (integers)"
PER_PIXEL, PER_FRAME = "kmac_per_pixel", "mmac_per_frame"


def counted(bundle: Bundle, size: tuple[int, int]) -> dict[str, Counts]:
    """Thousands for each pixel of a picture of this size, width and height; millions for each frame."""
    pixels = size[0] * size[1]
    return {
        PER_PIXEL: {name: n / pixels / 1e3 for name, n in of_picture(bundle, size).items()},
        PER_FRAME: {name: n / 1e6 for name, n in of_frame(bundle).items()},
    }


def of_picture(bundle: Bundle, size: tuple[int, int]) -> dict[str, int]:
    """Of the networks of all layers that code the picture; what both of two layers share is counted once."""
    found: dict[str, int] = {}
    layers = pictured(bundle)
    for about in layers:
        several = f"{about.name} " if len(layers) > 1 else ""
        cells, padded = grids(about, size)
        pixels = cells[0] * about.stride, cells[1] * about.stride
        free = {"x": pixels, "r": pixels, "y": cells, "context": cells, "low": cells, "high": cells}
        for part in ("analysis", "synthesis"):
            shared, own = f"frequency_{part}.onnx", f"{about.prefix}_{part}.onnx"
            name, called = (shared, part) if shared in bundle.manifest.files else (own, several + part)
            found[called] = network(bundle, name, free)
        found[f"{several}hyper-analysis"] = hyper_analysis(bundle, about, padded)
        coder = open_coder(bundle, about.model_dump(), about.prefix, read_arrays(bundle))
        told = base_grid(bundle) if about.context else padded
        found[f"{several}{HYPER_DECODER}"] = hyper_decoder(coder, padded, told)
    return found


def pictured(bundle: Bundle) -> list[PictureLayer]:
    """The layers that code the picture itself."""
    return [layer for layer in bundle.manifest.layers if layer.name != MASK]


def grids(about: PictureLayer, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of the cells that see a picture of this width and height, and of those with the padding."""
    fold = about.pad // about.stride
    rows, columns = -(-size[1] // about.stride), -(-size[0] // about.stride)
    return (rows, columns), (-(-rows // fold) * fold, -(-columns // fold) * fold)


def hyper_analysis(bundle: Bundle, about: PictureLayer, padded: tuple[int, int]) -> int:
    """Of a layer; in tiles, that of all of them."""
    name = f"{about.prefix}_hyper.onnx"
    if not about.tile:
        return network(bundle, name, {"y": padded})
    return network(bundle, name, {"y": (about.tile, about.tile)}) * padded[0] * padded[1] // about.tile**2


class Synthesis(NamedTuple):
    """A network between a latent and a picture."""

    file: str
    result: str
    """What its output is called."""
    taken: Mapping[str, Shape]
    """What it may take, [C, rows, columns] each, but for the step []."""


def synthesis(bundle: Bundle, size: tuple[int, int]) -> Synthesis:
    """That of the highest layer, at a picture of this width and height."""
    layers, arrays = pictured(bundle), read_arrays(bundle)
    channels = {each.name: open_coder(bundle, each.model_dump(), each.prefix, arrays).channels for each in layers}
    last, (cells, _) = layers[-1], grids(layers[-1], size)
    if LOW in channels:
        taken = {"low": (channels[LOW], *cells), "high": (channels[last.name], *cells)}
        return Synthesis("frequency_synthesis.onnx", "x", taken)
    taken = {"y": (channels[last.name], *cells), "context": (last.context, *cells), "step": ()}
    return Synthesis(f"{last.prefix}_synthesis.onnx", "r" if last.name == NOISY else "x", taken)


def of_frame(bundle: Bundle) -> dict[str, int]:
    """Of the front half, a learned base layer, the mask layer where there is one, and the preview."""
    found = {"front half": bundle.manifest.cut.macs_front}
    if bundle.manifest.codec.get("name") != LatentFeatures.name:
        return found
    grid = base_grid(bundle)
    tables = {"base": (bundle.manifest.codec, str(bundle.manifest.codec["prefix"]))}
    tables |= {layer.name: (layer.model_dump(), layer.prefix) for layer in bundle.manifest.layers if layer.name == MASK}
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
    heads = sum(integers(each.head, 1, count(each.places((1, *grid)))) for each in coder.passes)
    states = sum(integers(each.context, *grid) for each in coder.passes if each.context)
    return integers(coder.decoder, *coarse) + heads + states + told


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
    whats = "multiply-adds of the picture layers", "multiply-adds of what is below them"
    return [(what, f"{unit}: {part}") for what, unit, part in zip(whats, units, parts, strict=True)]
