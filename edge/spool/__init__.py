"""The edge's memory on disk: frames the cloud has not acked, their fate, and the pictures they came from.

`book.py` is the file format and its transactions, `ring.py` the pictures, `spool.py` the asynchronous face with
its one writer thread.
"""

from edge.spool.book import Accepted, Limits, Pending, Record, SpoolError, SpoolFull, Stats
from edge.spool.ring import Kept
from edge.spool.spool import Spool

__all__ = ["Accepted", "Kept", "Limits", "Pending", "Record", "Spool", "SpoolError", "SpoolFull", "Stats"]
