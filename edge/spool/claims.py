"""Who may end a frame that is too old: the sweep in the writer's thread, or the uplink that is about to send it.

A frame the cloud may hold must not end as dropped or expired here, so each takes a frame before it acts, and the
other then leaves it. Asked from both threads; the lock is never held for longer than a few set operations.
"""

import sys
import threading
from collections.abc import Iterable


class Claims:
    """`tried`: frames up to this seq may have reached the cloud, before a restart or since."""

    def __init__(self, tried: int) -> None:
        self.tried = tried
        self._lock = threading.Lock()
        self._released: set[int] = set()
        self._ending: set[int] = set()
        self._swept: set[int] = set()
        self._read_to = 0

    def __repr__(self) -> str:
        return f"<claims: tried up to {self.tried}, {len(self._released)} given back, {len(self._swept)} swept>"

    # ---- the uplink -------------------------------------------------------------------------------------------------

    def send(self, seq: int) -> bool:
        """Whether this frame may be sent; if so, no sweep will end it. False: the sweep has ended it since it was
        read from the spool.
        """
        with self._lock:
            if seq in self._ending or seq in self._swept:
                return False
            self.tried = max(self.tried, seq)
            self._released.discard(seq)
            return True

    def give_back(self, seq: int) -> None:
        """The cloud said that it does not have this frame: a sweep may end it."""
        with self._lock:
            self._released.add(seq)

    def read(self, up_to: int = sys.maxsize) -> None:
        """Frames up to here may be in the uplink's hands; what was swept beyond need not be remembered."""
        with self._lock:
            self._read_to = up_to
            self._swept = {seq for seq in self._swept if seq <= up_to}

    # ---- the sweep --------------------------------------------------------------------------------------------------

    def given_back(self) -> list[int]:
        """Frames that were tried and that a sweep may end all the same."""
        with self._lock:
            return sorted(self._released)

    def sweep(self, seqs: Iterable[int]) -> list[int]:
        """Those of these frames that the sweep may end: they are not sent any more."""
        with self._lock:
            mine = [seq for seq in seqs if seq > self.tried or seq in self._released]
            self._ending.update(mine)
            return mine

    def settle(self, committed: bool) -> None:
        """The sweep's transaction has ended. A frame read before that may still be in the uplink's hands."""
        with self._lock:
            if committed:
                self._swept |= {seq for seq in self._ending if seq <= self._read_to}
                self._released -= self._ending
            self._ending.clear()
