"""The tables. `migrations/` makes them; this is what the queries are written against.

Texts that were not said are NULL. Times are timestamptz on PostgreSQL and ISO 8601 text with microseconds and +00:00 on
SQLite, which sorts as the times do. JSON is JSONB on PostgreSQL and text on SQLite.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

#: The revision of `migrations/` that this code was written for.
SCHEMA_REVISION = "0004"

metadata = MetaData()

# The rows hold what the dialect's driver takes and gives (storage.rows converts): no type here converts by itself.
Instant = Text().with_variant(TIMESTAMP(timezone=True), "postgresql")
Json = Text().with_variant(JSONB(), "postgresql")

traces = Table(
    "traces",
    metadata,
    Column("trace_id", Text, nullable=False),
    # The month of create_time as 202611: part of every event's key, so that events can be partitioned by it.
    Column("bucket", Integer, nullable=False),
    # Counts the changes of this row, heartbeats included: tells a reader that its copy is old.
    Column("revision", BigInteger, nullable=False),
    Column("domain", Text, nullable=False),
    Column("domain_id", Text, nullable=False),
    Column("user", Text),
    Column("s3_path", Text),
    Column("trace_status", Text, nullable=False),
    Column("trace_event_status", Text, nullable=False),
    Column("done", Boolean, nullable=False),
    Column("run", Integer, nullable=False),
    Column("create_time", Instant, nullable=False),
    Column("update_time", Instant, nullable=False),
    Column("finish_time", Instant),
    Column("event_count", BigInteger, nullable=False),
    Column("failed_event_count", BigInteger, nullable=False),
    Column("last_sequence", BigInteger, nullable=False),
    # The id of the event at last_sequence: tells followers this history from that of a restored backup.
    Column("last_event_id", Text, nullable=False),
    Column("last_heard_time", Instant, nullable=False),
    Column("expire_time", Instant),
    Column("component", Text),
    Column("operation", Text),
    Column("errors", Json),
    Column("error_count", BigInteger, nullable=False),
    Column("first_failure", Json),
    PrimaryKeyConstraint("trace_id"),
    # No index holds a column that an ordinary Update changes: such an update touches the row and nothing else.
    # ListTraces without a selective filter.
    Index("traces_by_create_time", "create_time", "trace_id"),
    # ListTraces of a domain.
    Index("traces_by_domain", "domain", "create_time", "trace_id"),
    # ListTraces of a domain id.
    Index("traces_by_domain_id", "domain_id", "create_time", "trace_id"),
    # ListTraces of a user.
    Index("traces_by_user", "user", "create_time", "trace_id"),
    # ListTraces of what is running.
    Index(
        "traces_unfinished",
        "create_time",
        "trace_id",
        sqlite_where=text("NOT done"),
        postgresql_where=text("NOT done"),
    ),
    # ListTraces of what has failed.
    Index(
        "traces_failed",
        "create_time",
        "trace_id",
        sqlite_where=text("done AND trace_event_status = 'FAILED'"),
        postgresql_where=text("done AND trace_event_status = 'FAILED'"),
    ),
    # The search for unfinished traces whose time is up.
    Index(
        "traces_expiring",
        "expire_time",
        sqlite_where=text("NOT done AND expire_time IS NOT NULL"),
        postgresql_where=text("NOT done AND expire_time IS NOT NULL"),
    ),
)

trace_events = Table(
    "trace_events",
    metadata,
    # The bucket of the event's trace, not of the event: all events of a trace lie in one partition.
    Column("bucket", Integer, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("trace_event_id", Text, nullable=False),
    # A hash (hex) of what the caller sent: tells a retry from another event under the same id.
    Column("content_hash", Text, nullable=False),
    # The size of the event as a protobuf message when it was received: bounds pages without reading the bodies.
    Column("encoded_bytes", Integer, nullable=False),
    Column("run", Integer, nullable=False),
    Column("record_time", Instant, nullable=False),
    Column("domain", Text, nullable=False),
    Column("domain_id", Text, nullable=False),
    Column("start_time", Instant, nullable=False),
    Column("end_time", Instant),
    Column("trace_status", Text, nullable=False),
    Column("trace_event_status", Text, nullable=False),
    Column("user", Text),
    Column("component", Text, nullable=False),
    Column("operation", Text),
    Column("s3_path", Text),
    Column("duration_us", BigInteger),
    Column("step_id", Text),
    Column("attempt", Integer),
    Column("status_body", Json),
    Column("meta", Json),
    Column("exception", Json),
    Column("errors", Json),
    Column("inputs", Json),
    Column("outputs", Json),
    # What the older routes received and no other column can hold (wire.old_events). Text: JSONB would lose digits.
    Column("legacy", Text),
    # GetTrace and followers: the events of a trace in order.
    PrimaryKeyConstraint("bucket", "trace_id", "sequence"),
    # Retries of Create and Update: has this id been recorded?
    UniqueConstraint("bucket", "trace_id", "trace_event_id"),
)

trace_paths = Table(
    "trace_paths",
    metadata,
    Column("s3_path", Text, nullable=False),
    # Whether the trace was created with the path; otherwise a later event carried it.
    Column("created", Boolean, nullable=False),
    # When the trace was created.
    Column("create_time", Instant, nullable=False),
    Column("trace_id", Text, nullable=False),
    # GetByPath and following by path: read backwards, those created with the path come first, newest first.
    PrimaryKeyConstraint("s3_path", "created", "create_time", "trace_id"),
    sqlite_with_rowid=False,
)

trace_datasets = Table(
    "trace_datasets",
    metadata,
    # The bucket of the trace, as in trace_events.
    Column("bucket", Integer, nullable=False),
    Column("trace_id", Text, nullable=False),
    # Whether the trace has written the dataset; otherwise it has read it.
    Column("written", Boolean, nullable=False),
    # A hash of uri and version (storage.lineage.dataset_key): both together may be longer than a key of PostgreSQL.
    Column("dataset_key", Text, nullable=False),
    Column("uri", Text, nullable=False),
    Column("version", Text),
    # The first event of the trace that said so, and when it was recorded.
    Column("sequence", BigInteger, nullable=False),
    Column("record_time", Instant, nullable=False),
    # GetLineage: what has this trace read, what has it written? Also what keeps each dataset once in its trace.
    PrimaryKeyConstraint("bucket", "trace_id", "written", "dataset_key"),
    # GetLineage, read backwards: which traces have written this dataset, which have read it, the newest first?
    Index("trace_datasets_by_uri", "uri", "written", "record_time", "trace_id"),
    sqlite_with_rowid=False,
)

# The lanes of the change feed (storage.lanes): each process that writes numbers its commits in a lane of its own.
feed_lanes = Table(
    "feed_lanes",
    metadata,
    Column("lane_id", Text, nullable=False),
    # When its process was last known to be alive.
    Column("seen_time", Instant, nullable=False),
    # The commits up to this number are not kept any more.
    Column("pruned_through", BigInteger, nullable=False),
    # The number of its last row, which ends it; NULL while it goes on.
    Column("last_number", BigInteger),
    PrimaryKeyConstraint("lane_id"),
)

feed_commits = Table(
    "feed_commits",
    metadata,
    Column("lane_id", Text, nullable=False),
    # 1, 2, 3... in its lane, without a gap.
    Column("number", BigInteger, nullable=False),
    Column("commit_time", Instant, nullable=False),
    # Trace id -> what the commit did to it (storage.lanes.TraceChange); empty in the row that ends the lane.
    Column("changes", Json, nullable=False),
    # The feed: the commits of a lane after a number. Also what keeps two from writing the same one.
    PrimaryKeyConstraint("lane_id", "number"),
    sqlite_with_rowid=False,
)

# Which revisions were applied (storage.schema). Alembic keeps the number of the last one in a table of its own.
schema_revisions = Table(
    "schema_revisions",
    metadata,
    Column("revision", Text, nullable=False),
    # The oldest schema whose releases run on this one too: what lets an earlier release use what a later one made.
    Column("oldest_release", Text, nullable=False),
    Column("apply_time", Instant, nullable=False),
    # Also what keeps two processes from applying the same one.
    PrimaryKeyConstraint("revision"),
)
