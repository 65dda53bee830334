"""What somebody who looks at a frame gets: the pixels if they are here, else what is done about it.

look ──► offers (is there such a layer?) ──► store (is it here?) ──► layers (ask the edge)
file ──► synthesis (layers → picture → file)

Of a layer in tiles, those that a part of the picture needs may be here and others not: tiles says which.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from cloud.aside import Aside
from cloud.encoded import MEDIA_TYPES
from cloud.frame import Coded, Original
from cloud.layers import Answer, Asked, Layers
from cloud.offers import Offer, codec_id, offers
from cloud.registry import Registry
from cloud.replies import Fits, Refusal, Wish, unusable
from cloud.store import Record, Store, StoreError
from cloud.synthesis import Shown, Synthesis
from cloud.tiles import Grid, Part, Tiles, covering, tile_pixels
from common.bundle import Bundle
from common.codec import Layer
from common.codec.container import Kind
from common.errors import BitstreamError, BundleError
from common.layers import BASE, FULL, MASK, NAMES, ORIGINAL, checksum, quality_of
from common.scalable.pictures import most_pixels
from common.scalable.regions import Region

log = structlog.get_logger()

_MOST_WAITING = 64
"""Who may wait for pixels at once. Whoever comes then is told at once that they are being fetched."""
_MOST_MENDED = 1000
_NO_PART = "roi: it is not coded in tiles, so no part of it can be had alone; leave roi out"
_NOT_TILED = Refusal(422, "invalid-request", _NO_PART, final=True)


@dataclass(frozen=True, slots=True)
class Ready:
    """All that a layer is made of, and its digest; of tiles those that the regions need, so many of them damaged."""

    offer: Offer
    made_of: Original | Coded
    digest: str
    regions: tuple[Region, ...] | None = None
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """How much is here of a layer. `tiles`: how many, of how many; None of a layer that has none."""

    bytes: int
    whole: bool
    tiles: tuple[int, int] | None = None


class Pixels:
    """Every frame's pixels, by the names of cloud/offers.py."""

    def __init__(
        self, registry: Registry, store: Store, aside: Aside, layers: Layers, synthesis: Synthesis, tiles: Tiles
    ) -> None:
        self._registry = registry
        self._store = store
        self._aside = aside
        self._layers = layers
        self._synthesis = synthesis
        self._tiles = tiles
        self._waiting = 0
        self._mended: OrderedDict[tuple[str, str, int], Grid] = OrderedDict()
        """By frame, layer and quality: which damaged tiles were asked for again."""

    def offer(self, row: Record, name: str, quality: int | None = None) -> Offer | Refusal:
        """What this layer of this frame is, or why there is no such thing."""
        bundle = self._registry.get(row.bundle)
        there = offers(bundle, row.codec)
        if name not in NAMES:
            return Refusal(404, "no-such-layer", f"There is no layer {name[:32]!r}; there are {', '.join(NAMES)}.")
        if name not in there and bundle is None:
            return _unknown(row)
        if name not in there and name != FULL:
            return Refusal(404, "no-such-layer", _absent(row, name, tuple(there)))
        offer = there.get(name, there[ORIGINAL])
        if not offer.suits(row.width * row.height):
            return Refusal(404, "no-such-layer", _too_large(row, offer.name))
        return _badly_asked(offer, quality) or offer

    async def look(
        self, row: Record, name: str, quality: int | None = None, regions: tuple[Region, ...] | None = None
    ) -> Ready | Answer:
        """The pixels, or what was done to get them. `quality`: the least of the layer's own; None: its usual one.

        `regions`: the parts of the picture that are wanted, each inside it; None: all of it.
        """
        offer = self.offer(row, name, quality)
        if isinstance(offer, Refusal):
            return offer
        if regions is not None and not offer.tiled:
            return _NOT_TILED
        key = row.id, offer.name
        # Looked at first: what is being fetched now may arrive just after the store said that it is not there.
        fetching = self._layers.fetching(key)
        found = await self._found(row, offer, offer.default_quality if quality is None else quality, regions)
        if not isinstance(found, Wish):
            return found
        return Asked(key, other=True) if fetching else self._layers.want(found)

    async def wait(
        self,
        row: Record,
        name: str,
        quality: int | None = None,
        regions: tuple[Region, ...] | None = None,
        seconds: float = 0.0,
    ) -> Ready | Answer:
        """The same, when it has come or cannot be had; `Asked` after so many seconds."""
        over = asyncio.get_running_loop().time() + seconds
        answer = await self.look(row, name, quality, regions)
        if not isinstance(answer, Asked) or self._waiting >= _MOST_WAITING:
            return answer
        self._waiting += 1
        try:
            while isinstance(answer, Asked) and (left := over - asyncio.get_running_loop().time()) > 0:
                await self._layers.news(answer.key, left)
                answer = await self.look(row, name, quality, regions)
        finally:
            self._waiting -= 1
        return answer

    async def file(self, row: Record, ready: Ready, form: str) -> bytes:
        """The picture in one of the forms of cloud/encoded.py. Raises BusyError, BitstreamError, BundleError."""
        made_of, key = ready.made_of, f"{row.id}/{ready.offer.name}/{ready.digest}/{form}"
        if isinstance(made_of, Original):
            if made_of.content_type == MEDIA_TYPES[form]:
                return made_of.data
            return await self._synthesis.again(key, made_of.data, (row.width, row.height), form)
        shown = Shown(ready.offer.name, made_of.layers, (row.width, row.height), ready.regions)
        try:
            return await self._synthesis.picture(key, self._bundle(row), shown, form)
        except BitstreamError:
            await self._forget(row, ready.offer)
            raise

    async def held(self, row: Record) -> dict[str, Held]:
        """Of each layer there is of a frame, how much of it is here; nothing of what is still at the edge."""
        there = offers(self._registry.get(row.bundle), row.codec)
        sizes = await self._store.layer_bytes(row.id)
        found = {}
        for name, offer in there.items():
            size = _whole(sizes, offer.kinds) if offer.kinds else await self._store.picture_bytes(row.id, ORIGINAL)
            tiles = await self._tiles_here(row, offer) if offer.tiled and size else None
            found[name] = Held(size, size > 0 and (tiles is None or tiles[0] == tiles[1]), tiles)
        return found

    async def _tiles_here(self, row: Record, offer: Offer) -> tuple[int, int] | None:
        try:
            for layer in await self._store.layers(row.id, offer.kinds[-1:]):
                return await self._tiles.count(self._bundle(row), layer, (row.width, row.height))
        except (BitstreamError, BundleError) as e:  # who looks at the picture will be told
            log.warning("tiles cannot be counted", frame=row.id, reason=str(e))
        return None

    async def _forget(self, row: Record, offer: Offer) -> None:
        """What cannot be decoded."""
        # What is below an enhancement was decoded when the frame came, so it is not what is damaged.
        kinds = [kind for kind in offer.kinds if kind != Kind.BASE] or offer.kinds
        self._aside.drop(row.id, kinds)
        try:
            await self._store.drop_layers(row.id, kinds)
        except StoreError as e:  # it is forgotten when somebody looks the next time
            log.warning("a damaged layer stays for now", frame=row.id, layer=offer.name, reason=str(e))

    async def _found(
        self, row: Record, offer: Offer, quality: int, regions: tuple[Region, ...] | None
    ) -> Ready | Wish | Refusal:
        if not offer.kinds:
            return await self._original(row, offer)
        if not offer.tiled:
            return await self._coded(row, offer, quality)
        try:
            return await self._tiled(row, offer, quality, regions)
        except BitstreamError as e:  # of what is here not even the index can be read
            log.warning("damaged tiles are forgotten", frame=row.id, layer=offer.name, reason=str(e))
            await self._forget(row, offer)
            return self._wish(row, offer, (), quality, regions)
        except BundleError as e:
            return unusable(e)

    async def _original(self, row: Record, offer: Offer) -> Ready | Wish:
        picture = await self._store.picture(row.id, ORIGINAL)
        if picture is None:
            return Wish(row.edge, row.id, ORIGINAL)
        return Ready(offer, Original(picture.content_type, picture.data), picture.sha256)

    async def _coded(self, row: Record, offer: Offer, quality: int) -> Ready | Wish:
        held = tuple(await self._store.layers(row.id, offer.kinds))
        kinds = tuple(layer.kind for layer in held)
        if kinds == offer.kinds and quality_of(held[-1]) >= quality:
            return Ready(offer, Coded(held), _digest(held))
        if kinds == offer.kinds and (better := self._aside.better(row.id, held, quality)):
            return Ready(offer, Coded(better), _digest(better))
        return self._wish(row, offer, held, quality)

    async def _tiled(self, row: Record, offer: Offer, quality: int, regions: tuple[Region, ...] | None) -> Ready | Wish:
        held = tuple(await self._store.layers(row.id, offer.kinds))
        held = held if all(quality_of(layer) >= quality for layer in _above_base(held)) else ()
        # Tiles go together with those that are here, and with what is below them, in the same quality.
        lowest, highest = offer.qualities or (0, 0)
        at_hand = next((quality_of(layer) for layer in _above_base(held)), quality)
        wanted = at_hand if lowest <= at_hand <= highest else quality
        if tuple(layer.kind for layer in held) != offer.kinds:
            return self._wish(row, offer, held, wanted, regions)
        part = await self._tiles.part(self._bundle(row), held[-1], regions, (row.width, row.height))
        if part.missing != ():
            together = self._aside.crowded(row.id, held[-1])
            return self._wish(row, offer, held, wanted, regions if together else part.missing)
        if part.damaged.any():
            self._mend(row, offer, held, wanted, part.damaged)
        return _ready(offer, held, part, regions)

    def _mend(self, row: Record, offer: Offer, held: tuple[Layer, ...], quality: int, damaged: Grid) -> None:
        """Ask for damaged tiles again, for each once: whoever looks meanwhile sees what is below them."""
        key = row.id, offer.name, quality
        asked = self._mended.get(key, np.zeros_like(damaged))
        if not (damaged & ~asked).any():
            return
        pixels = tile_pixels(self._bundle(row), offer.kinds[-1])
        regions = covering(damaged & ~asked, pixels, (row.width, row.height))
        answer = self._layers.want(self._wish(row, offer, held, quality, regions))
        if isinstance(answer, Asked) and not answer.other:
            self._mended[key] = asked | damaged
            if len(self._mended) > _MOST_MENDED:
                self._mended.popitem(last=False)

    def _wish(
        self,
        row: Record,
        offer: Offer,
        held: Sequence[Layer],
        quality: int,
        regions: tuple[Region, ...] | None = None,
    ) -> Wish:
        """For what an edge is asked, with these layers here. An enhancement comes with those it builds on: one that is
        here already may have been coded otherwise; but tiles need not, if it was not.
        """
        kinds = {layer.kind for layer in held}
        upon_base = offer.kinds[0] == Kind.BASE and len(offer.kinds) > 1
        with_base = upon_base and Kind.BASE not in kinds
        wanted = offer.kinds[1:] if upon_base and not with_base else offer.kinds
        upon = offer.kinds[: len(offer.kinds) - len(wanted)]
        bundle = self._bundle(row)
        fits = Fits(bundle, codec_id(bundle), row.width, row.height, wanted, quality, offer.tiled, upon)
        below = [layer for layer in _above_base(held) if layer.kind != offer.kinds[-1]]
        known = checksum(below) if offer.tiled and below else None
        return Wish(row.edge, row.id, offer.name, fits, with_base, quality, regions or (), known)

    def _bundle(self, row: Record) -> Bundle:
        bundle = self._registry.get(row.bundle)
        if bundle is None:
            raise BundleError(_unknown(row).reason)
        return bundle


