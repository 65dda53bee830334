"""Questions to the spool's file, from another thread than the writer's and a connection of its own."""

import contextlib
import json
from dataclasses import replace
from typing import Any

from edge.spool.book import Book
from edge.spool.records import Pending, Record, RingError
from edge.spool.ring import DISK_FULL, Kept, Place
from edge.spool.schema import connect


def _with_timing(row: tuple[Any, ...]) -> list[Any]:
    """A row whose eighth column is JSON."""
    return [*row[:7], json.loads(row[7]), *row[8:]]


class Reader:
    """Asks; changes nothing."""

    def __init__(self, book: Book) -> None:
        self._db = connect(book.path, readonly=True)
        self._ring = book.ring

    def pending(self, after: int, limit: int, max_bytes: int) -> list[Pending]:
        """Unacked frames with seq > after, in order: at least one if there is one, then as many as fit."""
        rows = self._db.execute(
            "SELECT seq, frame_id, camera, captured_us, accepted_us, max_age_ms, source_bytes, timing, payload, pixels"
            " FROM frames WHERE state = 'queued' AND seq > ? ORDER BY seq LIMIT ?",
            (after, limit),
        )
        out: list[Pending] = []
        total = 0
        for row in rows:
            total += len(row[8])
            if out and total > max_bytes:
                break
            out.append(Pending(*_with_timing(row)))
        rows.close()
        return out

    def record(self, frame_id: str) -> Record | None:
        """The ledger's line for this frame."""
        row = self._db.execute(
            "SELECT frame_id, seq, camera, captured_us, accepted_us, payload_bytes, source_bytes, timing, state,"
            " reason, finished_us, picture, pixels FROM frames WHERE frame_id = ?",
            (frame_id,),
        ).fetchone()
        if row is None:
            return None
        return Record(*_with_timing(row))

    def picture(self, frame_id: str) -> Kept:
        """The picture of this frame, or why there is none. Raises RingError if it cannot be read."""
        kept = self._picture(frame_id)
        # Its file may have been dropped after its row was read: then the row has the reason by now.
        return self._picture(frame_id) if kept.gone == DISK_FULL else kept

    def _picture(self, frame_id: str) -> Kept:
        row = self._db.execute(
            "SELECT picture, segment, offset, bytes, crc, content_type, coded FROM frames"
            " LEFT JOIN pictures USING (seq) WHERE frame_id = ?",
            (frame_id,),
        ).fetchone()
        if row is None:
            return Kept(gone="unknown frame")
        picture, segment, *rest, content_type, coded = row
        return Kept(gone=picture) if segment is None else self._ring.read(Place(segment, *rest), content_type, coded)

    def container(self, frame_id: str) -> Kept:
        """What is kept beside the picture of this frame, without the picture; or why both are gone."""
        return replace(self.picture(frame_id), data=b"")

    def layers(self, frame_id: str) -> dict[tuple[int, int], bytes]:
        """The enhancements of this frame that were coded since, by kind and quality.

        One that is damaged or cannot be read is none: it can be coded again.
        """
        rows = self._db.execute(
            "SELECT kind, quality, segment, offset, layers.bytes, layers.crc FROM layers JOIN frames USING (seq)"
            " WHERE frame_id = ?",
            (frame_id,),
        ).fetchall()
        found: dict[tuple[int, int], bytes] = {}
        for kind, quality, *place in rows:
            with contextlib.suppress(RingError):
                if not (kept := self._ring.read(Place(*place))).gone:
                    found[kind, quality] = kept.data
        return found

    def unlayered(self, newest: int) -> list[str]:
        """Of the newest pictures, so many, those of which enhancements can be coded and none was: the newest first."""
        rows = self._db.execute(
            "SELECT frame_id FROM (SELECT seq, coded FROM pictures ORDER BY seq DESC LIMIT ?) JOIN frames USING (seq)"
            " WHERE coded > 0 AND pixels != 'sent' AND NOT EXISTS (SELECT 1 FROM layers WHERE layers.seq = frames.seq)"
            " ORDER BY frames.seq DESC",
            (newest,),
        )
        return [frame_id for (frame_id,) in rows]

    def bundles(self) -> set[bytes]:
        """What containers beside kept pictures were coded with, and frames that wait, which may have to be coded again.

        Empty bytes stand for any bundle.
        """
        rows = self._db.execute(
            "SELECT DISTINCT bundle FROM pictures JOIN frames USING (seq) WHERE coded > 0 OR state = 'queued'"
        )
        return {bundle for (bundle,) in rows}

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()
