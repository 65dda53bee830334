"""What base layers show, in integers: the same features on every machine, which the codec's own floats are not.

The transform codec leaves a frame's levels, exact integers. Here its inverse transform is applied to them in fixed
point: matrices are rounded to 1/2^14, values to 1/128 after each. Sums of products stay below 2^53, so float64 holds
them exactly, in whatever order a processor adds.
"""

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from common.bundle import Bundle
from common.codec import Codec, State, Transform, Window, unpack
from common.codec.basis import Basis
from common.codec.blocks import Grid, cosines
from common.codec.container import check
from common.codec.temporal import POINT, rescaled
from common.errors import MissingReferenceError
from common.video.planes import CELL, Cells

Whole = NDArray[np.float64]
"""Integers, in floats."""

DIGITS = 14
LIMIT = float(1 << 22)
EXACT = float(1 << 53)
HELD = 32
"""States of earlier frames that later ones may be coded after."""
COARSE = 2
"""Digits of 1/128 that the fusion is not told."""
MOST = 255


class Bases:
    """Decodes the base layers of one camera in order, and brings them to cells of the picture."""

    def __init__(self, bundle: Bundle, codec: Codec) -> None:
        self.bundle, self.codec = bundle, codec
        self._held: OrderedDict[bytes, State] = OrderedDict()
        self._exact = [Exact(packed.basis) for packed in codec.tensors] if isinstance(codec, Transform) else []

    @property
    def channels(self) -> int:
        """How many channels `cells` has; 0 if this codec's features are not known exactly."""
        return self._exact[0].channels if self._exact else 0

    def cells(self, base: bytes, width: int, height: int) -> Cells:
        """Features [channels, rows, columns] of a container, in 1/32, at each cell of a picture of that size.

        0 of a frame of another bundle or codec, of one that leaves nothing for others, and of one coded after a frame
        that was not among the last HELD. Raises BitstreamError.
        """
        rows, columns = -(-height // CELL), -(-width // CELL)
        window = self.bundle.manifest.input.window(width, height)
        state = self._state(base, window, width, height)
        found = np.zeros((self.channels, rows, columns), np.int16)
        if state is None or not isinstance(self.codec, Transform):
            return found
        part = self.codec.plan(state.quality, window).parts[0]
        levels = rescaled(state.levels[part.start : part.end], *divmod(256 - state.quality, 64))
        features = self._exact[0].features(levels.reshape(-1, part.grid.blocks), part.grid)
        return placed(features, window, width, height)

    def _state(self, base: bytes, window: Window, width: int, height: int) -> State | None:
        container = unpack(base)
        sizes = container.width, container.height
        check(sizes == (width, height), "base layer", f"one of {width} x {height} pixels", sizes)
        ours = (container.bundle, container.codec) == (self.bundle.prefix, self.codec.id)
        if not (ours and isinstance(self.codec, Transform)):
            return None
        layers = [layer for layer in container.layers if layer.kind == 0]
        try:
            _, state = self.codec.decode_after(layers, window, self._held.get)
        except MissingReferenceError:
            return None
        if state is not None:
            self._held[state.name] = state
            while len(self._held) > HELD:
                self._held.popitem(last=False)
        return state


class Exact:
    """A basis in fixed point. Raises ValueError if its numbers are too large for exact sums."""

    def __init__(self, basis: Basis) -> None:
        self.basis, self.channels = basis, basis.shape[0]
        self.unturn, self.inverse = fixed(basis.unturn), fixed(basis.inverse)
        self.waves = fixed(cosines(basis.block))
        self.mean, self.blank = np.rint(basis.mean * float(POINT)), np.rint(basis.blank.astype(np.float64) * POINT)
        self.of = [np.flatnonzero(basis.frequency == frequency) for frequency in range(basis.block**2)]

    def features(self, y: NDArray[np.int32], grid: Grid) -> NDArray[np.int32]:
        """Coefficients [planes, blocks] in 1/128 to features [C, H, W] in 1/128, as `basis.synthesise`."""
        ranks: Whole = np.zeros((len(self.basis.frequency), grid.blocks))
        ranks[self.basis.order[: len(y)]] = y
        turned = self.basis.turned.size
        ranks[:turned] = product(self.unturn, ranks[:turned])
        spectrum: Whole = np.zeros((grid.block**2, self.channels, grid.blocks))
        for frequency, of in enumerate(self.of):
            spectrum[frequency] = product(self.inverse[of].T, ranks[of])
        features: Whole = self.blank.copy()
        content = self._places(spectrum, grid) + self.mean[:, None, None]
        inside = features[:, grid.top : grid.top + content.shape[1], grid.left : grid.left + content.shape[2]]
        inside[:] = content[:, : inside.shape[1], : inside.shape[2]]
        return features.astype(np.int32)

    def _places(self, spectrum: Whole, grid: Grid) -> Whole:
        """[frequency, C, blocks] to [C, rows, columns]: the cosine transform back, down, then across."""
        block = grid.block
        split = spectrum.reshape(block, block * self.channels * grid.blocks)
        down = product(self.waves.T, split).reshape(block, block, -1).transpose(1, 0, 2)
        both = product(self.waves.T, down.reshape(block, -1))
        both = both.reshape(block, block, self.channels, grid.rows, grid.columns)  # across, down, C, rows, columns
        return both.transpose(2, 3, 1, 4, 0).reshape(self.channels, grid.rows * block, grid.columns * block)


def fixed(matrix: NDArray[np.float32]) -> Whole:
    """In 1/2^14. Raises ValueError if sums of products with it could leave what float64 holds exactly."""
    whole: Whole = np.rint(matrix.astype(np.float64) * (1 << DIGITS))
    most = max(np.abs(whole).sum(axis, initial=0).max(initial=0) for axis in (0, 1))
    if most * LIMIT >= EXACT:
        raise ValueError(f"basis: expected sums of magnitudes below {EXACT / LIMIT / (1 << DIGITS):.0f}")
    return whole


def product(matrix: Whole, values: Whole) -> Whole:
    """Matrix in 1/2^14 times values, rounded."""
    summed = matrix @ np.clip(values, -LIMIT, LIMIT)
    rounded: Whole = np.floor((summed + (1 << (DIGITS - 1))) / (1 << DIGITS))
    return rounded


def placed(features: NDArray[np.int32], window: Window, width: int, height: int) -> Cells:
    """[C, H, W] of the network's input to the cells of the picture that lies in its window: the nearest, in 1/32."""
    rows = nearest(-(-height // CELL), height, (window.top, window.bottom, window.height), features.shape[1])
    columns = nearest(-(-width // CELL), width, (window.left, window.right, window.width), features.shape[2])
    chosen = (features[:, rows[:, None], columns] + (1 << (COARSE - 1))) >> COARSE
    cells: Cells = np.clip(chosen, -MOST, MOST).astype(np.int16)
    return cells


def nearest(cells: int, pixels: int, span: tuple[int, int, int], places: int) -> NDArray[np.int64]:
    """The place of a tensor with so many that sees the middle of each cell; in integers."""
    low, high, size = span
    middle = np.minimum(np.arange(cells, dtype=np.int64) * CELL + CELL // 2, pixels - 1)
    found = (low * pixels + middle * (high - low)) * places // (pixels * size)
    chosen: NDArray[np.int64] = np.minimum(found, places - 1)
    return chosen