def _whole(sizes: dict[int, int], kinds: tuple[int, ...]) -> int:
    """Bytes of the last of these kinds, if those that it builds on are there too."""
    return sizes[kinds[-1]] if all(kind in sizes for kind in kinds) else 0


def _above_base(layers: Sequence[Layer]) -> list[Layer]:
    return [layer for layer in layers if layer.kind != Kind.BASE]


def _ready(offer: Offer, held: tuple[Layer, ...], part: Part, regions: tuple[Region, ...] | None) -> Ready:
    layers = (*held[:-1], part.layer)
    digest = _digest(layers)
    if regions is not None:
        digest = hashlib.sha256(f"{digest} {[tuple(region) for region in regions]}".encode()).hexdigest()[:32]
    return Ready(offer, Coded(layers), digest, regions, int(part.damaged.sum()))


def _digest(layers: tuple[Layer, ...]) -> str:
    digest = hashlib.sha256()
    for layer in layers:
        digest.update(len(layer.payload).to_bytes(4, "big") + layer.payload)
    return digest.hexdigest()[:32]


def _badly_asked(offer: Offer, quality: int | None) -> Refusal | None:
    if quality is None:
        return None
    if offer.qualities is None:
        reason = f"quality: layer {offer.name} of this frame comes in one quality; leave it out."
        return Refusal(422, "invalid-request", reason)
    lowest, highest = offer.qualities
    if lowest <= quality <= highest:
        return None
    return Refusal(422, "invalid-request", f"quality: layer {offer.name} has {lowest} to {highest}, not {quality}.")


def _unknown(row: Record) -> Refusal:
    reason = (
        f"Frame {row.id} was coded with bundle {row.bundle[:12]}…, which this cloud does not hold; put its folder "
        f"beside the others, or ask for layer={ORIGINAL}, which needs none."
    )
    return Refusal(409, "bundle-unknown", reason)


def _too_large(row: Record, name: str) -> str:
    return (
        f"Frame {row.id} has {row.width}x{row.height} pixels; layer {name} is made of frames of up to "
        f"{most_pixels(name)}. There is layer={ORIGINAL}."
    )


def _absent(row: Record, name: str, there: tuple[str, ...]) -> str:
    what = {MASK: "has no mask", BASE: "has no picture in its base layer"}.get(name, f"has no layer {name}")
    return f"Frame {row.id} {what}: its bundle or the way it travelled has none. There is {', '.join(there)}."
