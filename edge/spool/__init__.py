"""The edge's memory on disk: frames the cloud has not acked, their fate, and the pictures they came from.

`records.py` says what goes in and out, `schema.py` is the file format, `book.py` what is written to it, `reader.py`
what is asked of it, `ring.py` the pictures, `spool.py` the asynchronous face with its one writer thread.
"""

from edge.spool.records import (
    Accepted,
    Ended,
    Frame,
    KeyReusedError,
    Limits,
    Pending,
    Record,
    RingError,
    SpoolError,
    SpoolFullError,
    Stats,
    now_us,
)
from edge.spool.ring import Kept
from edge.spool.spool import Spool

__all__ = [
    "Accepted",
    "Ended",
    "Frame",
    "Kept",
    "KeyReusedError",
    "Limits",
    "Pending",
    "Record",
    "RingError",
    "Spool",
    "SpoolError",
    "SpoolFullError",
    "Stats",
    "now_us",
]
