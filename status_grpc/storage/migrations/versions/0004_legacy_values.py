"""Values that only the older routes can tell."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
#: The oldest schema whose releases still run on this one.
oldest_release = "0002"


def upgrade() -> None:
    """Add the column, which is NULL for all earlier events."""
    op.add_column("trace_events", sa.Column("legacy", sa.Text))


def downgrade() -> None:
    """Drop the column, and with it what only the older routes return."""
    op.drop_column("trace_events", "legacy")
