"""The picture by its frequencies: the low ones as a whole, the high ones in tiles of which any may be missing.

    picture -> analysis -> low  -> LatentCoder -> bytes of `low`
                        -> high -> TiledCoder  -> bytes of `full`, whose probabilities know the decoded low latent
    low^, high^ (0 where there is none) -> synthesis -> picture^

With no tile at all the synthesis shows the base picture: that of `low` alone. Both layers are of one quality.
"""

import weakref
from typing import Self

import numpy as np
from numpy.typing import NDArray

from common.bundle import Bundle, PictureLayer
from common.codec.coded_tiles import CodedTiles
from common.codec.container import check
from common.codec.latent import quality_of
from common.codec.tiled import BATCH, TiledCoder, TileGrid
from common.errors import BundleError
from common.scalable.frame import Frame
from common.scalable.latent_features import Features, Fixed, open_coder, read_arrays
from common.scalable.networks import Networks
from common.scalable.picture_latent import PictureLatent, Shape
from common.scalable.picture_networks import HALO, Parts, PictureNetworks, Pixels, assembled, blended
from common.scalable.regions import MARGIN, Regions, touched

ANALYSIS, SYNTHESIS = "frequency_analysis.onnx", "frequency_synthesis.onnx"
MOST_SPARED = 1 << 22
"""Pixels of a picture whose high frequencies are kept when its low ones are coded: most likely they are next."""


class LowLayer:
    """The low frequencies: the base picture."""

    def __init__(self, code: PictureLatent, high: int) -> None:
        self.code, self.networks, self.about = code, code.networks, code.about
        self._high = high
        self._spare: tuple[weakref.ref[Pixels], Features] | None = None
        if code.coder.context:
            raise BundleError(f"layer {self.about.name!r}: expected a head without context, there is none below")

    @classmethod
    def open(cls, bundle: Bundle, about: PictureLayer, networks: Networks, high: int) -> Self:
        """`high` is how many channels the synthesis takes of what is above. Raises BundleError."""
        return cls(PictureLatent.open(bundle, about, PictureNetworks(networks, about.stride)), high)

    def encode(self, picture: Pixels, frame: Frame, quality: int) -> bytes:
        """Needs nothing below."""
        shape = self.code.shape(frame.width, frame.height)
        low = shape.blank(self.code.coder.channels)
        high = shape.blank(self._high) if frame.width * frame.height <= MOST_SPARED else None
        given = {name: shape.seen(latent) for name, latent in (("low", low), ("high", high)) if latent is not None}
        self.networks.analyse(ANALYSIS, "x", self.networks.source(picture), given)
        self._spare = None if high is None else (weakref.ref(picture), high)
        return self.code.encode(low, shape, quality)

    def spare(self, picture: Pixels) -> Features | None:
        """The high latent of the picture that was coded last, once, if it is this one, unchanged, and was kept."""
        kept, self._spare = self._spare, None
        return kept[1] if kept is not None and kept[0]() is picture else None

    def latent(self, frame: Frame) -> Fixed:
        """[C, rows, columns] of the cells that see the picture. Raises BitstreamError."""
        return self.code.decode(frame.payload(self.about.kind), self.code.shape(frame.width, frame.height)).fixed

    def decode(self, frame: Frame, regions: Regions | None) -> Pixels:
        """The base picture. ValueError for regions: there is no picture below."""
        if regions is not None:
            raise ValueError(f"regions: layer {self.about.name!r} has no picture below it")
        return self.base(self.latent(frame), frame)

    def base(self, low: Fixed, frame: Frame) -> Pixels:
        """What the low frequencies show without any others."""
        nothing = np.broadcast_to(np.int32(0), (self._high, *low.shape[1:]))
        return assembled(self.shown(low, nothing, np.ones(low.shape[1:], np.bool_)), frame.width, frame.height)

    def shown(self, low: Fixed, high: Fixed, needed: NDArray[np.bool_]) -> Parts:
        """The parts of the picture that the cells needed [rows, columns] lie in."""
        return self.networks.synthesise(SYNTHESIS, "x", needed, {"low": low, "high": high})


