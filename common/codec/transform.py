"""The transform codec: cut tensors to coefficients in calibrated bases, and those to bytes. One layer.

    features -> basis (cosine transform, channel bases, rotation) -> coefficients (quantiser, contexts, rANS) -> bytes

     0         2
    +---------+------------------
    | quality | coefficients ...              a frame alone
    +---------+------------------
     0         2           8
    +---------+-----------+------------------
    | quality | reference | coefficients ...  a frame after another (`temporal`, `motion`)
    +---------+-----------+------------------

The bundle's codec.npz has what calibration learned, and the picture's size says which blocks see it; all that a frame
adds is one integer, from which the step follows, and with it how many planes there are and how they are coded. Any
quality of the bundle's range will do. docs/bitstream.md, "Codec 1", is the normative text.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from common.codec import coefficients, temporal
from common.codec.basis import Basis
from common.codec.blocks import Grid
from common.codec.coefficients import QUALITIES, Model, Planes, step_of
from common.codec.container import Kind, Layer, check
from common.codec.motion import FARTHEST, Motion, differences, vectors_of
from common.codec.packed import Packed
from common.codec.temporal import AFTER, KEPT, NAME_BYTES, POINT, STILL, Coded, Levels, Moved, State
from common.codec.window import Window

Features = NDArray[np.float32]
Arrays = Mapping[str, NDArray[Any]]

HEADER = Struct(">H")
MOST_MARGIN = 1024
AS_BEFORE = 12.0
"""Squared steps by which a block may differ from its reference, and nobody looks where else it may have been."""
PLANS = 256
"""So many are remembered: a few kilobytes each."""


class Part(NamedTuple):
    """One tensor of a frame: its basis, its blocks, and where its coefficients [planes, blocks] are among all."""

    basis: Packed
    motion: Motion
    grid: Grid
    start: int
    end: int

    def of(self, y: Features) -> Features:
        """Its own of the coefficients of all tensors."""
        return y[self.start : self.end].reshape(-1, self.grid.blocks)


class Plan(NamedTuple):
    """What both sides know of a frame of this quality and window before they see a coefficient."""

    parts: list[Part]
    planes: list[Planes]
    flat: coefficients.Flat
    changes: coefficients.Flat
    """The same of a frame that is coded after another."""
    norms: NDArray[np.uint8]
    """[planes of all tensors], for that."""
    size: int
    """Coefficients of all tensors."""


class Transform:
    """Codes float32 tensors [C, H, W] as one layer; 64 qualities halve the step of the quantiser."""

    name: ClassVar[str] = "transform"
    id: ClassVar[int] = 1

    def __init__(
        self, tensors: Sequence[Basis], model: Model, *, margin: int, qualities: range, default_quality: int
    ) -> None:
        if not tensors:
            raise ValueError("shapes: expected one tensor at least")
        if not 0 <= margin <= MOST_MARGIN:
            raise ValueError(f"margin: expected 0..{MOST_MARGIN}, got {margin}")
        if not qualities or qualities[0] not in QUALITIES or qualities[-1] not in QUALITIES:
            raise ValueError(f"qualities: expected [lowest, highest] of {QUALITIES}, got {qualities}")
        if default_quality not in qualities:
            raise ValueError(f"default_quality: expected one of {qualities}, got {default_quality}")
        self.tensors, self.model, self.margin = [Packed(basis) for basis in tensors], model, margin
        self._motions = [Motion(basis) for basis in tensors]
        self.shapes = [basis.shape for basis in tensors]
        self.qualities, self.default_quality = qualities, default_quality
        self.plan = lru_cache(PLANS)(self._plan)
        """Of a quality and a window."""

    @classmethod
    def from_params(cls, params: Mapping[str, Any], arrays: Arrays) -> Self:
        """`shapes`, `block`, `margin`, `qualities` = [lowest, highest] and `default_quality`, and of `arrays`.

        For tensor t of the cut "t.mean", "t.blank", "t.frequency", "t.forward", "t.inverse", "t.scale" and, unless
        nothing is turned, "t.turn", "t.unturn", "t.turned" (`Basis`); "expected", "frequencies", "offset" and
        "thresholds" for all of them (`Model`).
        """
        shapes = [tuple(int(size) for size in shape) for shape in params["shapes"]]
        tensors = [read_basis(t, int(params["block"]), shape, arrays) for t, shape in enumerate(shapes)]
        model = Model(*(arrays[name] for name in ("expected", "frequencies", "offset", "thresholds")))
        lowest, highest = (int(quality) for quality in params["qualities"])
        return cls(
            tensors,
            model,
            margin=int(params["margin"]),
            qualities=range(lowest, highest + 1),
            default_quality=int(params["default_quality"]),
        )

    def encode(
        self, features: Sequence[Features], quality: int | None = None, window: Window | None = None
    ) -> list[Layer]:
        """The cut's tensors to one base layer: the blocks that see the window. ValueError for what does not fit."""
        quality = self.default_quality if quality is None else quality
        plan, y = self.analysed(features, quality, window)
        return [Layer(Kind.BASE, HEADER.pack(quality) + self.model.encode(y, plan.flat))]

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
        quality = self.default_quality if quality is None else quality
        plan, y = self.analysed(features, quality, window)
        flags = KEPT if keep else 0
        alone = HEADER.pack(quality | flags) + self.model.encode(y, plan.flat)
        if before is not None and before.window == window:
            told, moved = self._searched(features, y, self._told(before, plan, quality), plan, quality)
            coded, levels = temporal.changes().encode_after(y, plan.changes, plan.norms, told, moved)
            if HEADER.size + NAME_BYTES + len(coded) < len(alone):
                payload = HEADER.pack(quality | AFTER | flags) + before.name + coded
                return Coded([Layer(Kind.BASE, payload)], State.of(quality, window, levels), alone=False)
        self.model.decode(memoryview(alone)[HEADER.size :], y, plan.flat)
        return Coded([Layer(Kind.BASE, alone)], State.of(quality, window, _levels(y)), alone=True)

    def decode_after(
        self, layers: Sequence[Layer], window: Window | None, held: Callable[[bytes], State | None]
    ) -> tuple[list[Features], State | None]:
        """As `decode`, of any frame; and what it leaves if it is to be held. `held` finds the state of a name.

        Raises MissingReferenceError if that is not held or no longer what its name says, BitstreamError as `decode`.
        """
        payload = _payload(layers)
        (said,) = HEADER.unpack_from(payload)
        quality = said & ~(AFTER | KEPT)
        self._check_quality(quality)
        if said & AFTER:
            plan, y, levels = self._decoded_after(payload, quality, window, held)
        else:
            plan, y = self._decoded(payload, quality, window)
            levels = _levels(y)
        return self._synthesised(plan, y, quality), State.of(quality, window, levels) if said & KEPT else None

    def _decoded_after(
        self, payload: bytes, quality: int, window: Window | None, held: Callable[[bytes], State | None]
    ) -> tuple[Plan, Features, Levels]:
        start = HEADER.size + NAME_BYTES
        check(len(payload) > start, "base layer", f"more than {start} bytes", len(payload))
        before = temporal.found(payload[HEADER.size : start], held)
        check(before.window == window, "reference", f"one of the window {window}", before.window)
        plan = self.plan(quality, window)
        y, data = np.empty(plan.size, np.float32), memoryview(payload)[start:]
        told = _moved(self._told(before, plan, quality), plan, temporal.changes().moves(data, plan.changes))
        return plan, y, temporal.changes().decode_after(data, y, plan.changes, plan.norms, told)

    def decode(self, layers: Sequence[Layer], window: Window | None = None) -> list[Features]:
        """The base layer, coded with this window, to the cut's tensors; BitstreamError unless `encode` writes it."""
        payload = _payload(layers)
        (said,) = HEADER.unpack_from(payload)
        quality = said & ~KEPT
        check(quality & AFTER == 0, "base layer", "a frame that is coded alone", "one that is coded after another")
        self._check_quality(quality)
        plan, y = self._decoded(payload, quality, window)
        return self._synthesised(plan, y, quality)

    def _check_quality(self, quality: int) -> None:
        check(quality in self.qualities, "quality", f"{self.qualities[0]}..{self.qualities[-1]}", quality)

    def analysed(self, features: Sequence[Features], quality: int, window: Window | None) -> tuple[Plan, Features]:
        """The coefficients of all tensors, in steps. ValueError for what does not fit."""
        if quality not in self.qualities:
            raise ValueError(f"quality: expected {self.qualities[0]}..{self.qualities[-1]}, got {quality}")
        if [tensor.shape for tensor in features] != self.shapes:
            raise ValueError(f"features: expected shapes {self.shapes}, got {[tensor.shape for tensor in features]}")
        plan, step = self.plan(quality, window), step_of(quality)
        y = np.empty(plan.size, np.float32)
        for tensor, part in zip(features, plan.parts, strict=True):
            part.basis.analyse(np.require(tensor, np.float32, ["C", "A"]), part.grid, part.of(y), step)
        return plan, y

    def _decoded(self, payload: bytes, quality: int, window: Window | None) -> tuple[Plan, Features]:
        """Of a frame that is coded alone. Raises BitstreamError."""
        plan = self.plan(quality, window)
        y = np.empty(plan.size, np.float32)
        self.model.decode(memoryview(payload)[HEADER.size :], y, plan.flat)
        return plan, y

    def _synthesised(self, plan: Plan, y: Features, quality: int) -> list[Features]:
        return [part.basis.synthesise(part.of(y), part.grid, step_of(quality)) for part in plan.parts]

    def _searched(
        self, features: Sequence[Features], y: Features, told: Levels, plan: Plan, quality: int
    ) -> tuple[Levels, Moved]:
        """A reference's levels, each block from where it is found in them; and how they are moved."""
        moved, found, end = temporal.still(plan.changes), told.copy(), 0
        for i, (tensor, part) in enumerate(zip(features, plan.parts, strict=True)):
            start, end = end, end + 2 * part.grid.blocks
            levels = told[part.start : part.end].reshape(-1, part.grid.blocks)
            apart = part.of(y) - levels * np.float32(1 / POINT)
            active = ~(np.einsum("pb,pb->b", apart, apart) < AS_BEFORE)
            if not (part.motion.possible and active.any()):
                continue
            field = part.motion.field(levels, part.grid)
            vectors = part.motion.search(tensor, field, active, part.grid, step_of(quality))
            if not vectors.any():
                continue
            found[part.start : part.end] = part.motion.moved(levels, part.grid, vectors, field).ravel()
            said = differences(vectors, part.grid.columns)
            moved.differences[start:end], moved.rows[i] = said.ravel(), temporal.changes().row(said)
        return found, moved

    def _told(self, before: State, plan: Plan, quality: int) -> Levels:
        """A reference's levels at this quality; 0 for planes that it has not."""
        if before.quality == quality:
            return before.levels
        told = np.zeros(plan.size, np.int32)
        for part, other in zip(plan.parts, self.plan(before.quality, before.window).parts, strict=True):
            count = min(part.end - part.start, other.end - other.start)
            levels = before.levels[other.start : other.start + count]
            told[part.start : part.start + count] = temporal.requantised(levels, before.quality, quality)
        return told

    def _plan(self, quality: int, window: Window | None) -> Plan:
        parts, planes, changes, norms, end = [], [], [], [np.zeros(0, np.uint8)], 0
        for packed, motion in zip(self.tensors, self._motions, strict=True):
            basis, grid, start = packed.basis, packed.basis.grid(window), end
            scales = basis.scales[: basis.count(quality, self.margin)]
            end += scales.size * grid.blocks
            parts.append(Part(packed, motion, grid, start, end))
            planes.append(Planes(grid.blocks, *coefficients.classes(scales, quality)))
            *known, norm = temporal.classes(scales, quality)
            changes.append(Planes(grid.blocks, *known))
            norms.append(norm)
        return Plan(parts, planes, coefficients.flat(planes), coefficients.flat(changes), np.concatenate(norms), end)


