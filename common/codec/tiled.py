"""A latent in tiles that know nothing of each other, so that any of them may be left out.

    y, z of a tile -> as in `common.codec.latent`, its z first -> a rANS stream of one lane -> `coded_tiles`

A tile is `side` x `side` cells, one of z. Its hyper-latent, means and scales are made from itself and from the context
alone, as if it were a latent of its own, passes included, but many tiles are worked on at once. Cells beyond the
picture are not coded.
docs/bitstream.md, "Tiles", is the normative text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from common.codec import rans
from common.codec.coded_tiles import CodedTiles
from common.codec.container import check
from common.codec.elements import Cells, Features, Fixed
from common.codec.latent import LatentCoder
from common.codec.latent_model import Point
from common.codec.passes import Stage, Walk
from common.codec.values import Index, Lengths, Values

BATCH = 256
"""Tiles that are worked on at once: what bounds the memory of a large picture."""


@dataclass(frozen=True, slots=True)
class TileGrid:
    """How the cells of a latent that see the picture lie in tiles; the last ones may have fewer of them."""

    rows: int
    columns: int
    side: int

    @property
    def down(self) -> int:
        """Tiles from top to bottom."""
        return -(-self.rows // self.side)

    @property
    def across(self) -> int:
        """Tiles from left to right."""
        return -(-self.columns // self.side)

    @property
    def count(self) -> int:
        """Of tiles."""
        return self.down * self.across

    def folded(self, grid: NDArray[Any], numbers: Sequence[int]) -> NDArray[Any]:
        """Those tiles of a grid [C, rows, columns] of whole tiles: [C, n, side, side]."""
        down, across = np.divmod(np.asarray(numbers, np.intp), self.across)
        side = grid.shape[1] // self.down  # that of z's tiles is smaller
        tiles: NDArray[Any] = grid.reshape(len(grid), self.down, side, self.across, side)
        return tiles[:, down, :, across].transpose(1, 0, 2, 3)

    def put(self, tiles: NDArray[Any], numbers: Sequence[int], grid: NDArray[Any]) -> None:
        """Tiles [C, n, side, side] to where they belong in a grid [C, rows, columns] of whole tiles."""
        down, across = np.divmod(np.asarray(numbers, np.intp), self.across)
        places = grid.reshape(len(grid), self.down, self.side, self.across, self.side)
        places[:, down, :, across] = tiles.transpose(1, 0, 2, 3)

    def seen(self, numbers: Sequence[int]) -> NDArray[np.bool_]:
        """Of the cells of those tiles [n, side * side], which see the picture."""
        whole = np.zeros((1, self.down * self.side, self.across * self.side), np.bool_)
        whole[:, : self.rows, : self.columns] = True
        seen: NDArray[np.bool_] = self.folded(whole, numbers)[0].reshape(len(numbers), -1)
        return seen


class Order(NamedTuple):
    """Elements of a pass [its channels, n * its cells of a tile] as their streams have them.

    Tile by tile, of those cells that are seen.
    """

    channels: int
    seen: NDArray[np.bool_]
    """[n, its cells of a tile]"""

    @classmethod
    def of(cls, stage: Stage, seen: NDArray[np.bool_]) -> Self:
        """`seen` is of all cells of a tile, [n, cells]."""
        return cls(stage.of.channels, seen.ravel()[stage.places].reshape(len(seen), -1))

    @property
    def lengths(self) -> Lengths:
        """Of each stream [n]."""
        return np.asarray(self.channels * self.seen.sum(axis=1), np.uint32)

    def streamed(self, elements: NDArray[Any]) -> NDArray[Any]:
        """In that order, all streams in a row."""
        tiles = elements.reshape(self.channels, *self.seen.shape).transpose(1, 0, 2)
        return tiles.ravel() if self.seen.all() else tiles[self._coded()]

    def elements(self, streamed: Values) -> Values:
        """The same back [C, n * cells]; 0 where a cell is not seen."""
        tiles = np.zeros((len(self.seen), self.channels, self.seen.shape[1]), np.int32)
        if self.seen.all():
            tiles.reshape(-1)[:] = streamed
        else:
            tiles[self._coded()] = streamed
        return tiles.transpose(1, 0, 2).reshape(self.channels, -1)

    def blanked(self, elements: Fixed) -> Fixed:
        """Elements in place, 0 where a cell is not seen."""
        if not self.seen.all():
            elements *= self.seen.ravel()
        return elements

    def _coded(self) -> NDArray[np.bool_]:
        return np.broadcast_to(self.seen[:, None], (len(self.seen), self.channels, self.seen.shape[1]))


class TiledCoder:
    """Codes y float32 [C, H, W] by way of z [Z, H >> k, W >> k] in tiles of one cell of z: 2^k of y, each way."""

    def __init__(self, coder: LatentCoder) -> None:
        self.coder, self.side = coder, 1 << coder.halvings

    def grid(self, rows: int, columns: int) -> TileGrid:
        """Of so many cells that see the picture."""
        return TileGrid(rows, columns, self.side)

    def encode(self, y: Features, z: Features, quality: int | None, grid: TileGrid, context: Values | None) -> bytes:
        """The payload with all tiles. Y, z and context [K, H, W] are of whole tiles.

        NaN counts as 0. ValueError for what does not fit.
        """
        quality = self.coder.checked_quality(quality)
        streams: list[bytes] = []
        for numbers in _batches(range(grid.count)):
            beside = None if context is None else grid.folded(context, numbers)
            tiles = grid.folded(y, numbers), grid.folded(z, numbers)
            streams += self._encode(*tiles, quality, grid.seen(numbers), beside)
        return CodedTiles.of(quality, grid.count, dict(enumerate(streams))).pack()

    def parse(self, payload: bytes, grid: TileGrid) -> CodedTiles:
        """The tiles of a payload, not decoded. Raises BitstreamError."""
        tiles, there = CodedTiles.parse(payload, grid.count), self.coder.qualities
        check(tiles.quality in there, "quality", f"{there[0]}..{there[-1]}", tiles.quality)
        return tiles

    def decode(self, tiles: CodedTiles, grid: TileGrid, context: Values | None) -> tuple[Fixed, NDArray[np.bool_]]:
        """The latent [C, H, W] of whole tiles, 0 where none is, and which tiles it has [tile rows, tile columns].

        A tile that is damaged is not there.
        """
        side = self.side
        fixed = np.zeros((self.coder.channels, grid.down * side, grid.across * side), np.int32)
        there = np.zeros(grid.count, np.bool_)
        for numbers in _batches(_sound(tiles)):
            beside = None if context is None else grid.folded(context, numbers)
            streams = [tiles.tiles[number].stream for number in numbers]
            found, sound = self._decode(streams, tiles.quality, grid.seen(numbers), beside)
            kept = [number for number, whole in zip(numbers, sound, strict=True) if whole]
            grid.put(found[:, sound], kept, fixed)
            there[kept] = True
        return fixed, there.reshape(grid.down, grid.across)

    # ---- tiles [C, n, side, side]

    def _encode(
        self, y: Features, z: Features, quality: int, seen: NDArray[np.bool_], context: Values | None
    ) -> list[bytes]:
        coder, point, flat = self.coder, self.coder.point(quality), y.reshape(len(y), 1, -1)
        q_z = coder.quantise_hyper(z.reshape(len(z), -1), point)
        q, index, lengths = [q_z.T.ravel()], [self._hyper_index(len(seen), point)], [np.full(len(seen), len(q_z))]
        for stage in self._walk(q_z, point, context):
            order, known = Order.of(stage, seen), coder.parameters(stage, point)
            own = flat[stage.of.part][..., stage.places]
            steps = coder.quantise(own, Cells(0, 0, 1, stage.count), known, point)
            q.append(order.streamed(steps))
            index.append(order.streamed(known.index))
            lengths.append(order.lengths)
            if stage.wanted:
                coder.dequantise(steps.ravel(), known, point, slice(None))
                stage.put(slice(0, stage.count), order.blanked(known.mean))
        each = np.stack(lengths, axis=1)
        return coder.arithmetic.encode_each(coder.model.rows, woven(q, each), woven(index, each), each)

    def _decode(
        self, streams: Sequence[bytes], quality: int, seen: NDArray[np.bool_], context: Values | None
    ) -> tuple[Fixed, NDArray[np.bool_]]:
        """Tiles, and which of them are sound."""
        coder, point, count = self.coder, self.coder.point(quality), len(streams)
        decoder = coder.arithmetic.each_decoder(streams, coder.model.rows)
        z = decoder.take(self._hyper_index(count, point), np.full(count, coder.hyper, np.uint32))
        fixed = np.empty((coder.channels, seen.size), np.int32)
        for stage in self._walk(z.reshape(count, coder.hyper).T, point, context):
            order, known = Order.of(stage, seen), coder.parameters(stage, point)
            q = order.elements(decoder.take(order.streamed(known.index), order.lengths))
            coder.dequantise(q.ravel(), known, point, slice(None))
            fixed[stage.of.part, stage.places] = order.blanked(known.mean)
            stage.put(slice(0, stage.count), known.mean)
        return fixed.reshape(coder.channels, count, self.side, self.side), decoder.sound()

    def _walk(self, q_z: Values, point: Point, context: Values | None) -> Walk:
        """Over all cells of tiles, from z in steps [Z, n]."""
        coder = self.coder
        entered = np.zeros((q_z.shape[1], 1, 1, coder.hyper + coder.hyper % 2), np.int16)
        entered[:, 0, 0, : coder.hyper] = coder.hyper_of(q_z, point).T
        hidden = coder.arithmetic.run_each(coder.decoder, entered)
        beside = None if context is None else context.reshape(len(context), -1)
        return coder.walk(hidden.reshape(-1, hidden.shape[3]), beside, (len(hidden), self.side, self.side))

    def _hyper_index(self, count: int, point: Point) -> Index:
        """Of count tiles' z, one after the other."""
        return np.tile(self.coder.hyper_rows(point), count)


def _sound(tiles: CodedTiles) -> list[int]:
    """Those that can be decoded, as far as one can see before."""
    return [n for n, tile in sorted(tiles.tiles.items()) if tiles.sound(n) and rans.opens(tile.stream, lanes=1)]


def _batches(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    return (numbers[at : at + BATCH] for at in range(0, len(numbers), BATCH))


def woven(segments: Sequence[NDArray[Any]], lengths: Lengths) -> NDArray[Any]:
    """Segments, each of all streams in a row, stream by stream; their lengths [streams, segments]."""
    if (lengths == lengths[0]).all():
        return np.concatenate([segment.reshape(len(lengths), -1) for segment in segments], axis=1).ravel()
    ends = np.cumsum(lengths, axis=0)[:-1]
    parts = [np.split(segment, ends[:, number]) for number, segment in enumerate(segments)]
    return np.concatenate([part for stream in zip(*parts, strict=True) for part in stream])
