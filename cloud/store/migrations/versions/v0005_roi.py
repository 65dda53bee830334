"""Rules may send for the part of a picture that matches."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column `roi` to the table `rules`."""
    op.add_column("rules", sa.Column("roi", sa.String(16), nullable=True))