def _payload(layers: Sequence[Layer]) -> bytes:
    """Of the one base layer. Raises BitstreamError."""
    check(len(layers) == 1 and layers[0].kind == Kind.BASE, "layers", "one base layer", [x.kind for x in layers])
    payload = layers[0].payload
    check(len(payload) > HEADER.size, "base layer", f"more than {HEADER.size} bytes", len(payload))
    return payload


def _moved(told: Levels, plan: Plan, moved: Moved) -> Levels:
    """A reference's levels, each block from where its vector points. Raises BitstreamError for one that is too long."""
    if (moved.rows == STILL).all():
        return told
    found, end = told.copy(), 0
    for part, row in zip(plan.parts, moved.rows, strict=True):
        start, end = end, end + 2 * part.grid.blocks
        if row == STILL:
            continue
        check(part.motion.possible, "vectors", "none: the bundle's bases are too large", "some")
        vectors = vectors_of(moved.differences[start:end].reshape(2, -1), part.grid.columns)
        longest = int(np.abs(vectors).max())
        check(longest <= FARTHEST, "vectors", f"up to {FARTHEST}", longest)
        levels = told[part.start : part.end].reshape(-1, part.grid.blocks)
        found[part.start : part.end] = part.motion.moved(levels, part.grid, vectors.astype(np.int8)).ravel()
    return found


