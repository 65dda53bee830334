"""Codec 5: the cut's features as a learned latent. It has the face of every codec (`common.codec.Codec`).

    features -> base_analysis.onnx -> y, z -> LatentCoder -> bytes -> LatentCoder -> y^ -> base_lst.onnx -> features^
                                                                                                         -> context

The context is for what is made above the layer. A mask tells the networks which of the latent's cells see the picture.
Whatever other layers a frame has are not looked at.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from common import arrays as arrays_file
from common.bundle import Bundle
from common.codec.container import Kind, Layer, check
from common.codec.elements import Cells
from common.codec.latent import LatentCoder
from common.codec.window import Window
from common.errors import BundleError
from common.scalable.networks import Networks

Features = NDArray[np.float32]
Fixed = NDArray[np.int32]
"""A latent as decoded, [C, rows, columns] in 256ths."""

ARRAYS = "latent.npz"
MAX_ARRAY_BYTES = 1 << 28
UNIT = np.float32(1 / 256)


class Raised(NamedTuple):
    """What a latent-space transform (LST) makes of N latents, or of one without the first axis."""

    features: Features
    """[N, C, H, W]: those of the cut."""
    context: Features
    """[N, K, H, W]: what the layers above and the preview are told."""

    def of(self, number: int) -> "Raised":
        """One frame's."""
        return Raised(self.features[number], self.context[number])


class LatentFeatures:
    """Codes the one tensor [C, H, W] of a cut as one layer; 64 qualities halve the step of the quantiser."""

    name: ClassVar[str] = "latent"
    id: ClassVar[int] = 5

    def __init__(self, bundle: Bundle, coder: LatentCoder, prefix: str, networks: Networks) -> None:
        cut = bundle.manifest.cut
        if len(cut.shapes) != 1 or len(cut.shapes[0]) != 3:
            raise BundleError(f"codec {self.name!r} codes one tensor [C, H, W], {bundle!r} has {cut.shapes}")
        self.coder = coder
        self.shape = cut.shapes[0]
        self._prefix, self._networks = prefix, networks
        rows, columns = grid_of(bundle.manifest.codec, self.shape)
        self.grid = rows, columns
        if any(cells % (1 << coder.halvings) for cells in self.grid):
            raise BundleError(f"grid: expected multiples of {1 << coder.halvings} cells, got {list(self.grid)}")

    @classmethod
    def open(cls, bundle: Bundle, threads: int = 1, networks: Networks | None = None) -> Self:
        """By the [codec] table. Raises BundleError if something of it is missing or does not fit."""
        params, networks = bundle.manifest.codec, networks or Networks(bundle, threads)
        try:
            prefix = str(params["prefix"])
            return cls(bundle, open_coder(bundle, params, prefix, read_arrays(bundle)), prefix, networks)
        except (KeyError, TypeError, ValueError) as e:
            raise BundleError(f"the [codec] table of {bundle!r} does not fit codec {cls.name!r}: {e!r}") from e

    @property
    def qualities(self) -> range:
        """Every integer of them."""
        return self.coder.qualities

    @property
    def default_quality(self) -> int:
        """The bundle's."""
        return self.coder.default_quality

    def encode(
        self, features: Sequence[Features], quality: int | None = None, window: Window | None = None
    ) -> list[Layer]:
        """The cut's tensor to one base layer: the cells that see the window. ValueError for what does not fit."""
        quality = checked_quality(quality, self.qualities, self.default_quality)
        if [tensor.shape for tensor in features] != [self.shape]:
            raise ValueError(f"features: expected shapes {[self.shape]}, got {[tensor.shape for tensor in features]}")
        name, cells = f"{self._prefix}_analysis.onnx", self.cells(window)
        fed = {"features": features[0][None], "mask": mask_of([cells], self.grid)}
        y, z = self._networks.run_all(name, ("y", "z"), **fed)
        return [Layer(Kind.BASE, self.coder.encode(y[0], z[0], quality, cells)[0])]

    def decode(self, layers: Sequence[Layer], window: Window | None = None) -> list[Features]:
        """The base layer, coded with this window, to the cut's tensor; BitstreamError unless `encode` writes it."""
        return self.decode_many([(layers, window)])[0]

    def decode_many(self, frames: Sequence[tuple[Sequence[Layer], Window | None]]) -> list[list[Features]]:
        """The same for several frames, by one run of the network. BitstreamError if one of them is damaged."""
        latents = [self.latent(layers, window) for layers, window in frames]
        cells = [self.cells(window) for _, window in frames]
        return [[features] for features in self.raised(latents, cells).features]

    def warm_up(self, frames: int) -> None:
        """Open the network behind the code and run so many blank frames through it. Raises BundleError."""
        blank = np.zeros((self.coder.channels, *self.grid), np.int32)
        self.raised([blank] * frames, [Cells(0, 0, *self.grid)] * frames)

    def latent(self, layers: Sequence[Layer], window: Window | None) -> Fixed:
        """The base layer to its latent: exact on every machine. Other layers are not looked at."""
        check(bool(layers) and layers[0].kind == Kind.BASE, "layers", "the base layer first", [x.kind for x in layers])
        return self.coder.decode(layers[0].payload, *self.grid, self.cells(window)).fixed

    def raised(self, latents: Sequence[Fixed], cells: Sequence[Cells]) -> Raised:
        """What the network makes of latents, and of the cells that were coded of each."""
        fed = {"y": in_units(np.stack(latents)), "mask": mask_of(cells, self.grid)}
        found = Raised(*self._networks.run_all(f"{self._prefix}_lst.onnx", Raised._fields, **fed))
        if found.features.shape[1:] != self.shape:
            raise BundleError(f"{self._prefix}_lst.onnx gives {found.features.shape[1:]}, the cut has {self.shape}")
        return found

    def cells(self, window: Window | None) -> Cells:
        """The latent's cells that see some of the window."""
        return Cells(0, 0, *self.grid) if window is None else seen_cells(window, self.grid)


