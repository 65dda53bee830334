"""A link that carries only so much: a TCP relay that reads from the edge at a rate."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PIECE_S = 0.05


class Narrow:
    """Relays to a port on this machine; `rate` bytes a second go up, as many as there are come down."""

    def __init__(self, port: int, rate: float) -> None:
        self.rate = rate
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)  # for all it accepts
        self.port: int = self._listener.getsockname()[1]
        self._sockets = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                edge, _ = self._listener.accept()
                cloud = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += [edge, cloud]
                for relay in ((edge, cloud, True), (cloud, edge, False)):
                    threading.Thread(target=self._relay, args=relay, daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, slowly: bool) -> None:
        with suppress(OSError):
            while data := source.recv(max(1, int(self.rate * PIECE_S)) if slowly else 1 << 16):
                sink.sendall(data)
                if slowly:
                    time.sleep(len(data) / self.rate)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def narrow(port: int, rate: float) -> Iterator[Narrow]:
    link = Narrow(port, rate)
    try:
        yield link
    finally:
        link.close()