class HighLayer:
    """The high frequencies above them, in tiles."""

    def __init__(self, about: PictureLayer, coder: TiledCoder, low: LowLayer) -> None:
        self.about, self.coder, self.low, self.networks = about, coder, low, low.networks
        if coder.coder.context_net is None:
            raise BundleError(f"layer {about.name!r}: expected a network `context` for what is below it")
        if about.tile != coder.side:
            raise BundleError(f"layer {about.name!r}: expected tiles of {coder.side} cells, got {about.tile}")
        # What is smaller has no region of its own: any, with the margin around it, needs its neighbours, too.
        if (size := about.tile * about.stride) <= 2 * MARGIN:
            raise BundleError(f"layer {about.name!r}: expected tiles of more than {2 * MARGIN} pixels, got {size}")

    @classmethod
    def open(cls, bundle: Bundle, about: PictureLayer, networks: Networks, below: PictureLayer) -> Self:
        """Above the layer `below`. Raises BundleError."""
        coder = open_coder(bundle, about.model_dump(), about.prefix, read_arrays(bundle))
        return cls(about, TiledCoder(coder), LowLayer.open(bundle, below, networks, coder.channels))

    def encode(self, picture: Pixels, frame: Frame, quality: int) -> bytes:
        """All tiles, above the frame's low frequencies. ValueError if those are of another quality."""
        payload = frame.payload(self.low.about.kind)
        if quality_of(payload) != quality:
            raise ValueError(f"quality: expected {quality_of(payload)}, that of {self.low.about.name!r}, got {quality}")
        shape, grid = self.low.code.shape(frame.width, frame.height), self.grid(frame.width, frame.height)
        context = self._context(self.low.latent(frame), shape)
        if (high := self.low.spare(picture)) is None:
            high = shape.blank(self.coder.coder.channels)
            self.networks.analyse(ANALYSIS, "x", self.networks.source(picture), {"high": shape.seen(high)})
        shape.carry_on(high)
        return self.coder.encode(high, self._hyper_analysis(high, grid), quality, grid, context)

    def latent(self, frame: Frame) -> Fixed:
        """[C, rows, columns] of the cells that see the picture, 0 in tiles that are missing or damaged."""
        return self._high(frame, self.low.latent(frame), None)

    def decode(self, frame: Frame, regions: Regions | None) -> Pixels:
        """The picture; where tiles are missing or damaged, and outside the regions, the base picture."""
        low = self.low.latent(frame)
        high = self._high(frame, low, regions)
        if regions is None:
            needed = np.ones(low.shape[1:], np.bool_)
            return assembled(self.low.shown(low, high, needed), frame.width, frame.height)
        needed = touched(regions, self.about.stride, *low.shape[1:])
        return blended(self.low.base(low, frame), self.low.shown(low, high, needed), regions)

    # ---- tiles

    def grid(self, width: int, height: int) -> TileGrid:
        """Of a picture."""
        return self.coder.grid(*self.low.code.shape(width, height).cells)

    def tiles(self, payload: bytes, width: int, height: int) -> CodedTiles:
        """Those of a payload. Raises BitstreamError."""
        return self.coder.parse(payload, self.grid(width, height))

    def wanted(self, regions: Regions | None, width: int, height: int, margin: int = MARGIN) -> list[int]:
        """The numbers of those that regions touch, or of all."""
        grid, size = self.grid(width, height), self.about.tile * self.about.stride
        if regions is None:
            return list(range(grid.count))
        grown = [region.grown(margin, width, height) for region in regions]
        found: list[int] = np.flatnonzero(touched(grown, size, grid.down, grid.across)).tolist()
        return found

    # ---- parts

    def _high(self, frame: Frame, low: Fixed, regions: Regions | None) -> Fixed:
        """The latent [C, rows, columns], of all tiles that the pixels in these regions depend on."""
        size = frame.width, frame.height
        tiles, below = self.tiles(frame.payload(self.about.kind), *size), frame.payload(self.low.about.kind)
        check(tiles.quality == quality_of(below), "quality", f"that below it, {quality_of(below)}", tiles.quality)
        wanted = self.wanted(regions, *size, margin=HALO * self.about.stride)
        shape = self.low.code.shape(*size)
        high, _ = self.coder.decode(tiles.only(wanted), self.grid(*size), self._context(low, shape))
        return shape.seen(high)

    def _context(self, low: Fixed, shape: Shape) -> Fixed:
        """For the probabilities: int32 [K, padded rows, padded columns]."""
        assert self.coder.coder.context_net
        context = np.empty((self.coder.coder.context, *shape.padded), np.int32)
        shape.seen(context)[:] = self.coder.coder.context_net(low)
        shape.carry_on(context)
        return context

    def _hyper_analysis(self, y: Features, grid: TileGrid) -> Features:
        """Z of y of whole tiles, [Z, tile rows, tile columns]: each tile's of itself."""
        name, z = f"{self.about.prefix}_hyper.onnx", np.empty((self.coder.coder.hyper, grid.count), np.float32)
        for at in range(0, grid.count, BATCH):
            numbers = range(at, min(at + BATCH, grid.count))
            tiles = grid.folded(y, numbers).transpose(1, 0, 2, 3)
            found = self.networks.networks.run(name, "z", y=tiles)
            if found.shape[1:] != (len(z), 1, 1):
                raise BundleError(f"{name} gives {found.shape[1:]} for a tile, expected {(len(z), 1, 1)}")
            z[:, numbers.start : numbers.stop] = found[:, :, 0, 0].T
        return z.reshape(-1, grid.down, grid.across)
