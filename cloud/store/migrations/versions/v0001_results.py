"""Results, what was found in them, running sums of cameras, pictures."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the four tables."""
    _results()
    op.create_table(
        "found",
        sa.Column("label", sa.Text(), primary_key=True),
        sa.Column("number", Big, primary_key=True, autoincrement=False),
        sa.Column("score", sa.Float(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "cameras",
        sa.Column("edge", sa.String(64), primary_key=True),
        sa.Column("camera", sa.String(64), primary_key=True),
        *(
            sa.Column(name, Big, nullable=False)
            for name in ("frames", "coded_bytes", "first_us", "last_us", "last_number")
        ),
    )
    op.create_table(
        "pictures",
        sa.Column("frame", sa.String(36), primary_key=True),
        sa.Column("layer", sa.String(32), primary_key=True),
        sa.Column("content_type", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("fetched_us", Big, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )


def _results() -> None:
    op.create_table(
        "results",
        sa.Column("number", Big, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(36), nullable=False, unique=True),
        sa.Column("camera", sa.String(64), nullable=False),
        sa.Column("edge", sa.String(64), nullable=False),
        sa.Column("epoch", sa.String(36), nullable=False),
        *(
            sa.Column(name, Big, nullable=False)
            for name in ("seq", "captured_us", "accepted_us", "received_us", "stored_us")
        ),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("width", "height", "coded_bytes")),
        sa.Column("source_bytes", Big, nullable=False),
        sa.Column("bundle", sa.String(64), nullable=False),
        sa.Column("codec", sa.String(64), nullable=False),
        sa.Column("quality", sa.Integer(), nullable=False),
        sa.Column("provenance", sa.String(16), nullable=False),
        sa.Column("best_score", sa.Float(), nullable=False),
        sa.Column("detections", sa.Text(), nullable=False),
        sa.Column("timing", sa.Text(), nullable=False),
        sa.UniqueConstraint("edge", "epoch", "seq", name="results_packet"),
    )
    op.create_index("results_camera", "results", ["camera", "number"])
    op.create_index("results_captured", "results", ["captured_us"])
