"""How the parts of a latent's coder are worked out: by the kernel, or by the references that it must equal."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from common.codec import elements, values
from common.codec.elements import Cells, Features, Fixed, Parameters
from common.codec.integers import IntegerNet
from common.codec.rounding import Thresholds
from common.codec.values import (
    Decoder,
    EachDecoder,
    EachReference,
    Index,
    Lengths,
    ReferenceDecoder,
    Rows,
    Segment,
    Values,
)


class Takes(Protocol):
    """A decoder of values."""

    def take(self, index: Index) -> Values:
        """The next values."""
        ...

    def end(self) -> None:
        """Raise BitstreamError unless it was all."""
        ...


def run_reference(net: IntegerNet, x: NDArray[Any]) -> NDArray[Any]:
    """`IntegerNet.run` by the network's reference."""
    found = net.forward_reference(x[..., : net.inputs].transpose(2, 0, 1))
    if not net.layers[-1].relu:
        return found
    cells = np.zeros((*found.shape[1:], found.shape[0] + found.shape[0] % 2), np.int16)
    cells[..., : found.shape[0]] = found.transpose(1, 2, 0)
    return cells


class TakesEach(Protocol):
    """A decoder of values of many streams at once, as `values.EachDecoder`."""

    def take(self, index: Index, lengths: Lengths) -> Values:
        """The next values of each."""
        ...

    def sound(self) -> NDArray[np.bool_]:
        """Which of them it was all of."""
        ...


def run_each_reference(net: IntegerNet, x: NDArray[Any]) -> NDArray[Any]:
    """`IntegerNet.run_each` by the network's reference, one after the other."""
    return np.stack([run_reference(net, one) for one in x])


class Arithmetic(NamedTuple):
    """How the parts of a coder are worked out: `KERNEL`, or `REFERENCE`, which is the same and slow."""

    run: Callable[[IntegerNet, NDArray[Any]], NDArray[Any]]
    run_each: Callable[[IntegerNet, NDArray[Any]], NDArray[Any]]
    parameters: Callable[[Values, NDArray[np.int8], int, int, Parameters], None]
    quantise: Callable[[Features, Cells, Parameters, Thresholds, int], Values]
    dequantise: Callable[[Values, Index, NDArray[np.int16], int, Fixed], None]
    encode: Callable[[Rows, Iterable[Segment]], bytes]
    decoder: Callable[[bytes, Rows], Takes]
    encode_each: Callable[[Rows, Values, Index, Lengths], list[bytes]]
    each_decoder: Callable[[Sequence[bytes], Rows], TakesEach]


KERNEL = Arithmetic(
    IntegerNet.run,
    IntegerNet.run_each,
    elements.parameters,
    elements.quantise,
    elements.dequantise,
    Rows.encode,
    Decoder,
    Rows.encode_each,
    EachDecoder,
)
REFERENCE = Arithmetic(
    run_reference,
    run_each_reference,
    elements.parameters_reference,
    elements.quantise_reference,
    elements.dequantise_reference,
    values.encode_reference,
    ReferenceDecoder,
    values.encode_each_reference,
    EachReference,
)
