"""What is written into the spool's file (schema.py): transactions, and the bounds. Synchronous; one thread owns a Book.

A frame is promised when the transaction that put it is committed: write-ahead log with synchronous=FULL, so the
commit is an fsync. That is why the writer puts many operations into one transaction (spool.py).
"""

import json
import sqlite3
import time
import uuid
from pathlib import Path
from typing import Any

from edge.spool.claims import Claims
from edge.spool.records import (
    FRAME_OVERHEAD,
    Accepted,
    Ended,
    Frame,
    KeyReusedError,
    Limits,
    SpoolError,
    SpoolFullError,
    Stats,
    now_us,
)
from edge.spool.ring import Place, Ring, Segment
from edge.spool.schema import VERSION, connect, create

_SWEEP = 500
"""Rows one housekeeping transaction touches at most: a camera waits for it."""
_VACUUM_PAGES = 256
"""Pages one housekeeping transaction gives back to the disk at most."""
_QUALITIES = 2
"""Of each enhancement of a frame that are kept."""
_LIVED_NOTED_US = 60_000_000
"""How often the running time is written down when no frame does it: what a crash may take from it."""


_LIVED = (
    "SELECT max(coalesce((SELECT max(lived_us) FROM (SELECT lived_us FROM frames ORDER BY seq DESC LIMIT 1)), 0),"
    " coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'lived_us'), 0))"
)


class RunningTime:
    """How long edges have run on this spool: a clock nobody can set. The time between two of them does not count."""

    def __init__(self, before_us: int) -> None:
        self._base_us = before_us - _monotonic_us()

    def us(self) -> int:
        """Microseconds so far."""
        return self._base_us + _monotonic_us()


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000


