"""Mutated containers against the decoding path: only BitstreamError may come out, in bounded memory and time.

python -m tests.codec.fuzz --seconds 20 --seed 1
"""

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np
from numpy.typing import NDArray

from common.codec import (
    Codec,
    Container,
    Kind,
    Layer,
    Lightweight,
    LightweightRans,
    Limits,
    Transform,
    _kernel,
    pack,
    unpack,
)
from common.codec.container import HEADER, PREFIX_BYTES, TABLE, header_size
from common.codec.elements import Cells
from common.codec.latent import HEADER as HEADER_OF_LATENT
from common.codec.lightweight import HEADER as HEADER_BY_CLIP
from common.codec.lightweight import TABLE_HEADER as HEADER_BY_TABLE
from common.codec.lightweight_rans import calibrate
from common.codec.passes import ALL, EVEN, ODD
from common.codec.quantise import Table
from common.codec.tiled import TiledCoder
from common.codec.transform import HEADER as HEADER_OF_TRANSFORM
from common.errors import BitstreamError
from tests.codec.latent_samples import Order, coder, latent
from tests.codec.transform_samples import bundle
from tests.codec.transform_vectors import EXACT

LIMITS = Limits(max_bytes=1 << 20)
LEVELS = [2, 3, 4, 7, 16, 256]
SHAPES = [(1,), (3, 5, 7), (16, 40, 40)]
ORDER: Order = [(0, 3, EVEN), (0, 3, ODD), (3, 8, ALL), (8, 20, ALL)]
MOST_GROWTH = 64 << 20  # bytes of resident memory, beyond what the corpus and the first rounds needed
MOST_SECONDS = 5.0  # for one input; 256 levels of the largest shape are 6.5 M bins, some 30 ms undisturbed


@dataclass
class Report:
    """What happened to the inputs."""

    inputs: int = 0
    accepted: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    slowest: float = 0.0
    growth: int = 0


