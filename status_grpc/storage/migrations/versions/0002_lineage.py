"""What traces have read and written, also those that were recorded before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from status_grpc.domain.events import Dataset
from status_grpc.domain.lineage import CONVENTION_KEYS, datasets_of
from status_grpc.storage.lineage import dataset_key

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
#: The oldest schema whose releases still run on this one.
oldest_release = "0001"

_INSTANT = sa.Text().with_variant(TIMESTAMP(timezone=True), "postgresql")
_JSON = sa.Text().with_variant(JSONB(), "postgresql")

#: How many traces, and how many events of them, are looked at in one go: neither memory nor one statement's time
#: depends on how much there is.
_TRACES = 200
_EVENTS = 500

_traces = sa.table("traces", sa.column("trace_id", sa.Text), sa.column("bucket", sa.Integer))
_events = sa.table(
    "trace_events",
    sa.column("bucket", sa.Integer),
    sa.column("trace_id", sa.Text),
    sa.column("sequence", sa.BigInteger),
    sa.column("record_time", _INSTANT),
    sa.column("inputs", _JSON),
    sa.column("outputs", _JSON),
    sa.column("status_body", _JSON),
)


def upgrade() -> None:
    """Make the table, and fill it from the events."""
    table = op.create_table(
        "trace_datasets",
        sa.Column("bucket", sa.Integer, nullable=False),
        sa.Column("trace_id", sa.Text, nullable=False),
        sa.Column("written", sa.Boolean, nullable=False),
        sa.Column("dataset_key", sa.Text, nullable=False),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("version", sa.Text),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("record_time", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("bucket", "trace_id", "written", "dataset_key"),
        sqlite_with_rowid=False,
    )
    connection = op.get_bind()
    for rows in _recorded(connection):
        connection.execute(sa.insert(table), rows)
    op.create_index("trace_datasets_by_uri", "trace_datasets", ["uri", "written", "record_time", "trace_id"])


def downgrade() -> None:
    """Drop the table: the events still say it."""
    op.drop_table("trace_datasets")


def _recorded(connection: sa.Connection) -> Iterator[list[dict[str, Any]]]:
    """Give the rows of what was recorded before, a trace at a time: the first event that says so counts."""
    for trace_id, bucket in _traces_with_lineage(connection):
        rows: dict[tuple[bool, str], dict[str, Any]] = {}
        for event in _events_with_lineage(connection, trace_id, bucket):
            read, written = datasets_of(_datasets(event.inputs), _datasets(event.outputs), _body(event.status_body))
            for is_output, datasets in ((False, read), (True, written)):
                for dataset in datasets:
                    key = dataset_key(dataset)
                    rows.setdefault((is_output, key), _row(event, is_output, key, dataset))
        if rows:
            yield list(rows.values())


def _traces_with_lineage(connection: sa.Connection) -> Iterator[tuple[str, int]]:
    of_trace = (_events.c.bucket == _traces.c.bucket) & (_events.c.trace_id == _traces.c.trace_id)
    says_something = sa.exists().where(of_trace & _says_something()).label("says_something")
    statement = sa.select(_traces, says_something).order_by(_traces.c.trace_id).limit(_TRACES)
    after = ""
    while traces := connection.execute(statement.where(_traces.c.trace_id > after)).all():
        yield from ((trace.trace_id, trace.bucket) for trace in traces if trace.says_something)
        after = traces[-1].trace_id


def _events_with_lineage(connection: sa.Connection, trace_id: str, bucket: int) -> Iterator[sa.Row[Any]]:
    of_trace = (_events.c.bucket == bucket) & (_events.c.trace_id == trace_id)
    statement = sa.select(_events).where(of_trace & _says_something()).order_by(_events.c.sequence).limit(_EVENTS)
    after = 0
    while events := connection.execute(statement.where(_events.c.sequence > after)).all():
        yield from events
        after = events[-1].sequence


def _says_something() -> sa.ColumnElement[bool]:
    body = sa.cast(_events.c.status_body, sa.Text)
    return sa.or_(
        _events.c.inputs.is_not(None),
        _events.c.outputs.is_not(None),
        *(body.contains(f'"{key}"', autoescape=True) for key in sorted(CONVENTION_KEYS)),
    )


def _datasets(text: str | None) -> Sequence[Dataset]:
    return [Dataset(entry["uri"], entry.get("version", "")) for entry in json.loads(text)] if text else ()


def _body(text: str | None) -> dict[str, Any] | None:
    return json.loads(text) if text else None


def _row(event: sa.Row[Any], is_output: bool, key: str, dataset: Dataset) -> dict[str, Any]:
    return {
        "bucket": event.bucket,
        "trace_id": event.trace_id,
        "written": is_output,
        "dataset_key": key,
        "uri": dataset.uri,
        "version": dataset.version or None,
        "sequence": event.sequence,
        "record_time": event.record_time,
    }
