"""The spool's file: its tables, how older ones become these, and the settings the promise rests on.

frames   the ledger: every accepted frame and its one state, `queued` until it is done, expired, dropped or failed;
         `payload` holds the coded frame as long as it is queued
pictures where in the ring a frame's picture lies; the last `coded` bytes there are its container, coded with `bundle`
layers   where in the ring an enhancement lies that was coded later, of a frame whose picture is there too
tally    how many frames ended how since the spool was made
"""

import sqlite3
from pathlib import Path

VERSION = 4
PAGE = 4096
_LAYERS = """
CREATE TABLE layers(
  seq INTEGER NOT NULL REFERENCES pictures(seq) ON DELETE CASCADE, kind INTEGER NOT NULL, quality INTEGER NOT NULL,
  segment INTEGER NOT NULL, offset INTEGER NOT NULL, bytes INTEGER NOT NULL, crc INTEGER NOT NULL,
  kept_us INTEGER NOT NULL, PRIMARY KEY(seq, kind, quality)) WITHOUT ROWID;
CREATE INDEX layers_segment ON layers(segment);
"""
_SCHEMA = f"""
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE frames(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, frame_id TEXT NOT NULL UNIQUE, camera TEXT NOT NULL,
  idem_key TEXT, fingerprint INTEGER, captured_us INTEGER NOT NULL, accepted_us INTEGER NOT NULL,
  lived_us INTEGER NOT NULL DEFAULT 0,
  max_age_ms INTEGER NOT NULL, payload_bytes INTEGER NOT NULL, source_bytes INTEGER NOT NULL, timing TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'queued', reason TEXT NOT NULL DEFAULT '', finished_us INTEGER, picture TEXT NOT NULL,
  payload BLOB, pixels TEXT NOT NULL DEFAULT '');
CREATE UNIQUE INDEX frames_key ON frames(camera, idem_key) WHERE idem_key IS NOT NULL;
CREATE INDEX frames_queued ON frames(seq) WHERE state = 'queued';
CREATE INDEX frames_expiring ON frames(captured_us + max_age_ms * 1000) WHERE state = 'queued' AND max_age_ms > 0;
CREATE TABLE pictures(
  seq INTEGER PRIMARY KEY REFERENCES frames(seq) ON DELETE CASCADE, segment INTEGER NOT NULL,
  offset INTEGER NOT NULL, bytes INTEGER NOT NULL, crc INTEGER NOT NULL, content_type TEXT NOT NULL,
  coded INTEGER NOT NULL DEFAULT 0, bundle BLOB NOT NULL DEFAULT x'');
CREATE INDEX pictures_segment ON pictures(segment);
CREATE TABLE tally(state TEXT, reason TEXT, frames INTEGER NOT NULL, PRIMARY KEY(state, reason)) WITHOUT ROWID;
{_LAYERS}"""
_STEPS = {
    # Format 1 took a frame's age from the wall clock: the frames in it are as old as this change.
    1: "ALTER TABLE frames ADD COLUMN lived_us INTEGER NOT NULL DEFAULT 0;",
    # Format 2 kept pictures without their containers: of those frames there are no enhancements.
    2: "ALTER TABLE frames ADD COLUMN pixels TEXT NOT NULL DEFAULT '';"
    f"ALTER TABLE pictures ADD COLUMN coded INTEGER NOT NULL DEFAULT 0;{_LAYERS}",
    # Format 3 did not say what containers were coded with: that may be any bundle.
    3: "ALTER TABLE pictures ADD COLUMN bundle BLOB NOT NULL DEFAULT x'';",
}
"""From each older format to the next."""


def connect(path: Path, readonly: bool = False) -> sqlite3.Connection:
    """A connection with the settings the promise rests on."""
    c = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    c.execute("PRAGMA synchronous=FULL")
    c.execute("PRAGMA foreign_keys=ON")
    if readonly:
        c.execute("PRAGMA query_only=ON")
    return c


def create(db: sqlite3.Connection, max_log_bytes: int) -> int:
    """Make the tables, or bring those of an older format up to date. The format found, if this program cannot."""
    db.execute(f"PRAGMA page_size={PAGE}")
    db.execute("PRAGMA auto_vacuum=INCREMENTAL")  # heeded only before the first table
    db.execute("PRAGMA journal_mode=WAL")
    # A long log before it is copied into the file: fewer, larger fsyncs of the file.
    db.execute(f"PRAGMA wal_autocheckpoint={max_log_bytes // PAGE}")
    db.execute(f"PRAGMA journal_size_limit={max_log_bytes}")
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if 0 <= version < VERSION:
        steps = "".join(_STEPS[v] for v in range(version, VERSION)) if version else _SCHEMA
        db.executescript(f"BEGIN;{steps}PRAGMA user_version={VERSION};COMMIT")
        version = VERSION
    return version