def _levels(y: Features) -> Levels:
    """What the coefficients of a frame that is coded alone leave: exact, as they are 128ths up to 2^15."""
    levels: Levels = np.rint(y * np.float32(POINT)).astype(np.int32)
    return levels


def read_basis(tensor: int, block: int, shape: tuple[int, ...], arrays: Arrays) -> Basis:
    """The basis of one tensor of a bundle. ValueError names the array that does not fit."""
    parts: dict[str, NDArray[Any]] = {}
    kinds = {"mean": np.float32, "blank": np.float16, "frequency": np.uint8, "forward": np.float32}
    kinds |= {"inverse": np.float32, "scale": np.int16}
    if f"{tensor}.turned" in arrays:
        kinds |= {"turn": np.float32, "unturn": np.float32, "turned": np.int16}
    for name, kind in kinds.items():
        array = arrays[f"{tensor}.{name}"]
        if not np.can_cast(array.dtype, kind):
            raise ValueError(f"{tensor}.{name}: expected {np.dtype(kind)}, got {array.dtype}")
        parts[name] = array.astype(kind)
    try:
        basis = Basis(block, **parts)
    except ValueError as error:
        raise ValueError(f"{tensor}.{error}") from error
    if basis.shape != shape:
        raise ValueError(f"{tensor}.blank: expected shape {list(shape)}, got {list(basis.shape)}")
    return basis
