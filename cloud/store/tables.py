"""The ten tables. A change here needs a migration in migrations/versions."""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()
Big = BigInteger().with_variant(Integer(), "sqlite")

# One row a frame. `number` rises in the order of commits: it is what cursors and event ids are made of.
# `detections` and `timing` are JSON, kept as the text that is sent. `best_score` and the table `found` exist only so
# that filters need not look into it.
results = Table(
    "results",
    metadata,
    Column("number", Big, primary_key=True, autoincrement=False),
    Column("id", String(36), nullable=False, unique=True),
    Column("camera", String(64), nullable=False),
    Column("edge", String(64), nullable=False),
    Column("epoch", String(36), nullable=False),
    Column("seq", Big, nullable=False),
    Column("captured_us", Big, nullable=False),
    Column("accepted_us", Big, nullable=False),
    Column("received_us", Big, nullable=False),
    Column("stored_us", Big, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("coded_bytes", Integer, nullable=False),
    Column("source_bytes", Big, nullable=False),
    Column("bundle", String(64), nullable=False),
    Column("codec", String(64), nullable=False),
    Column("quality", Integer, nullable=False),
    Column("provenance", String(16), nullable=False),
    Column("best_score", Float, nullable=False),
    Column("detections", Text, nullable=False),
    Column("timing", Text, nullable=False),
    UniqueConstraint("edge", "epoch", "seq", name="results_packet"),
    Index("results_camera", "camera", "number"),
    Index("results_captured", "captured_us"),
)

# The best score of every label in a frame.
found = Table(
    "found",
    metadata,
    Column("label", Text, primary_key=True),
    Column("number", Big, primary_key=True, autoincrement=False),
    Column("score", Float, nullable=False),
    sqlite_with_rowid=False,
)

# Running sums, kept in the transaction that inserts the results, so that a page need not count millions of rows.
cameras = Table(
    "cameras",
    metadata,
    Column("edge", String(64), primary_key=True),
    Column("camera", String(64), primary_key=True),
    Column("frames", Big, nullable=False),
    Column("coded_bytes", Big, nullable=False),
    Column("first_us", Big, nullable=False),
    Column("last_us", Big, nullable=False),
    Column("last_number", Big, nullable=False),
)

# The highest seq of each camera in an epoch whose result was deleted for its age: its packets up to there were stored
# once already, and must not be stored again when they are resent. Without a camera's name: of all cameras.
aged = Table(
    "aged",
    metadata,
    Column("edge", String(64), primary_key=True),
    Column("epoch", String(36), primary_key=True),
    Column("camera", String(64), primary_key=True),
    Column("seq", Big, nullable=False),
)

# Objects followed through a camera's frames. `label` is what most of the `votes`, JSON of label to frames, say.
tracks = Table(
    "tracks",
    metadata,
    Column("id", Big, primary_key=True, autoincrement=False),
    Column("edge", String(64), nullable=False),
    Column("camera", String(64), nullable=False),
    Column("label", Text, nullable=False),
    Column("votes", Text, nullable=False),
    Column("first_us", Big, nullable=False),
    Column("last_us", Big, nullable=False),
    Column("frames", Big, nullable=False),
    Column("best_score", Float, nullable=False),
    Column("last_number", Big, nullable=False),
    Index("tracks_camera", "camera", "id"),
    Index("tracks_last", "last_number"),
)

# Where a track was in a result. The index is there to delete them with their results.
sightings = Table(
    "sightings",
    metadata,
    Column("track", Big, primary_key=True, autoincrement=False),
    Column("number", Big, primary_key=True, autoincrement=False),
    Column("score", Float, nullable=False),
    Column("x1", Float, nullable=False),
    Column("y1", Float, nullable=False),
    Column("x2", Float, nullable=False),
    Column("y2", Float, nullable=False),
    Index("sightings_number", "number"),
    sqlite_with_rowid=False,
)

# What each camera's tracker knew after its last result, JSON, and the highest id given until then. Never deleted: no id
# is given twice.
trackers = Table(
    "trackers",
    metadata,
    Column("edge", String(64), primary_key=True),
    Column("camera", String(64), primary_key=True),
    Column("last_track", Big, nullable=False),
    Column("state", Text, nullable=False),
)

# Coded layers of recent frames, of which pictures can be made: bounded in bytes and age. The index is there to shed the
# oldest, and to sum the sizes without reading the layers.
layers = Table(
    "layers",
    metadata,
    Column("frame", String(36), primary_key=True),
    Column("kind", Integer, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("kept_us", Big, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("layers_kept", "kept_us", "size"),
)

# Which results send for pixels by themselves.
rules = Table(
    "rules",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("camera", String(64), nullable=True),
    Column("label", Text, nullable=True),
    Column("min_score", Float, nullable=False),
    Column("layer", String(32), nullable=False),
    Column("quality", Integer, nullable=True),
    Column("max_per_minute", Integer, nullable=False),
    Column("roi", String(16), nullable=True),
)

# Originals that somebody asked for: a cache, bounded in bytes. `data` comes last so that SQLite can skip it.
pictures = Table(
    "pictures",
    metadata,
    Column("frame", String(36), primary_key=True),
    Column("layer", String(32), primary_key=True),
    Column("content_type", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size", Integer, nullable=False),
    Column("fetched_us", Big, nullable=False),
    Column("data", LargeBinary, nullable=False),
)
