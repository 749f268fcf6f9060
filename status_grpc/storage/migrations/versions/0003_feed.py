"""The change feed: which traces each commit changed, in lanes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
#: The oldest schema whose releases still run on this one.
oldest_release = "0002"

_INSTANT = sa.Text().with_variant(TIMESTAMP(timezone=True), "postgresql")
_JSON = sa.Text().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Make the tables: what was committed before is not told by the feed."""
    op.create_table(
        "feed_lanes",
        sa.Column("lane_id", sa.Text, nullable=False),
        sa.Column("seen_time", _INSTANT, nullable=False),
        sa.Column("pruned_through", sa.BigInteger, nullable=False),
        sa.Column("last_number", sa.BigInteger),
        sa.PrimaryKeyConstraint("lane_id"),
    )
    op.create_table(
        "feed_commits",
        sa.Column("lane_id", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("commit_time", _INSTANT, nullable=False),
        sa.Column("changes", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("lane_id", "number"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop the tables: whoever reads the feed begins anew."""
    op.drop_table("feed_commits")
    op.drop_table("feed_lanes")
