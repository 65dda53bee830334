"""Simulated cameras: one keep-alive connection each, as light as Python allows, so that they do not eat the cores.

They stand for cameras that are elsewhere, but take their time from the machine that is measured, and http.client takes
several times as long to read an answer.
"""

import json
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

_READ = 1 << 16


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
        due = time.monotonic()
        with socket.create_connection((self._at.hostname, self._at.port), timeout=60) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(self._count):
                if self._interval:
                    due += self._interval
                    time.sleep(max(0.0, due - time.monotonic()))
                self._post(connection, self._frames[i % len(self._frames)])

    def _post(self, connection: socket.socket, data: bytes) -> None:
        head = (
            f"POST /v1/frames HTTP/1.1\r\nHost: {self._at.netloc}\r\nX-Camera-Id: {self.name}\r\n"
            f"Content-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        while True:
            began = time.time()
            connection.sendall(head.encode() + data)
            status, headers, body = _answer(connection)
            if status in (200, 202):
                self.sent.append(Sent(json.loads(body)["id"], began))
                return
            if status not in (429, 503):
                raise RuntimeError(f"the edge answered {status}: {body[:300]!r}")
            self.refused += 1
            given = headers.get("retry-after", "")
            time.sleep(float(given) if given.isdigit() else 1)


def _answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers by their names in lower case, and body of an answer that says its length, as the edge's do."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += _more(connection)
    first, *lines = data[:end].decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = data[end + 4 :]
    while len(body) < int(headers["content-length"]):
        body += _more(connection)
    return int(first.split()[1]), headers, body


def _more(connection: socket.socket) -> bytes:
    if not (part := connection.recv(_READ)):
        raise ConnectionError("the edge closed the connection")
    return part


def run_cameras(url: str, frames: Sequence[bytes], cameras: int, count: int, rate: float = 0) -> list[Camera]:
    """`cameras` cameras at once, `count` frames each; the cameras when all have finished."""
    threads = [Camera(url, f"camera-{i}", frames[i::cameras], count, rate) for i in range(cameras)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return threads
