"""Simulated cameras: one keep-alive connection each, as light as Python allows, so that they do not eat the cores."""

import http.client
import json
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Sent:
    """One accepted frame: its id and when its POST began, Unix seconds."""

    id: str
    began: float


class Camera(threading.Thread):
    """Posts its frames one after the other, at most `rate` a second (0: as fast as the edge takes them)."""

    def __init__(self, url: str, name: str, frames: Sequence[bytes], count: int, rate: float = 0) -> None:
        super().__init__(name=name, daemon=True)
        self._at = urlsplit(url)
        self._frames, self._count, self._interval = frames, count, 1 / rate if rate else 0.0
        self.sent: list[Sent] = []
        self.refused = 0

    def run(self) -> None:
        """Send everything; a frame refused for want of room is sent again when the edge says."""
        assert self._at.hostname
        headers = {"Content-Type": "image/jpeg", "X-Camera-Id": self.name}
        due = time.monotonic()
        with closing(http.client.HTTPConnection(self._at.hostname, self._at.port, timeout=60)) as connection:
            for i in range(self._count):
                if self._interval:
                    due += self._interval
                    time.sleep(max(0.0, due - time.monotonic()))
                self._post(connection, self._frames[i % len(self._frames)], headers)

    def _post(self, connection: http.client.HTTPConnection, data: bytes, headers: dict[str, str]) -> None:
        while True:
            began = time.time()
            connection.request("POST", "/v1/frames", data, headers)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status in (200, 202):
                self.sent.append(Sent(json.loads(body)["id"], began))
                return
            if answer.status not in (429, 503):
                raise RuntimeError(f"the edge answered {answer.status}: {body[:300]!r}")
            self.refused += 1
            given = answer.headers.get("Retry-After", "")
            time.sleep(float(given) if given.isdigit() else 1)


def run_cameras(url: str, frames: Sequence[bytes], cameras: int, count: int, rate: float = 0) -> list[Camera]:
    """`cameras` cameras at once, `count` frames each; the cameras when all have finished."""
    threads = [Camera(url, f"camera-{i}", frames[i::cameras], count, rate) for i in range(cameras)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return threads