class Latents:
    """Codec 5 without the networks around it: a latent of 20 channels on a grid of this size."""

    id = 5
    qualities = (40, 250, 330, 700)

    def __init__(self, height: int, width: int, order: Order | None = None) -> None:
        self.coder, self.height, self.width = coder(height, 20, 6, 2, order=order), height, width
        self.cells = Cells(height // 4, 0, height, width - 1)

    def encode(self, seed: int, quality: int) -> list[Layer]:
        y, z = latent(np.random.default_rng(seed), self.coder, self.height, self.width)
        return [Layer(Kind.BASE, self.coder.encode(y, z, quality, self.cells)[0])]

    def decode(self, layers: Sequence[Layer]) -> list[NDArray[np.int32]]:
        return [self.coder.decode(layers[0].payload, self.height, self.width, self.cells).fixed]


class Tiles(Latents):
    """The same in tiles; the bytes of one that is damaged are followed by those of others that are not."""

    def __init__(self, height: int, width: int, order: Order | None = None) -> None:
        super().__init__(height, width, order)
        self.tiled = TiledCoder(self.coder)
        self.grid = self.tiled.grid(height - 1, width - 2)

    def encode(self, seed: int, quality: int) -> list[Layer]:
        y, z = latent(np.random.default_rng(seed), self.coder, self.height, self.width)
        return [Layer(Kind.BASE, self.tiled.encode(y, z, quality, self.grid, None))]

    def decode(self, layers: Sequence[Layer]) -> list[NDArray[np.int32]]:
        tiles = self.tiled.parse(layers[0].payload, self.grid)
        assert tiles.pack() == layers[0].payload
        return [self.tiled.decode(tiles, self.grid, None)[0]]


def codecs(shape: tuple[int, ...], x: NDArray[np.float32]) -> list[Lightweight]:
    """By clips, by tables, and in context with tables counted on x."""
    clips = dict.fromkeys(LEVELS, (0.0, 4.0))
    tables = {n: Table(*(np.linspace(0, 4, count, dtype=np.float32) ** 2 for count in (n - 1, n))) for n in LEVELS}
    made = [Lightweight([shape], clips), Lightweight([shape], {}, tables=tables)]
    if len(shape) == 3:
        params = {"shapes": [shape], "clips": {str(n): [0, 4] for n in LEVELS if n <= 16}}
        made.append(LightweightRans.from_params(params, calibrate(params, [[x]])))
    return made


def transforms() -> list[Transform]:
    """Of one tensor and of two, with and without rotation."""
    shapes = [[[3, 5, 7]], [[16, 40, 40]], [[9, 12, 20], [5, 6, 10]]]
    return [
        Transform.from_params(*bundle(shape, 4, turned)) for shape, turned in zip(shapes, (0, 100, 40), strict=True)
    ]


def corpus(rng: Random) -> list[tuple[Codec | Latents, Container]]:
    """Valid frames of every shape, codec and number of levels."""
    frames: list[tuple[Codec | Latents, Container]] = []
    for shape in SHAPES:
        x = np.random.default_rng(rng.getrandbits(32)).exponential(1, shape).astype(np.float32)
        for codec, n in [(each, n) for each in codecs(shape, x) for n in each.qualities]:
            layers = [*codec.encode([x], n), Layer(Kind.ENHANCEMENT, rng.randbytes(rng.randrange(40)))]
            frames.append((codec, Container(rng.randbytes(PREFIX_BYTES), codec.id, n, 640, 480, layers)))
    for transform, n in [(each, n) for each in transforms() for n in (100, 250, 400, 900)]:
        draw = np.random.default_rng(rng.getrandbits(32))
        layers = transform.encode([draw.laplace(size=shape).astype(np.float32) for shape in transform.shapes], n)
        frames.append((transform, Container(rng.randbytes(PREFIX_BYTES), transform.id, n, 640, 480, layers)))
    learned = Latents(4, 4), Latents(48, 80), Latents(28, 40, ORDER)
    learned = *learned, Tiles(4, 4), Tiles(24, 40), Tiles(16, 20, ORDER)
    for latents, n in [(each, n) for each in learned for n in Latents.qualities]:
        layers = latents.encode(rng.getrandbits(32), n)
        frames.append((latents, Container(rng.randbytes(PREFIX_BYTES), latents.id, n, 640, 480, layers)))
    return frames


def flip(rng: Random, data: bytearray) -> None:
    for _ in range(rng.choice([1, 1, 1, 4, 64])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def overwrite(rng: Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    data[at : at + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", rng.randbytes(4)])


def cut(rng: Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice([1, 2, 8, len(data)])]


def insert(rng: Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(rng.choice([1, 2, 8, 1000]))


MUTATIONS: list[Callable[[Random, bytearray], None]] = [flip, overwrite, cut, insert]


def mutated(rng: Random, data: bytes) -> bytes:
    """One to three mutations; never empty on the way."""
    new = bytearray(data or b"\0")
    for _ in range(rng.randrange(1, 4)):
        rng.choice(MUTATIONS)(rng, new)
        new = new or bytearray(1)
    return bytes(new)


def layer_header(codec: int, payload: bytes) -> int:
    """Bytes before the coded levels or coefficients."""
    if codec == Transform.id:
        return HEADER_OF_TRANSFORM.size
    if codec == Latents.id:
        return HEADER_OF_LATENT.size
    return HEADER_BY_CLIP.size if payload[0] else HEADER_BY_TABLE.size


def attack(rng: Random, frame: Container) -> bytes:
    """A mutated container; or a sound one around a mutated layer; or a mutated header with its checksum put right."""
    way = rng.randrange(3)
    if way == 0:
        return mutated(rng, pack(frame))
    if way == 1:
        payload = frame.layers[0].payload
        size = layer_header(frame.codec, payload)
        head = payload[:size] if rng.randrange(4) else mutated(rng, payload[:size])
        return pack(replace(frame, layers=[Layer(Kind.BASE, head + mutated(rng, payload[size:]))]))
    data = bytearray(pack(frame))
    field_at = rng.choice([2, 3, *range(8, HEADER.size), *range(TABLE, header_size(len(frame.layers)))])
    data[field_at] = rng.randrange(256)
    data[HEADER.size : TABLE] = _kernel.crc32c(data[TABLE:], _kernel.crc32c(data[: HEADER.size])).to_bytes(4, "big")
    return bytes(data)


def decode(codec: Codec | Latents, data: bytes) -> None:
    """The cloud's path. What is accepted must be what the edge would have sent."""
    layers = unpack(data, LIMITS).layers[:1]
    features = codec.decode(layers)
    payload = layers[0].payload
    coded = payload[layer_header(codec.id, payload) :]
    if isinstance(codec, Transform):
        assert recoded(codec, int.from_bytes(payload[: HEADER_OF_TRANSFORM.size], "big"), coded) == coded
    elif isinstance(codec, Lightweight):
        levels, q = (payload[0] or payload[1]) + 1, np.empty(codec.sizes[0], np.uint8)
        assert codec.decode_levels(memoryview(coded), q, levels)
        assert codec.encode_levels(q, levels) == coded
    assert all(np.isfinite(tensor).all() for tensor in features)


def recoded(codec: Transform, quality: int, coded: bytes) -> bytes:
    """Decoded coefficients lie less than half a step from their integers: under EXACT they are quantised to these."""
    plan = codec.plan(quality, None)
    y = np.empty(plan.size, np.float32)
    codec.model.decode(coded, y, plan.flat)
    return replace(codec.model, thresholds=EXACT).encode(y, plan.flat)


def run(seconds: float, seed: int) -> Report:
    """Fuzz for so long; raise whatever is not a BitstreamError, and MemoryError or TimeoutError beyond the bounds."""
    rng = Random(seed)
    frames = corpus(rng)
    report = Report()
    at_rest = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        codec, frame = rng.choice(frames)
        data = attack(rng, frame)
        begin = time.monotonic()
        try:
            decode(codec, data)
            report.accepted += 1
        except BitstreamError as error:
            what = str(error).partition(":")[0]
            report.refused[what] = report.refused.get(what, 0) + 1
        report.inputs += 1
        report.slowest = max(report.slowest, time.monotonic() - begin)
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        at_rest = resident if report.inputs <= 200 else at_rest
        report.growth = resident - at_rest
        if report.growth > MOST_GROWTH:
            raise MemoryError(f"{report.growth} bytes more than at rest after input {report.inputs} of seed {seed}")
        if report.slowest > MOST_SECONDS:
            raise TimeoutError(f"{report.slowest:.1f} s for input {report.inputs} of seed {seed}")
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    report = run(arguments.seconds, arguments.seed)
    print(f"{report.inputs} inputs, {report.accepted} accepted, slowest {report.slowest * 1e3:.1f} ms,", end=" ")
    print(f"{report.growth >> 20} MiB more than at rest")
    for what, count in sorted(report.refused.items(), key=lambda item: -item[1]):
        print(f"{count:8} {what}")


if __name__ == "__main__":
    main()
