"""Passes: y is coded some channels, and some cells, at a time, and each is told what those before it brought back.

    hidden, from z ------------------------------------------------------+
    context, from the layer below ---------------------------------------+-> pass.N.head -> means, scales
    state: what came back so far, 0 where nothing did -> pass.N.context -+

A pass takes some channels (Minnen and Singh, ICIP 2020) at all cells, or at those of one colour of a checkerboard (He
et al., CVPR 2021; both: He et al., CVPR 2022). A latent without passes is coded in a single one, of everything: what
it would be told of is empty. docs/bitstream.md, "Passes", is the normative text.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.codec.arithmetic import Arithmetic
from common.codec.elements import NARROW, Fixed
from common.codec.integers import IntegerNet, even
from common.codec.values import Values

Arrays = Mapping[str, NDArray[Any]]
Told = NDArray[np.int16]
"""What a head, or a part of it, is given: [cells, channels, made even]."""
Places = slice | NDArray[np.intp]
"""Some of all coded cells in a row."""
Shape = tuple[int, int, int]
"""Of coded cells: grids that know nothing of each other, and the rows and columns of each."""

EVEN, ODD, ALL = 0, 1, 2
"""Cells whose row + column, counted from the first one, is so."""
MOST_PASSES = 32


class Pass(NamedTuple):
    """Channels `first` to `end` - 1, at the cells of a parity."""

    first: int
    end: int
    parity: int
    context: IntegerNet | None
    """Of the state; none where there is nothing in it yet."""
    head: IntegerNet

    @property
    def channels(self) -> int:
        """How many it codes."""
        return self.end - self.first

    @property
    def part(self) -> slice:
        """Which it codes."""
        return slice(self.first, self.end)

    @property
    def seen(self) -> int:
        """Channels of the state: what is coded before it."""
        return seen(self.first, self.end, self.parity)

    def beside(self, hidden: int) -> int:
        """Channels of context from the layer below that the head takes, if it takes so many hidden ones."""
        return self.head.inputs - hidden - (self.context.outputs if self.context else 0)

    def places(self, shape: Shape) -> Places:
        """Its cells."""
        grids, rows, columns = shape
        if self.parity == ALL:
            return slice(0, grids * rows * columns)
        own = (np.arange(rows)[:, None] + np.arange(columns)) % 2 == self.parity
        return np.flatnonzero(np.broadcast_to(own, shape))


def seen(first: int, end: int, parity: int) -> int:
    """Channels that are coded before a pass; for the odd cells its own ones, at the even cells."""
    return end if parity == ODD else first


def count(places: Places) -> int:
    """Of cells."""
    return int(places.stop) if isinstance(places, slice) else len(places)


# ---- from the bundle


def from_arrays(arrays: Arrays, prefix: str, channels: int, hidden: int) -> tuple[Pass, ...]:
    """Those that code so many channels, beside a hyper-decoder of `hidden` outputs. Raises KeyError or ValueError.

    "PREFIX.passes" uint16 [P, 3], each first, end, parity; of pass N the network "PREFIX.pass.N.head" and, where
    something is coded before it, "PREFIX.pass.N.context". Or, of a single pass, "PREFIX.head".
    """
    if f"{prefix}.passes" not in arrays:
        return (_read(arrays, prefix, (0, channels, ALL), hidden),)
    if f"{prefix}.head.kinds" in arrays:
        raise ValueError(f"{prefix}.passes: expected no {prefix}.head beside it")
    order = _order(arrays[f"{prefix}.passes"], f"{prefix}.passes", channels)
    passes = [_read(arrays, f"{prefix}.pass.{number}", each, hidden) for number, each in enumerate(order)]
    for number, each in enumerate(passes):
        inputs = each.head.inputs - each.beside(hidden) + passes[0].beside(hidden)
        if each.head.inputs != inputs:
            raise ValueError(f"{prefix}.pass.{number}.head: expected {inputs} inputs, got {each.head.inputs}")
    return tuple(passes)


def _order(array: NDArray[Any], name: str, channels: int) -> list[tuple[int, int, int]]:
    if array.dtype != np.uint16 or array.ndim != 2 or array.shape[1] != 3 or not 1 <= len(array) <= MOST_PASSES:
        expected = f"uint16 [1..{MOST_PASSES}, 3]"
        raise ValueError(f"{name}: expected {expected}, got {array.dtype} {list(array.shape)}")
    order: list[tuple[int, int, int]] = [(first, end, parity) for first, end, parity in array.tolist()]
    groups: list[tuple[int, int, int]] = []
    for first, end, parity in order:
        if parity == ODD and groups[-1:] == [(first, end, EVEN)]:
            groups[-1] = first, end, ALL
        else:
            groups.append((first, end, parity))
    begins, ends = [first for first, _, _ in groups], [end for _, end, _ in groups]
    whole = begins == [0, *ends[:-1]] and ends[-1] == channels and all(parity == ALL for *_, parity in groups)
    if not whole or any(first >= end for first, end, _ in groups):
        raise ValueError(f"{name}: expected channels 0 to {channels} in order, at all cells or even, then odd: {order}")
    return order


def _read(arrays: Arrays, name: str, order: tuple[int, int, int], hidden: int) -> Pass:
    first, end, _ = order
    context = IntegerNet.from_arrays(arrays, f"{name}.context") if (inputs := seen(*order)) else None
    if context and (context.inputs != inputs or not context.layers[-1].relu or context.doublings):
        expected = f"{inputs} inputs, a relu at last and no shuffle"
        raise ValueError(f"{name}.context: expected {expected}, got {context.inputs} inputs")
    head = IntegerNet.from_arrays(arrays, f"{name}.head")
    found, last = Pass(*order, context, head), head.layers[-1]
    if len(head.layers) != 1 or last.relu or last.weight.shape[2] != 1 or found.beside(hidden) < 0:
        inputs = head.inputs - found.beside(hidden)
        raise ValueError(f"{name}.head: expected one 1x1 layer of {inputs} inputs or more, without a relu")
    if head.outputs != 2 * (end - first):
        raise ValueError(f"{name}.head: expected {2 * (end - first)} outputs, got {head.outputs}")
    return found


# ---- on the way


class Stage:
    """A pass whose turn it is."""

    def __init__(self, walk: "Walk", of: Pass, places: Places, context: Told | None) -> None:
        self.of, self.places, self.count = of, places, count(places)
        self.whole = isinstance(places, slice)
        """Whether it codes all cells."""
        self.wanted = of.end <= walk.wanted
        """Whether passes behind it are told what came back."""
        self._walk, self._context = walk, context

    def among_all(self, part: slice) -> Places:
        """Where some of its cells, begin to end, are among all coded ones."""
        return part if isinstance(self.places, slice) else self.places[part]

    def told(self, part: slice) -> Told:
        """What the head is given for them."""
        head, places, (before, channels) = self.of.head, self.among_all(part), self._walk.before
        if self._context is None:
            told = before[places]
        else:
            beside = self._context[places, : head.inputs - channels]
            told = np.zeros((len(beside), even(head.inputs)), np.int16)
            told[:, :channels] = before[places, :channels]
            told[:, channels : head.inputs] = beside
        return told if head.input_limit >= NARROW else told.clip(-head.input_limit, head.input_limit)

    def put(self, part: slice, fixed: Fixed) -> None:
        """Say what came back of them [its channels, cells]."""
        if self.wanted:
            self._walk.put(self.of, self.among_all(part), fixed)


class Walk:
    """All coded cells of a latent, or of several of one size, pass after pass.

    Iterating gives the next one, once all of the last one has been `put`.
    """

    def __init__(
        self,
        passes: Sequence[Pass],
        exponent: NDArray[np.int8],
        arithmetic: Arithmetic,
        before: tuple[Told, int],
        shape: Shape,
    ) -> None:
        """`before` is what all heads are given, and its channels."""
        self.before, self.wanted = before, max(each.seen for each in passes)
        """And the channels that any pass is told of."""
        self._exponent, self._arithmetic = exponent, arithmetic
        places = ((each, each.places(shape)) for each in passes)
        self._passes = [(each, where) for each, where in places if count(where)]
        self._state = np.zeros((*shape, even(self.wanted)), np.int16)
        """In 1/64 of the channels' spread."""

    @property
    def lengths(self) -> list[int]:
        """Elements of each stage."""
        return [each.channels * count(places) for each, places in self._passes]

    def __iter__(self) -> Iterator[Stage]:
        for each, places in self._passes:
            yield Stage(self, each, places, self._told(each.context) if each.context else None)

    def _told(self, net: IntegerNet) -> Told:
        state, run = self._state[..., : even(net.inputs)], self._arithmetic
        if net.input_limit < NARROW:
            state = state.clip(-net.input_limit, net.input_limit)
        found: Told = run.run(net, state[0]) if len(state) == 1 else run.run_each(net, state)
        return found.reshape(-1, found.shape[-1])

    def put(self, of: Pass, places: Places, fixed: Fixed) -> None:
        """What came back of a pass at these cells, to the state."""
        cells = self._state.reshape(-1, self._state.shape[-1])
        cells[places, of.part] = in_spreads(fixed, self._exponent[of.part]).T


def in_spreads(fixed: Fixed, exponent: NDArray[np.int8]) -> Values:
    """[C, n] in 1/64 of the channels' spreads 2^exponent, to the nearest, at most 32767 either way."""
    up = exponent.astype(np.int32)[:, None] + 2
    nearest = (fixed + (1 << np.maximum(up, 0) >> 1)) >> np.maximum(up, 0)
    found: Values = (nearest.clip(-NARROW, NARROW) << np.maximum(-up, 0)).clip(-NARROW, NARROW)
    return found
