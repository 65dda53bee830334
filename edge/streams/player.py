"""One stream's thread: open the source, read, sift, hand over; when it breaks, say why, wait, and try again."""

import threading
import time
from typing import TYPE_CHECKING

import structlog

from common.errors import MidstreamError
from edge.link import backoff
from edge.streams.address import Address
from edge.streams.clock import TICK_S, Forward, Live, Rate, Recorded
from edge.streams.motion import Motion
from edge.streams.newest import Newest, Taken
from edge.streams.progress import Progress, State
from edge.streams.wanted import Wanted

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from edge.streams.reader import Video

FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 60.0
"""Before a source that broke is opened again, the first time and at the most."""

MOST_BEHIND_S = 1.0
"""By which a recording may be behind its own pace."""

log = structlog.get_logger(__name__)


class Player(threading.Thread):
    """Runs until `leave` is called, or a recording is at its end."""

    def __init__(self, wanted: Wanted, address: Address, max_pixels: int, frames: Newest, told: Progress) -> None:
        super().__init__(name=f"stream {wanted.camera}", daemon=True)
        self._wanted = wanted
        self._address = address
        self._max_pixels = max_pixels
        self._frames = frames
        self._told = told
        self._leaving = threading.Event()
        self._rate = Rate(wanted.fps)
        self._motion = None if wanted.motion == "off" else Motion(wanted.motion, wanted.at_least_every_s)
        self._recorded, self._live = Recorded(), Live()
        self._day = Forward()
        self._last = 0.0
        """When the last frame was captured, Unix seconds."""
        self._began = 0.0
        """When the recording's time line began, Unix seconds."""
        self._due = 0.0
        """The same by the monotonic clock."""

    def leave(self) -> None:
        """End soon; a read that waits for a source that is silent ends after reader.READ_S."""
        self._leaving.set()
        self._frames.close()

    def run(self) -> None:
        """Play, and play again after what goes wrong."""
        delays = backoff(FIRST_DELAY_S, LONGEST_DELAY_S)
        while not self._leaving.is_set():
            before = self._told.read
            reason = self._try()
            if not reason or self._leaving.is_set():
                break
            if self._told.read > before:
                delays = backoff(FIRST_DELAY_S, LONGEST_DELAY_S)
                self._told.reconnects += 1
            delay = next(delays)
            self._told.become(State.WAITING, reason)
            log.warning("a stream does not play", camera=self._wanted.camera, uri=self._address.shown, reason=reason)
            self._leaving.wait(delay)

    def _try(self) -> str:
        """Play until something is wrong, and what it is; empty at the end of a recording."""
        try:
            return self._play()
        except MidstreamError as e:
            return str(e)
        except Exception:
            log.exception("a stream stopped by mistake", camera=self._wanted.camera, uri=self._address.shown)
            return "the edge made a mistake; its log says which"

    def _play(self) -> str:
        from edge.streams.reader import Video

        self._told.become(State.OPENING)
        self._begin_anew()
        while not self._leaving.is_set():
            with Video(self._address, self._max_pixels) as video:
                self._told.codec = video.codec
                read = self._read(video)
            if self._leaving.is_set():
                break
            if not video.recorded:
                return "the source ended the stream"
            if not read:
                return "not one frame of it can be decoded"
            if not self._wanted.repeat:
                self._frames.end()
                return ""
            self._recorded.begin()
        return ""

    def _begin_anew(self) -> None:
        """Clocks of a source that was away know nothing of now."""
        self._recorded, self._live = Recorded(), Live()
        self._rate = Rate(self._wanted.fps)
        self._began, self._due = max(self._now(), self._last + TICK_S), time.monotonic()

    def _now(self) -> float:
        return self._day.at(time.time(), time.monotonic())

    def _read(self, video: "Video") -> int:
        """All frames of an open source, or those until the stream is to end; how many."""
        told, count, last = self._told, 0, time.thread_time()
        for frame in video.frames():
            if self._leaving.is_set():
                break
            count += 1
            told.read += 1
            told.become(State.RUNNING)
            self._take(frame, video)
            told.undecodable += video.undecodable
            video.undecodable = 0
            now = time.thread_time()
            told.read_s += now - last
            last = now
        return count

    def _take(self, frame: "VideoFrame", video: "Video") -> None:
        told = self._told
        told.arriving.saw()
        told.sized(frame.width, frame.height)
        at = self._last = self._when(frame, video)
        told.last_frame_us = round(time.time() * 1e6)
        if not self._rate.due(at):
            told.skipped_by_rate += 1
        elif not self._moved(frame, at):
            told.skipped_by_motion += 1
        elif video.recorded and not self._wanted.realtime:
            self._frames.hand_over(Taken(frame, round(at * 1e6)))
        else:
            told.late += self._frames.put(Taken(frame, round(at * 1e6)))

    def _when(self, frame: "VideoFrame", video: "Video") -> float:
        """When the frame was captured, Unix seconds; of a recording at its own pace, when that time has come."""
        clock = self._recorded if video.recorded else self._live
        before = clock.broken
        if isinstance(clock, Live):
            at = clock.at(frame.time if video.stamped else None, self._now())
        else:
            elapsed = clock.at(frame.time, video.interval)
            at = self._began + elapsed
            if self._wanted.realtime:
                self._await(self._due + elapsed / self._wanted.speed)
        self._told.broken_timestamps += clock.broken - before
        return at

    def _await(self, due: float) -> None:
        """Wait until then. When that is long over, the rest of the recording is played later by as much: what is
        captured now is sent now, as by a camera.
        """
        early = due - time.monotonic()
        if early > 0:
            self._leaving.wait(early)
        elif early < -MOST_BEHIND_S:
            self._told.slipped_s -= early
            self._began -= early
            self._due -= early
            early = 0.0
        self._told.behind_s = max(0.0, -early)

    def _moved(self, frame: "VideoFrame", at: float) -> bool:
        if self._motion is None:
            return True
        from edge.streams import still

        return self._motion.moved(still.grey(frame), at)
