"""Traces, their events, and the paths they are found by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None
#: The oldest schema whose releases still run on this one.
oldest_release = "0001"

_INSTANT = sa.Text().with_variant(TIMESTAMP(timezone=True), "postgresql")
_JSON = sa.Text().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "traces",
        sa.Column("trace_id", sa.Text, primary_key=True),
        sa.Column("bucket", sa.Integer, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("domain", sa.Text, nullable=False),
        sa.Column("domain_id", sa.Text, nullable=False),
        sa.Column("user", sa.Text),
        sa.Column("s3_path", sa.Text),
        sa.Column("trace_status", sa.Text, nullable=False),
        sa.Column("trace_event_status", sa.Text, nullable=False),
        sa.Column("done", sa.Boolean, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("create_time", _INSTANT, nullable=False),
        sa.Column("update_time", _INSTANT, nullable=False),
        sa.Column("finish_time", _INSTANT),
        sa.Column("event_count", sa.BigInteger, nullable=False),
        sa.Column("failed_event_count", sa.BigInteger, nullable=False),
        sa.Column("last_sequence", sa.BigInteger, nullable=False),
        sa.Column("last_event_id", sa.Text, nullable=False),
        sa.Column("last_heard_time", _INSTANT, nullable=False),
        sa.Column("expire_time", _INSTANT),
        sa.Column("component", sa.Text),
        sa.Column("operation", sa.Text),
        sa.Column("errors", _JSON),
        sa.Column("error_count", sa.BigInteger, nullable=False),
        sa.Column("first_failure", _JSON),
    )
    op.create_index("traces_by_create_time", "traces", ["create_time", "trace_id"])
    op.create_index("traces_by_domain", "traces", ["domain", "create_time", "trace_id"])
    op.create_index("traces_by_domain_id", "traces", ["domain_id", "create_time", "trace_id"])
    op.create_index("traces_by_user", "traces", ["user", "create_time", "trace_id"])
    _partial_index("traces_unfinished", ["create_time", "trace_id"], "NOT done")
    _partial_index("traces_failed", ["create_time", "trace_id"], "done AND trace_event_status = 'FAILED'")
    _partial_index("traces_expiring", ["expire_time"], "NOT done AND expire_time IS NOT NULL")

    op.create_table(
        "trace_events",
        sa.Column("bucket", sa.Integer, nullable=False),
        sa.Column("trace_id", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("trace_event_id", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("encoded_bytes", sa.Integer, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("record_time", _INSTANT, nullable=False),
        sa.Column("domain", sa.Text, nullable=False),
        sa.Column("domain_id", sa.Text, nullable=False),
        sa.Column("start_time", _INSTANT, nullable=False),
        sa.Column("end_time", _INSTANT),
        sa.Column("trace_status", sa.Text, nullable=False),
        sa.Column("trace_event_status", sa.Text, nullable=False),
        sa.Column("user", sa.Text),
        sa.Column("component", sa.Text, nullable=False),
        sa.Column("operation", sa.Text),
        sa.Column("s3_path", sa.Text),
        sa.Column("duration_us", sa.BigInteger),
        sa.Column("step_id", sa.Text),
        sa.Column("attempt", sa.Integer),
        sa.Column("status_body", _JSON),
        sa.Column("meta", _JSON),
        sa.Column("exception", _JSON),
        sa.Column("errors", _JSON),
        sa.Column("inputs", _JSON),
        sa.Column("outputs", _JSON),
        sa.PrimaryKeyConstraint("bucket", "trace_id", "sequence"),
        sa.UniqueConstraint("bucket", "trace_id", "trace_event_id"),
    )

    op.create_table(
        "trace_paths",
        sa.Column("s3_path", sa.Text, nullable=False),
        sa.Column("created", sa.Boolean, nullable=False),
        sa.Column("create_time", _INSTANT, nullable=False),
        sa.Column("trace_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("s3_path", "created", "create_time", "trace_id"),
        sqlite_with_rowid=False,
    )


def _partial_index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "traces", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def downgrade() -> None:
    """Drop the tables, and with them everything."""
    op.drop_table("trace_paths")
    op.drop_table("trace_events")
    op.drop_table("traces")
