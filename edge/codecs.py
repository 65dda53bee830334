"""Which bundle codes a camera's frames: the current one, or the one whose name was chosen for the camera.

What is chosen comes from points.py, what is on disk from bundles.py. As long as a chosen bundle is not there, or if it
does not work, the camera's frames go on with the current one, and `cause` says why. At most MOST encoders are loaded
at once, beside those that frames in hand still use: the one used least recently gives way and comes back with its
next frame. Bundles of one detector share its halves, so each one more costs little.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, Self

import structlog

from common.bundle import Bundle
from common.curve import Curve
from common.errors import BundleError
from common.types import Mode
from edge.encode import Encoder
from edge.points import AUTO, OperatingPoints, Scale

MOST = 4

log = structlog.get_logger(__name__)


class NamedScale(Scale, Protocol):
    """The qualities of a mode, and what travels in it."""

    @property
    def name(self) -> str:
        """Of the codec."""
        ...


class Rated(Protocol):
    """What can be said of a bundle's operating points: by its Encoder, or without one by its Outline."""

    @property
    def bundle(self) -> Bundle:
        """Whose they are."""
        ...

    @property
    def ways(self) -> Mapping[Mode, NamedScale]:
        """The modes that frames may take, the usual one first."""
        ...

    @property
    def curves(self) -> Mapping[Mode, Curve]:
        """What was measured in each mode."""
        ...


@dataclass(frozen=True, slots=True)
class _Rungs:
    name: str
    qualities: range | tuple[int, ...]
    default_quality: int


@dataclass(frozen=True, slots=True)
class Outline:
    """A bundle's operating points, without its networks."""

    bundle: Bundle
    ways: Mapping[Mode, _Rungs]
    curves: Mapping[Mode, Curve]

    @classmethod
    def of(cls, rated: Rated) -> Self:
        """Of a bundle that is loaded."""
        ways = {mode: _rungs(way) for mode, way in rated.ways.items()}
        return cls(rated.bundle, ways, dict(rated.curves))


def _rungs(way: NamedScale) -> _Rungs:
    there = way.qualities
    return _Rungs(way.name, there if isinstance(there, range) else tuple(there), way.default_quality)


