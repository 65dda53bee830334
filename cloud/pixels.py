"""What somebody who looks at a frame gets: the pixels if they are here, else what is done about it.

look ──► offers (is there such a layer?) ──► store (is it here?) ──► layers (ask the edge)
file ──► synthesis (layers → picture → file)
"""

import hashlib
from dataclasses import dataclass

import structlog

from cloud.aside import Aside
from cloud.encoded import MEDIA_TYPES
from cloud.frame import Coded, Original
from cloud.layers import Answer, Asked, Layers
from cloud.offers import FULL, MASK, NAMES, ORIGINAL, Offer, offers
from cloud.registry import Registry
from cloud.replies import Fits, Refusal, Wish, quality_of
from cloud.store import Record, Store, StoreError
from cloud.synthesis import Synthesis
from common.bundle import Bundle
from common.codec import Layer
from common.codec.container import Kind
from common.errors import BitstreamError, BundleError
from common.scalable import LatentFeatures
from common.scalable.pictures import MOST_PIXELS

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ready:
    """All that a layer is made of, and its digest."""

    offer: Offer
    made_of: Original | Coded
    digest: str


class Pixels:
    """Every frame's pixels, by the names of cloud/offers.py."""

    def __init__(self, registry: Registry, store: Store, aside: Aside, layers: Layers, synthesis: Synthesis) -> None:
        self._registry = registry
        self._store = store
        self._aside = aside
        self._layers = layers
        self._synthesis = synthesis

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
        if offer.kinds and row.width * row.height > MOST_PIXELS:
            return Refusal(404, "no-such-layer", _too_large(row, name))
        return _badly_asked(offer, quality) or offer

    async def look(self, row: Record, name: str, quality: int | None = None) -> Ready | Answer:
        """The pixels, or what was done to get them. `quality`: the least of the layer's own; None will take any."""
        offer = self.offer(row, name, quality)
        if isinstance(offer, Refusal):
            return offer
        key = row.id, offer.name
        # Looked at first: what is being fetched now may arrive just after the store said that it is not there.
        fetching = self._layers.fetching(key)
        found = await (self._original(row, offer) if not offer.kinds else self._coded(row, offer, quality))
        if isinstance(found, Ready):
            return found
        return Asked() if fetching else self._layers.want(found)

    async def file(self, row: Record, ready: Ready, form: str) -> bytes:
        """The picture in one of the forms of cloud/encoded.py. Raises BusyError, BitstreamError, BundleError."""
        made_of, key = ready.made_of, f"{row.id}/{ready.offer.name}/{ready.digest}/{form}"
        if isinstance(made_of, Original):
            if made_of.content_type == MEDIA_TYPES[form]:
                return made_of.data
            return await self._synthesis.again(key, made_of.data, (row.width, row.height), form)
        bundle = self._bundle(row)
        size = row.width, row.height
        try:
            return await self._synthesis.picture(key, bundle, ready.offer.name, made_of.layers, size, form)
        except BitstreamError:
            await self._forget(row, ready.offer)
            raise

    async def held(self, row: Record) -> dict[str, int]:
        """Of each layer there is of a frame, how many bytes of it are here; 0 of what is still at the edge."""
        there = offers(self._registry.get(row.bundle), row.codec)
        sizes = await self._store.layer_bytes(row.id)
        coded = {name: _whole(sizes, offer.kinds) for name, offer in there.items() if offer.kinds}
        return coded | {ORIGINAL: await self._store.picture_bytes(row.id, ORIGINAL)}

    async def _forget(self, row: Record, offer: Offer) -> None:
        """What cannot be decoded."""
        # What is below an enhancement was decoded when the frame came, so it is not what is damaged.
        kinds = [kind for kind in offer.kinds if kind != Kind.BASE] or offer.kinds
        self._aside.drop(row.id, kinds)
        try:
            await self._store.drop_layers(row.id, kinds)
        except StoreError as e:  # it is forgotten when somebody looks the next time
            log.warning("a damaged layer stays for now", frame=row.id, layer=offer.name, reason=str(e))

    async def _original(self, row: Record, offer: Offer) -> Ready | Wish:
        picture = await self._store.picture(row.id, ORIGINAL)
        if picture is None:
            return Wish(row.edge, row.id, ORIGINAL)
        return Ready(offer, Original(picture.content_type, picture.data), picture.sha256)

    async def _coded(self, row: Record, offer: Offer, quality: int | None) -> Ready | Wish:
        held = tuple(await self._store.layers(row.id, offer.kinds))
        kinds = tuple(layer.kind for layer in held)
        if kinds == offer.kinds and (quality is None or quality_of(held[-1]) >= quality):
            return Ready(offer, Coded(held), _digest(held))
        if kinds == offer.kinds and (better := self._aside.better(row.id, held, quality or 0)):
            return Ready(offer, Coded(better), _digest(better))
        # An enhancement comes with those it builds on: one that is here already may have been coded otherwise.
        with_base = len(offer.kinds) > 1 and Kind.BASE not in kinds
        wanted = offer.kinds if with_base else offer.kinds[1:] or offer.kinds
        fits = Fits(self._bundle(row).prefix, LatentFeatures.id, row.width, row.height, wanted, quality or 0)
        return Wish(row.edge, row.id, offer.name, fits, with_base, quality or 0)

    def _bundle(self, row: Record) -> Bundle:
        bundle = self._registry.get(row.bundle)
        if bundle is None:
            raise BundleError(_unknown(row).reason)
        return bundle


def _whole(sizes: dict[int, int], kinds: tuple[int, ...]) -> int:
    """Bytes of the last of these kinds, if those that it builds on are there too."""
    return sizes[kinds[-1]] if all(kind in sizes for kind in kinds) else 0


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
        f"Frame {row.id} has {row.width}x{row.height} pixels; layer {name} is made of frames of up to {MOST_PIXELS}. "
        f"There is layer={ORIGINAL}."
    )


def _absent(row: Record, name: str, there: tuple[str, ...]) -> str:
    what = "has no mask" if name == MASK else "has no picture in its base layer"
    return f"Frame {row.id} {what}: its bundle or the way it travelled has none. There is {', '.join(there)}."