class Book:
    """The writer's side."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.path = folder / "spool.db"
        self.limits = limits
        self.ring = Ring(folder / "pictures", limits.ring_max_bytes, limits.ring_max_age_s)
        self.ended: list[Ended] = []
        """What this transaction brought to an end."""
        self._doomed: dict[int, str] = {}
        self._noted_us = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = connect(self.path)
            self._create()
            self._clock = RunningTime(self._one(_LIVED))
            self.epoch: str = self._one("SELECT value FROM meta WHERE name = 'epoch'")
            self.count()
        except (sqlite3.Error, OSError) as e:
            raise SpoolError(f"cannot open the spool {self.path}: {e}") from e

    def _create(self) -> None:
        version = create(self._db, min(16 << 20, max(1 << 20, self.limits.max_bytes // 8)))
        if version != VERSION:
            raise SpoolError(
                f"the spool {self.path} has format {version}, this program writes {VERSION}: start with a new data_dir"
            )
        self._db.execute("INSERT OR IGNORE INTO meta VALUES('epoch', ?)", (str(uuid.uuid4()),))

    def count(self) -> None:
        """Take the counters from the tables: at the start, and after a transaction that failed."""
        self.queued, self.queued_bytes = self._row(
            "SELECT count(*), coalesce(sum(payload_bytes), 0) FROM frames WHERE state = 'queued'"
        )
        self.last_seq: int = self._one("SELECT coalesce(max(seq), 0) FROM frames")
        self.ledger: int = self._one("SELECT count(*) FROM frames")
        self.pictures: int = self._one("SELECT count(*) FROM pictures")
        self.tally: dict[tuple[str, str], int] = {
            (state, reason): n for state, reason, n in self._db.execute("SELECT state, reason, frames FROM tally")
        }
        segments = self._db.execute(
            "SELECT segment, max(offset + bytes), max(accepted_us) FROM (SELECT seq, segment, offset, bytes FROM layers"
            " UNION ALL SELECT seq, segment, offset, bytes FROM pictures) JOIN frames USING (seq) GROUP BY segment"
        )
        self.ring.open({n: Segment(size, newest) for n, size, newest in segments})
        self._changed_tally: set[tuple[str, str]] = set()
        self.ended = []

    def begin(self) -> None:
        """Open a transaction."""
        self.ended = []
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make everything since `begin` durable."""
        self._make_room()
        for state, reason in self._changed_tally:
            self._db.execute("INSERT OR REPLACE INTO tally VALUES(?, ?, ?)", (state, reason, self.tally[state, reason]))
        self._db.execute("COMMIT")
        self._changed_tally.clear()
        for segment in self._doomed:  # only now: before the commit the rows still point there
            self.ring.drop(segment)
        self._doomed.clear()

    def rollback(self) -> None:
        """Forget everything since `begin`."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._doomed.clear()
        self.count()

    def put(self, frame: Frame) -> Accepted:
        """Enter a frame. Raises SpoolFullError or KeyReusedError without having changed anything."""
        if frame.idem_key is not None and (known := self._known(frame)):
            return known
        if self.charged + len(frame.payload) + FRAME_OVERHEAD > self.limits.max_bytes:
            raise SpoolFullError(
                f"{self.queued} frames wait for the cloud and fill the spool's {self.limits.max_bytes} bytes"
            )
        place, why_not = self._keep(frame)
        cursor = self._db.execute(
            "INSERT INTO frames(frame_id, camera, idem_key, fingerprint, captured_us, accepted_us, lived_us,"
            " max_age_ms, payload_bytes, source_bytes, timing, picture, payload, pixels)"
            " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (frame.frame_id, frame.camera, frame.idem_key, frame.fingerprint, frame.captured_us, frame.accepted_us,
             self._clock.us(), frame.max_age_ms, len(frame.payload), len(frame.picture), json.dumps(frame.timing),
             "kept" if place else why_not, frame.payload, frame.pixels),
        )  # fmt: skip
        self.last_seq = seq = cursor.lastrowid or 0
        if place:
            self._db.execute(
                "INSERT INTO pictures VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
                (seq, place.segment, place.offset, place.bytes, place.crc, frame.content_type, len(frame.container),
                 frame.bundle),
            )  # fmt: skip
            self.pictures += 1
        self.queued += 1
        self.queued_bytes += len(frame.payload)
        self.ledger += 1
        sizes = len(frame.payload), len(frame.picture)
        return Accepted(frame.frame_id, seq, frame.camera, frame.accepted_us, *sizes, frame.timing, frame.pixels)

    def _known(self, frame: Frame) -> Accepted | None:
        row = self._db.execute(
            "SELECT frame_id, seq, accepted_us, payload_bytes, source_bytes, timing, pixels, fingerprint FROM frames"
            " WHERE camera = ? AND idem_key = ?",
            (frame.camera, frame.idem_key),
        ).fetchone()
        if row is None:
            return None
        frame_id, seq, accepted_us, coded, source, timing, pixels, fingerprint = row
        if fingerprint != frame.fingerprint or source != len(frame.picture):
            raise KeyReusedError(
                f"Idempotency-Key {frame.idem_key!r} of camera {frame.camera!r} belongs to another picture, {frame_id}"
            )
        return Accepted(frame_id, seq, frame.camera, accepted_us, coded, source, json.loads(timing), pixels, True)

    def _keep(self, frame: Frame) -> tuple[Place | None, str]:
        if not 0 < len(frame.picture) + len(frame.container) <= self.limits.ring_max_bytes or not frame.picture:
            return None, "never kept: larger than the ring" if frame.picture else "never kept: there was none"
        try:
            return self.ring.append(frame.picture + frame.container, frame.accepted_us), ""
        except OSError as e:  # the frame is what was promised, the picture is not
            return None, f"never kept: {e.strerror or e}"

    def keep_layer(self, frame_id: str, kind: int, quality: int, payload: bytes) -> bool:
        """Keep an enhancement as long as the picture it was coded of, if that is still there and the ring takes it;
        whether it does.

        Two qualities of a kind, the first: whoever asks for one after the other must not fill the ring with them.
        """
        sql = "SELECT seq, accepted_us FROM pictures JOIN frames USING (seq) WHERE frame_id = ?"
        if (found := self._db.execute(sql, (frame_id,)).fetchone()) is None:
            return False
        others = "SELECT count(*) FROM layers WHERE seq = ? AND kind = ? AND quality != ?"
        (taken,) = self._db.execute(others, (found[0], kind, quality)).fetchone()
        if taken >= _QUALITIES or not 0 < len(payload) <= self.ring.segment_bytes:
            return False
        try:
            place = self.ring.append(payload, found[1])
        except OSError:  # it can be coded again
            return False
        self._db.execute(
            "INSERT OR REPLACE INTO layers VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
            (found[0], kind, quality, place.segment, place.offset, place.bytes, place.crc, now_us()),
        )
        return True

    def left_out(self, seq: int, why: str) -> None:
        """Note why a frame goes without the enhancement it was promised with."""
        self._db.execute("UPDATE frames SET pixels = ? WHERE seq = ?", (why, seq))

    def recode(self, seq: int, payload: bytes) -> None:
        """Put another payload in the place of a queued frame's, if there is room for it."""
        sizes = self._db.execute(
            "SELECT payload_bytes FROM frames WHERE seq = ? AND state = 'queued'", (seq,)
        ).fetchone()
        if sizes is None or self.charged + (more := len(payload) - sizes[0]) > self.limits.max_bytes:
            return
        self._db.execute("UPDATE frames SET payload = ?, payload_bytes = ? WHERE seq = ?", (payload, len(payload), seq))
        self.queued_bytes += more

    def finish(self, seq: int, state: str, reason: str = "", detail: str = "") -> None:
        """End a queued frame; of one that has ended already nothing changes."""
        row = self._db.execute(
            "UPDATE frames SET state = ?, reason = ?, finished_us = ?, payload = NULL"
            " WHERE seq = ? AND state = 'queued' RETURNING camera, payload_bytes",
            (state, f"{reason}: {detail}" if detail else reason, now_us(), seq),
        ).fetchone()
        if row is None:
            return
        self.queued -= 1
        self.queued_bytes -= row[1]
        self.tally[state, reason] = self.tally.get((state, reason), 0) + 1
        self._changed_tally.add((state, reason))
        self.ended.append(Ended(seq, row[0], state, reason))

    @property
    def charged(self) -> int:
        """Bytes the queued frames take, with what they take beside their payload."""
        return self.queued_bytes + self.queued * FRAME_OVERHEAD

    def sweep(self, claims: Claims) -> None:
        """End frames that are too old, forget the oldest of the ledger, give free pages back to the disk. Frames
        that may have reached the cloud are left: whether they are too late is the cloud's to say.
        """
        self._end_late(claims)
        self._end_old(claims)
        if (surplus := self.ledger - self.queued - self.limits.ledger_max_rows) > 0:
            self._forget(min(surplus, _SWEEP))
        self._note_lived()
        self._shrink()

    def _shrink(self) -> None:
        # Some free pages are left for the next frames: a file that shrinks and grows is written twice.
        surplus = self._one("PRAGMA freelist_count") - self._one("PRAGMA page_count") // 4
        for _ in range(min(surplus, _VACUUM_PAGES)):
            self._db.execute("PRAGMA incremental_vacuum(1)")  # Python's sqlite3 takes one step, hence gives one page

    def _end_late(self, claims: Claims) -> None:
        late = (
            "SELECT seq FROM frames WHERE state = 'queued' AND max_age_ms > 0 AND captured_us + max_age_ms * 1000 < ?"
            " AND seq > ? LIMIT ?"
        )
        found = self._db.execute(late, (now_us(), claims.tried, _SWEEP)).fetchall()
        for seq in claims.sweep(seq for (seq,) in found):
            self.finish(seq, "expired", "older than its max_age before it was sent")

    def _end_old(self, claims: Claims) -> None:
        # Age in running time: the wall clock of a machine without a battery leaps by years when it hears of NTP.
        before = self._clock.us() - int(self.limits.max_age_s * 1e6)
        first = "SELECT seq, lived_us FROM frames WHERE state = 'queued' AND seq > ? ORDER BY seq LIMIT ?"
        found = self._db.execute(first, (claims.tried, _SWEEP)).fetchall()
        if given_back := claims.given_back():
            some = "SELECT seq, lived_us FROM frames WHERE state = 'queued' AND seq IN (SELECT value FROM json_each(?))"
            found += self._db.execute(some, (json.dumps(given_back[:_SWEEP]),)).fetchall()
        for seq in claims.sweep(seq for seq, lived_us in found if lived_us < before):
            self.finish(seq, "dropped", "older than the spool keeps frames")

    def _note_lived(self) -> None:
        """Write the running time down now and then, so that frames age though no new one comes."""
        if self.queued and (now := self._clock.us()) - self._noted_us > _LIVED_NOTED_US:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES('lived_us', ?)", (str(now),))
            self._noted_us = now

    def _forget(self, rows: int) -> None:
        found = self._db.execute(
            "DELETE FROM frames WHERE seq IN (SELECT seq FROM frames WHERE state != 'queued' ORDER BY seq LIMIT ?)",
            (rows,),
        )
        self.ledger -= found.rowcount
        self.pictures = self._one("SELECT count(*) FROM pictures")

    def _make_room(self) -> None:
        room = self.limits.max_bytes - self.charged
        self._doomed = self.ring.surplus(room, now_us())
        for segment, reason in self._doomed.items():
            self.unlist(segment, reason)

    def unlist(self, segment: int, reason: str) -> None:
        """Note why the pictures of a segment are gone. Their enhancements, wherever they lie, are of no use alone."""
        self._db.execute(
            "UPDATE frames SET picture = ? WHERE seq IN (SELECT seq FROM pictures WHERE segment = ?)", (reason, segment)
        )
        self.pictures -= self._db.execute("DELETE FROM pictures WHERE segment = ?", (segment,)).rowcount
        self._db.execute("DELETE FROM layers WHERE segment = ?", (segment,))

    def probe(self) -> None:
        """Write something small, to learn whether the disk takes it."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES('probe', ?)", (str(now_us()),))

    def stats(self) -> Stats:
        """The counters."""
        oldest = self._db.execute(
            "SELECT accepted_us FROM frames WHERE state = 'queued' ORDER BY seq LIMIT 1"
        ).fetchone()
        return Stats(
            self.queued,
            self.queued_bytes,
            oldest[0] if oldest else None,
            self.pictures,
            self.ring.held,
            self.ledger,
            dict(self.tally),
            self.charged,
        )

    def close(self) -> None:
        """Copy the log into the file and let go of both."""
        self.ring.close()
        self._db.close()

    def _row(self, sql: str) -> tuple[int, ...]:
        row: tuple[int, ...] = self._db.execute(sql).fetchone()
        return row

    def _one(self, sql: str) -> Any:
        return self._db.execute(sql).fetchone()[0]