def in_units(fixed: Fixed) -> Features:
    """A decoded latent as networks take it."""
    return fixed.astype(np.float32) * UNIT


def seen_cells(window: Window, grid: tuple[int, int]) -> Cells:
    """The cells of a grid over the network's input that see some of the window."""
    rows, columns = grid
    return Cells(
        window.top * rows // window.height,
        window.left * columns // window.width,
        -(-window.bottom * rows // window.height),
        -(-window.right * columns // window.width),
    )


def mask_of(cells: Sequence[Cells], grid: tuple[int, int]) -> Features:
    """[N, 1, rows, columns]: 1 in the cells that are coded, 0 elsewhere."""
    mask = np.zeros((len(cells), 1, *grid), np.float32)
    for plane, coded in zip(mask, cells, strict=True):
        coded.within(plane)[:] = 1
    return mask


def grid_of(params: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of the latent of features [C, H, W]. ValueError unless `patch` of it are a cell."""
    rows, columns = (int(cells) for cells in params["grid"])
    patch = int(params["patch"])
    if min(rows, columns, patch) < 1 or (rows * patch, columns * patch) != shape[1:]:
        raise ValueError(f"grid: expected {shape[1:]} in cells of {patch}x{patch}, got {[rows, columns]}")
    return rows, columns


def checked_quality(quality: int | None, there: range, default: int) -> int:
    """The quality to use. ValueError if there is none such."""
    quality = default if quality is None else quality
    if quality not in there:
        raise ValueError(f"quality: expected {there[0]}..{there[-1]}, got {quality}")
    return quality


def read_arrays(bundle: Bundle) -> dict[str, NDArray[Any]]:
    """Those of all learned layers."""
    return arrays_file.read(bundle.file(ARRAYS), MAX_ARRAY_BYTES)


def open_coder(
    bundle: Bundle, params: Mapping[str, Any], prefix: str, arrays: Mapping[str, NDArray[Any]]
) -> LatentCoder:
    """The coder of one layer. Raises BundleError."""
    try:
        return LatentCoder.from_params(params, arrays, prefix)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, MemoryError) as e:
        raise BundleError(f"{ARRAYS} of {bundle!r} does not fit layer {prefix!r}: {e!r}") from e
