"""All streams of this edge: bounded, kept on disk, begun again with the edge, taken away cleanly."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import structlog

from common.errors import FrameError
from common.ids import uuid7
from edge.intake import Intake, NotNowError
from edge.settings import Settings
from edge.spool import now_us
from edge.streams import wanted as disk
from edge.streams.address import Address, Kind, parse
from edge.streams.feed import Feed
from edge.streams.newest import Newest
from edge.streams.player import Player
from edge.streams.progress import Progress, State
from edge.streams.wanted import Kept, Wanted

LEAVE_S = 2.0
"""How long a removal waits for the stream's thread and its frames in the intake."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Stream:
    """One stream. Without a player, nothing of it runs."""

    id: str
    wanted: Wanted
    address: Address
    told: Progress = field(default_factory=Progress)
    player: Player | None = None
    feed: Feed | None = None
    task: "asyncio.Task[None] | None" = None

    def __repr__(self) -> str:
        return f"<stream {self.id} of {self.address.shown} as {self.wanted.camera}: {self.told.state}>"


class Streams:
    """`await start()`, then `add`, `remove`; `await stop()` at the end."""

    def __init__(self, settings: Settings, intake: Intake, path: Path) -> None:
        self._settings = settings
        self._intake = intake
        self._path = path
        self._streams: dict[str, Stream] = {}
        self._leaving: list[Player] = []
        """Threads of removed streams that still wait for a source that is silent."""
        self._writing = asyncio.Lock()
        self._keeping: set[asyncio.Task[None]] = set()
        self._stopped = False

    def __repr__(self) -> str:
        return f"<streams: {len(self._streams)}, {len(self._still_leaving())} leaving>"

    def all(self) -> Sequence[Stream]:
        """In the order they were added."""
        return list(self._streams.values())

    def get(self, stream_id: str) -> Stream:
        """The stream. Raises FrameError 404."""
        if (found := self._streams.get(stream_id)) is None:
            raise FrameError(404, f"no stream {stream_id[:64]!r}; GET /v1/streams lists those there are")
        return found

    async def start(self) -> None:
        """Play what was kept."""
        for known in await asyncio.to_thread(disk.read, self._path):
            self._streams[known.id] = self._restored(known)

    def _restored(self, known: Kept) -> Stream:
        """A stream that was kept; one that the settings no longer allow says so, and does nothing."""
        stream = Stream(known.id, known.wanted, Address(Kind.FILE, "", "file:?"))
        most, refused = self._settings.max_streams, ""
        if len(self._streams) >= most:
            refused = f"MIDSTREAM_EDGE_MAX_STREAMS allows {most}: raise it or DELETE others, then restart the edge"
        try:
            stream.address = self._address(known.wanted)
        except FrameError as e:
            refused = str(e)
        if known.ended:
            stream.told.become(State.ENDED, "played to its end before the edge was restarted")
        elif refused:
            stream.told.become(State.WAITING, refused)
            log.warning("a kept stream is not played", camera=known.wanted.camera, id=known.id, reason=refused)
        else:
            self._play(stream)
        return stream

    def check(self, wanted: Wanted) -> Address:
        """The stream's address. Raises FrameError 409, 422 or 501, or NotNowError, if it cannot be added."""
        address = self._address(wanted)
        if self._stopped:
            raise NotNowError(503, "draining", "the edge is stopping; ask again when it has restarted", 5)
        for other in self._streams.values():
            if other.wanted.camera == wanted.camera:
                raise FrameError(
                    409,
                    f"camera {wanted.camera!r} has a stream already: DELETE /v1/streams/{other.id}, "
                    "or give this one another `camera`",
                )
        if len(self._streams) >= self._settings.max_streams:
            allowed = f"MIDSTREAM_EDGE_MAX_STREAMS allows {self._settings.max_streams}"
            raise FrameError(409, f"there are {len(self._streams)} streams, and {allowed}: DELETE one")
        if len(self._streams) + len(self._still_leaving()) >= 2 * self._settings.max_streams:
            raise NotNowError(503, "streams-leaving", "removed streams still wait for their sources", 10)
        return address

    def _address(self, wanted: Wanted) -> Address:
        if find_spec("av") is None:
            raise FrameError(501, "this edge plays no video: PyAV is not installed here (pip install av)")
        return parse(wanted.uri.get_secret_value(), self._settings.streams_dir)

    async def add(self, wanted: Wanted) -> Stream:
        """Play from now on, kept on disk when this returns. Raises as `check` does, or FrameError 503."""
        stream = Stream(uuid7(now_us() // 1000), wanted, self.check(wanted))
        self._streams[stream.id] = stream
        try:
            await self._keep()
        except OSError as e:
            del self._streams[stream.id]
            raise _unkept(e) from e
        if stream.id in self._streams and not self._stopped:  # nobody was faster to remove it
            self._play(stream)
            log.info("a stream was added", camera=wanted.camera, uri=stream.address.shown, id=stream.id)
        return stream

    async def remove(self, stream_id: str) -> None:
        """Forget it, on disk too, and end its thread. Raises FrameError 404 or 503."""
        stream = self.get(stream_id)
        del self._streams[stream_id]
        try:
            await self._keep()
        except OSError as e:
            self._streams[stream_id] = stream
            raise _unkept(e) from e
        await self._leave(stream)
        log.info("a stream was removed", camera=stream.wanted.camera, uri=stream.address.shown, id=stream.id)

    async def stop(self) -> None:
        """End all threads; what is kept on disk stays. A second call does nothing."""
        self._stopped = True
        await asyncio.gather(*(self._leave(stream) for stream in self._streams.values()), *self._keeping)

    # ---- one stream

    def _play(self, stream: Stream) -> None:
        loop, wanted = asyncio.get_running_loop(), stream.wanted
        frames = Newest(loop)
        stream.feed = Feed(wanted.camera, not wanted.realtime, frames, self._intake, stream.told)
        stream.task = asyncio.create_task(self._run(stream, stream.feed), name=f"stream {wanted.camera}")
        stream.player = Player(wanted, stream.address, self._settings.max_pixels, frames, stream.told)
        stream.player.start()

    async def _run(self, stream: Stream, feed: Feed) -> None:
        """Until cancelled, or all of a recording was sent. Only then has it ended: frames that still wait for room
        would be lost with this process, and are not if all of it is played again.
        """
        await feed.run()
        stream.told.become(State.ENDED, "played to its end")
        self._ended()

    async def _leave(self, stream: Stream) -> None:
        """End the thread and the task, and wait a little for both."""
        if stream.player is None or stream.feed is None or stream.task is None:
            return
        player, stream.player = stream.player, None
        player.leave()
        stream.task.cancel()
        self._leaving.append(player)
        await asyncio.gather(
            asyncio.to_thread(player.join, LEAVE_S), stream.feed.settle(LEAVE_S), asyncio.wait([stream.task])
        )
        self._leaving = self._still_leaving()

    def _still_leaving(self) -> list[Player]:
        return [player for player in self._leaving if player.is_alive()]

    # ---- on disk

    def _ended(self) -> None:
        """All of a recording was sent: remember, so that it is not played again after a restart."""
        task = asyncio.create_task(self._keep_if_possible())
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def _keep_if_possible(self) -> None:
        try:
            await self._keep()
        except OSError as e:
            log.warning("that a stream ended cannot be kept; it is played again after a restart", error=str(e))

    async def _keep(self) -> None:
        async with self._writing:
            lines = [Kept(s.id, s.wanted, s.told.state is State.ENDED) for s in self._streams.values()]
            await asyncio.to_thread(disk.write, self._path, lines)


def _unkept(error: OSError) -> FrameError:
    return FrameError(503, f"the streams cannot be kept: {error.strerror or error}; free some of the disk")
