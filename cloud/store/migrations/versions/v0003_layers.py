"""Coded layers of recent frames; rules; what was the layer `full` of pictures is called `original`."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables `layers` and `rules`, rename the pictures' layer."""
    op.create_table(
        "layers",
        sa.Column("frame", sa.String(36), primary_key=True),
        sa.Column("kind", sa.Integer(), primary_key=True),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("kept_us", Big, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )
    op.create_index("layers_kept", "layers", ["kept_us", "size"])
    op.create_table(
        "rules",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("camera", sa.String(64), nullable=True),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("min_score", sa.Float(), nullable=False),
        sa.Column("layer", sa.String(32), nullable=False),
        sa.Column("quality", sa.Integer(), nullable=True),
        sa.Column("max_per_minute", sa.Integer(), nullable=False),
    )
    op.execute("UPDATE pictures SET layer = 'original' WHERE layer = 'full'")
