"""How far each epoch's results have been deleted for their age."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table `aged`."""
    op.create_table(
        "aged",
        sa.Column("edge", sa.String(64), primary_key=True),
        sa.Column("epoch", sa.String(36), primary_key=True),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    )
