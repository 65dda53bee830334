"""Tracks, where they were seen, and the trackers' state."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables `tracks`, `sightings` and `trackers`."""
    op.create_table(
        "tracks",
        sa.Column("id", Big, primary_key=True, autoincrement=False),
        sa.Column("edge", sa.String(64), nullable=False),
        sa.Column("camera", sa.String(64), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("votes", sa.Text(), nullable=False),
        sa.Column("first_us", Big, nullable=False),
        sa.Column("last_us", Big, nullable=False),
        sa.Column("frames", Big, nullable=False),
        sa.Column("best_score", sa.Float(), nullable=False),
        sa.Column("last_number", Big, nullable=False),
    )
    op.create_index("tracks_camera", "tracks", ["camera", "id"])
    op.create_index("tracks_last", "tracks", ["last_number"])
    op.create_table(
        "sightings",
        sa.Column("track", Big, primary_key=True, autoincrement=False),
        sa.Column("number", Big, primary_key=True, autoincrement=False),
        sa.Column("score", sa.Float(), nullable=False),
        *(sa.Column(side, sa.Float(), nullable=False) for side in ("x1", "y1", "x2", "y2")),
        sqlite_with_rowid=False,
    )
    op.create_index("sightings_number", "sightings", ["number"])
    op.create_table(
        "trackers",
        sa.Column("edge", sa.String(64), primary_key=True),
        sa.Column("camera", sa.String(64), primary_key=True),
        sa.Column("last_track", Big, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
    )