class Codecs:
    """`encoder = await codecs.encoder(camera)`. `install` sets the current bundle, `add` one that goes by its name."""

    def __init__(self, points: OperatingPoints, open_encoder: Callable[[Bundle], Encoder], most: int = MOST) -> None:
        self.current: Encoder | None = None
        """Replaced whole when the bundle changes; frames being coded finish with the one they began with."""
        self.named: dict[str, Outline] = {}
        """Those that were chosen, are on disk and work."""
        self.absent: dict[str, str] = {}
        """Those that were chosen and are not in use, and why."""
        self._points = points
        self._open_encoder = open_encoder
        self._most = most
        self._loaded: OrderedDict[str, Encoder] = OrderedDict()
        """Beside the current one, by digest, the one used last at the end."""
        self._opening: dict[str, asyncio.Task[Encoder]] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    def __repr__(self) -> str:
        loaded = ", ".join(encoder.bundle.manifest.name for encoder in self._loaded.values()) or "none"
        return f"<codecs: current {self.current!r}, loaded beside it {loaded}, absent {self.absent}>"

    # ---- what a camera has

    async def encoder(self, camera: str) -> Encoder:
        """What this camera's next frame is coded with; loaded if it is not. There must be a current bundle."""
        codec = self._points.choice(camera).codec
        assert self.current is not None
        if (known := self.named.get(codec)) is None:
            return self.current
        try:
            async with self._turns.setdefault(codec, asyncio.Lock()):  # frames stay in order while the first one loads
                return await self.load(known.bundle)
        except BundleError as e:
            self.refuse(codec, f"{codec} does not load: {e}")
            return self.current

    def of(self, camera: str) -> Rated | None:
        """The operating points of what this camera's next frame is coded with; None as long as there is no bundle."""
        return self.chosen(self._points.choice(camera).codec) or self.current

    def chosen(self, codec: str) -> Rated | None:
        """The operating points of what goes by this name; None if it is not in use."""
        current = self.current
        if current is not None and codec in (AUTO, current.bundle.manifest.name) and codec not in self.named:
            return current
        return self.named.get(codec)

    def cause(self, camera: str) -> str:
        """Why this camera has the codec that it has."""
        codec = self._points.choice(camera).codec
        if codec == AUTO:
            return "the current bundle"
        return "chosen" if self.chosen(codec) else self.absent.get(codec, f"fetching {codec}")

    # ---- what there is

    async def install(self, bundle: Bundle) -> None:
        """This is the current bundle now. Raises BundleError; then nothing has changed."""
        before, self.current = self.current, await self.load(bundle)
        self._loaded.pop(bundle.digest, None)
        if before is not None and before.bundle.digest != bundle.digest:
            self._loaded[before.bundle.digest] = before
        self._let_go()

    async def add(self, name: str, bundle: Bundle) -> None:
        """Cameras for which this name was chosen are coded with this bundle now. Raises BundleError."""
        outline = Outline.of(await self.load(bundle))
        if name not in self.named or self.named[name].bundle.digest != bundle.digest:
            log.info("codec ready", codec=name, digest=bundle.digest)
        self.named[name] = outline
        self.absent.pop(name, None)

    def waits(self, name: str, why: str) -> None:
        """It was chosen and is not here yet."""
        self.absent[name] = why

    def refuse(self, name: str, why: str) -> None:
        """Cameras for which this name was chosen are coded with the current bundle as long as nothing changes."""
        if self.absent.get(name) != why:
            log.warning("a chosen codec is not in use", codec=name, reason=why)
        self.named.pop(name, None)
        self.absent[name] = why

    def keep(self, names: set[str]) -> None:
        """Forget all others: nobody has chosen them any more."""
        self.named = {name: outline for name, outline in self.named.items() if name in names}
        self.absent = {name: why for name, why in self.absent.items() if name in names}
        self._turns = {name: turn for name, turn in self._turns.items() if name in names}
        self._let_go()

    def in_use(self) -> set[str]:
        """The digests of the current bundle and of those that go by a name."""
        bundles = [outline.bundle for outline in self.named.values()]
        return {bundle.digest for bundle in [*bundles, *([self.current.bundle] if self.current else [])]}

    # ---- what is loaded

    async def load(self, bundle: Bundle) -> Encoder:
        """The encoder of a bundle, prepared for the modes that were chosen. Raises BundleError."""
        if self.current is not None and self.current.bundle.digest == bundle.digest:
            return self.current
        if (encoder := self._loaded.get(bundle.digest)) is not None:
            self._loaded.move_to_end(bundle.digest)
            return encoder
        if bundle.digest not in self._opening:
            self._opening[bundle.digest] = asyncio.create_task(self._open(bundle), name="open a bundle")
        return await asyncio.shield(self._opening[bundle.digest])

    async def prepare(self) -> None:
        """Load what the modes need that were chosen. Raises BundleError if a bundle has no mode left."""
        for encoder in [*([self.current] if self.current else []), *self._loaded.values()]:
            await asyncio.to_thread(encoder.prepare, self._points.modes())

    async def _open(self, bundle: Bundle) -> Encoder:
        try:
            encoder = await asyncio.to_thread(self._open_encoder, bundle)
            await asyncio.to_thread(encoder.prepare, self._points.modes())
            self._loaded[bundle.digest] = encoder
            self._bound()
            return encoder
        finally:
            del self._opening[bundle.digest]

    def _let_go(self) -> None:
        """Of what goes by no name."""
        used = self.in_use()
        for digest in [digest for digest in self._loaded if digest not in used]:
            del self._loaded[digest]
        self._bound()

    def _bound(self) -> None:
        while len(self._loaded) >= self._most:
            self._loaded.popitem(last=False)
