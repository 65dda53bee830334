"""Codec 5: the cut's features as a learned latent. It has the face of every codec (`common.codec.Codec`).

    features -> base_analysis.onnx -> y, z -> LatentCoder -> bytes -> LatentCoder -> y^ -> base_lst.onnx -> features^
                                                                                                         -> context

The context is for what is made above the layer. A mask tells the networks which of the latent's cells see the picture.
Whatever other layers a frame has are not looked at.

A frame may be coded after another (`latent_after`). What layers above it are coded upon, and what is kept of it, is the
same latent coded alone: `standing`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from common import arrays as arrays_file
from common.bundle import Bundle
from common.codec import Coded, Read, State, latent_after, latent_temporal
from common.codec.container import Kind, Layer, check
from common.codec.elements import Cells
from common.codec.latent import HEADER, LatentCoder, placed
from common.codec.latent_after import Numbers
from common.codec.latent_temporal import Before
from common.codec.temporal import AFTER, KEPT, NAME_BYTES, found
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
        if coder.context or coder.qualities[-1] >= KEPT:
            raise BundleError(f"base layer: expected no context and qualities below {KEPT}, got {coder.qualities}")
        if len(coder.passes) > 1:
            raise BundleError(f"base layer: expected a single pass, for frames after others, got {len(coder.passes)}")

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
        y, z = self.analysed(features, window)
        return [Layer(Kind.BASE, self.coder.encode(y, z, quality, self.cells(window))[0])]

    def encode_after(
        self,
        features: Sequence[Features],
        quality: int | None,
        window: Window | None,
        before: State | None,
        keep: bool = True,
    ) -> Coded:
        """As `encode`, after a frame of the same window, unless the frame has fewer bytes alone; and what it leaves.

        With `keep` a decoder holds that for later frames.
        """
        quality, cells = checked_quality(quality, self.qualities, self.default_quality), self.cells(window)
        y, z = self.analysed(features, window)
        flags = KEPT if keep else 0
        if before is not None and before.window == window:
            told = Before.of(before.levels, self.coder, cells)
            latent = latent_after.opened(self.coder, y, z, quality, cells, told)
            if (after := latent_after.encode(self.coder, latent_temporal.shipped(), latent, told)) is not None:
                coded, numbers = after
                standing = numbers.alone(self.coder)
                if HEADER.size + NAME_BYTES + len(coded) < len(standing):
                    payload = HEADER.pack(quality | AFTER | flags) + before.name + coded
                    left = self._left(numbers, window)
                    return Coded([Layer(Kind.BASE, payload)], left, False, Layer(Kind.BASE, standing))
        numbers = latent_after.quantised(self.coder, latent_after.opened(self.coder, y, z, quality, cells))
        payload = HEADER.pack(quality | flags) + numbers.alone(self.coder)[HEADER.size :]
        return Coded([Layer(Kind.BASE, payload)], self._left(numbers, window), alone=True)

    def _left(self, numbers: Numbers, window: Window | None) -> State:
        return State.of(numbers.quality, window, numbers.levels(self.coder))

    def analysed(self, features: Sequence[Features], window: Window | None) -> tuple[Features, Features]:
        """The latent: y [C, rows, columns] and z. ValueError for features that do not fit."""
        if [tensor.shape for tensor in features] != [self.shape]:
            raise ValueError(f"features: expected shapes {[self.shape]}, got {[tensor.shape for tensor in features]}")
        fed = {"features": features[0][None], "mask": mask_of([self.cells(window)], self.grid)}
        y, z = self._networks.run_all(f"{self._prefix}_analysis.onnx", ("y", "z"), **fed)
        return y[0], z[0]

    def decode(self, layers: Sequence[Layer], window: Window | None = None) -> list[Features]:
        """The base layer, coded with this window, to the cut's tensor; BitstreamError unless `encode` writes it."""
        return self.decode_many([(layers, window)])[0]

    def decode_many(self, frames: Sequence[tuple[Sequence[Layer], Window | None]]) -> list[list[Features]]:
        """The same for several frames, by one run of the network. BitstreamError if one of them is damaged."""
        latents = [self.latent(layers, window) for layers, window in frames]
        cells = [self.cells(window) for _, window in frames]
        return [[features] for features in self.raised(latents, cells).features]

    def decode_after(
        self, layers: Sequence[Layer], window: Window | None, held: Callable[[bytes], State | None]
    ) -> tuple[list[Features], State | None]:
        """As `decode`, of any frame; and what it leaves if it is to be held. `held` finds the state of a name.

        Raises MissingReferenceError if that is not held or no longer what its name says, BitstreamError as `decode`.
        """
        read = self.read(layers, window, held)
        return self.raise_many([read])[0], read.state

    def read(self, layers: Sequence[Layer], window: Window | None, held: Callable[[bytes], State | None]) -> Read:
        """The same, as far as it is integers."""
        payload, said = self._payload(layers)
        cells, quality = self.cells(window), said & ~(AFTER | KEPT)
        if said & AFTER:
            start = HEADER.size + NAME_BYTES
            check(len(payload) > start, "base layer", f"more than {start} bytes", len(payload))
            before = found(payload[HEADER.size : start], held)
            check(before.window == window, "reference", f"one of the window {window}", before.window)
            told, tables = Before.of(before.levels, self.coder, cells), latent_temporal.shipped()
            numbers = latent_after.decode(self.coder, tables, payload[start:], quality, self.grid, cells, told)
        else:
            numbers = latent_after.decode_alone(self.coder, payload, quality, self.grid, cells)
        standing = Layer(Kind.BASE, numbers.alone(self.coder)) if said & AFTER else None
        state = self._left(numbers, window) if said & KEPT else None
        return Read(placed(numbers.fixed, cells, *self.grid), cells, state, standing)

    def raise_many(self, reads: Sequence[Read]) -> list[list[Features]]:
        """The cut's tensor of each, by one run of the network."""
        raised = self.raised([read.latent for read in reads], [Cells(*read.cells) for read in reads])
        return [[features] for features in raised.features]

    def warm_up(self, frames: int) -> None:
        """Open the network behind the code and run so many blank frames through it. Raises BundleError."""
        blank = np.zeros((self.coder.channels, *self.grid), np.int32)
        self.raised([blank] * frames, [Cells(0, 0, *self.grid)] * frames)

    def latent(self, layers: Sequence[Layer], window: Window | None) -> Fixed:
        """A base layer that is coded alone to its latent: exact on every machine. Other layers are not looked at."""
        payload, said = self._payload(layers)
        check(said & AFTER == 0, "base layer", "a frame that is coded alone", "one that is coded after another")
        alone = HEADER.pack(said & ~KEPT) + payload[HEADER.size :]
        return self.coder.decode(alone, *self.grid, self.cells(window)).fixed

    def _payload(self, layers: Sequence[Layer]) -> tuple[bytes, int]:
        """Of the base layer, and what its first two bytes say. Raises BitstreamError."""
        check(bool(layers) and layers[0].kind == Kind.BASE, "layers", "the base layer first", [x.kind for x in layers])
        payload = layers[0].payload
        check(len(payload) > HEADER.size, "latent", f"more than {HEADER.size} bytes", len(payload))
        (said,) = HEADER.unpack_from(payload)
        quality = said & ~(AFTER | KEPT)
        check(quality in self.qualities, "quality", f"{self.qualities[0]}..{self.qualities[-1]}", quality)
        return payload, said

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
