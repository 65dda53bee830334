"""A frame coded or decoded in a process of its own, by one of several arithmetics: what it prints is always the same.

python -m tests.scalable.ways encode|kernel|plain|reference|torch BUNDLE FRAME THREADS [PICTURE]

`encode` makes FRAME from the file PICTURE, all others decode FRAME and write the picture to PICTURE, as an array. The
float networks run in ONNX Runtime; what is changed is what must be exact: hyper-decoder, tables, rANS, dequantising.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common import bundle as bundles
from common import feature_codec
from common.bundle import Bundle
from common.codec import _kernel, pack, unpack
from common.codec.arithmetic import KERNEL, REFERENCE, Arithmetic, Takes
from common.codec.container import Container, Layer
from common.codec.integers import IntegerNet
from common.codec.latent import LatentCoder
from common.codec.values import Index, Rows, Segment, Values
from common.network.front import Front
from common.payload.picture import place
from common.scalable import PictureLayers

Digests = dict[str, str]
"""Of a stream of values: the symbols, and the rows that they were coded under."""


class Noted:
    """Values as they go by, in coding order."""

    def __init__(self) -> None:
        self.values, self.rows = hashlib.sha256(), hashlib.sha256()

    def add(self, values: Values, index: Index) -> None:
        self.values.update(np.ascontiguousarray(values, np.int32).tobytes())
        self.rows.update(np.ascontiguousarray(index, np.uint16).tobytes())

    def __str__(self) -> str:
        return self.values.hexdigest() + self.rows.hexdigest()


def noting(arithmetic: Arithmetic, digests: Digests) -> Arithmetic:
    """The same arithmetic; `digests` gets those of all streams by the streams' own."""

    class Decoder:
        def __init__(self, data: bytes, rows: Rows) -> None:
            self.inner: Takes = arithmetic.decoder(data, rows)
            self.name, self.noted = digest(data), Noted()

        def take(self, index: Index) -> Values:
            values = self.inner.take(index)
            self.noted.add(values, index)
            return values

        def end(self) -> None:
            self.inner.end()
            digests[self.name] = str(self.noted)

    def encode(rows: Rows, segments: Sequence[Segment]) -> bytes:
        data, noted = arithmetic.encode(rows, segments), Noted()
        for segment in segments:
            noted.add(segment.values, segment.index)
        digests[digest(data)] = str(noted)
        return data

    return arithmetic._replace(encode=encode, decoder=Decoder)


def run_torch(net: IntegerNet, x: NDArray[Any]) -> NDArray[Any]:
    """`IntegerNet.run` by torch, in float64, which holds every sum exactly."""
    import torch

    from train.integers import RELU, SHUFFLE, Chain
    from train.integers import Layer as Step

    steps = tuple(
        Step(each.weight, each.bias, each.shift, RELU * each.relu + SHUFFLE * each.shuffle) for each in net.layers
    )
    planes = torch.from_numpy(np.ascontiguousarray(x[..., : net.inputs].transpose(2, 0, 1))).double()
    found = Chain(steps, net.input_limit, 1.0)(planes[None])[0].numpy()
    if not net.layers[-1].relu:
        return np.ascontiguousarray(found, np.int32)
    cells = np.zeros((*found.shape[1:], found.shape[0] + found.shape[0] % 2), np.int16)
    cells[..., : found.shape[0]] = found.transpose(1, 2, 0)
    return cells


def arithmetic_of(way: str, threads: int) -> Arithmetic:
    """`kernel` as it is, `plain` without any of the vector instructions that it chooses from."""
    if way == "torch":
        import torch

        torch.set_num_threads(threads)
        return REFERENCE._replace(run=run_torch)
    if way == "plain":
        _kernel.integers_newest(0)
    return REFERENCE if way == "reference" else KERNEL


def use(arithmetic: Arithmetic, run: Callable[[IntegerNet, NDArray[Any]], NDArray[Any]]) -> None:
    """From here on, for every coder that is opened and every network that is run."""
    LatentCoder.__init__ = partialmethod(LatentCoder.__init__, arithmetic=arithmetic)  # type: ignore[method-assign]
    IntegerNet.run = run  # type: ignore[method-assign]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def encoded(bundle: Bundle, picture: NDArray[np.uint8], threads: int) -> bytes:
    """A container with every layer."""
    (height, width), given = picture.shape[:2], bundle.manifest.input
    features = Front(bundle, threads).run(place(picture, given.box(width, height), given.width, given.pad))
    codec = feature_codec.of(bundle, threads)
    layers: list[Layer] = codec.encode(features, None, given.window(width, height))
    pictures = PictureLayers.open(bundle, threads)
    for layer in pictures.layers:
        layers = [*layers, pictures.encode(layer.name, picture, layers)]
    return pack(Container(bundle.prefix, codec.id, 0, width, height, layers))


def main(way: str, folder: Path, frame: Path, threads: int, picture: Path) -> None:
    """Code or decode; print the digests, and that of the picture's latent."""
    digests: Digests = {}
    arithmetic = arithmetic_of(way, threads)
    use(noting(arithmetic, digests), arithmetic.run)
    bundle = bundles.load(folder, "both")
    if way == "encode":
        frame.write_bytes(encoded(bundle, np.asarray(Image.open(picture).convert("RGB")), threads))
    container = unpack(frame.read_bytes())
    size, pictures = (container.width, container.height), PictureLayers.open(bundle, threads)
    if way != "encode":
        np.save(picture, pictures.decode(container.layers, *size))
    fixed = pictures.latent(container.layers, *size)
    print(json.dumps({"streams": digests, "latent": digest(np.ascontiguousarray(fixed).tobytes())}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
