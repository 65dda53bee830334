"""How far results have been deleted is known camera by camera: only in one of them do packets come in order."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table `aged` anew, with a camera; what is in it is so of all cameras, which no name says."""
    op.create_table(
        "aged_by_camera",
        sa.Column("edge", sa.String(64), primary_key=True),
        sa.Column("epoch", sa.String(36), primary_key=True),
        sa.Column("camera", sa.String(64), primary_key=True),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    )
    op.execute("INSERT INTO aged_by_camera (edge, epoch, camera, seq) SELECT edge, epoch, '', seq FROM aged")
    op.drop_table("aged")
    op.rename_table("aged_by_camera", "aged")
