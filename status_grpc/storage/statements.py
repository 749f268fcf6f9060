"""The statements of the store, built once for a database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from status_grpc.storage.dialects import Database
from status_grpc.storage.tables import trace_events, trace_paths, traces

#: The columns of a trace that recording an event may change.
_CHANGING = (
    "revision",
    "s3_path",
    "trace_status",
    "trace_event_status",
    "done",
    "run",
    "update_time",
    "finish_time",
    "event_count",
    "failed_event_count",
    "last_sequence",
    "last_heard_time",
    "expire_time",
    "component",
    "operation",
    "errors",
    "error_count",
    "first_failure",
)


class Many:
    """A statement that is executed for many rows at once, compiled here so that a row costs nothing but its values."""

    def __init__(self, statement: sa.Insert | sa.Update, dialect: sa.Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self._sql = str(compiled)
        self._names: Sequence[str] = compiled.positiontup or ()

    def execute(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute the statement for rows that hold its parameters by name."""
        if rows:
            self.execute_tuples(connection, [tuple([row[name] for name in self._names]) for row in rows])

    def execute_tuples(self, connection: sa.Connection, rows: list[tuple[Any, ...]]) -> None:
        """Execute the statement for rows that hold its parameters in order."""
        if rows:
            connection.exec_driver_sql(self._sql, rows)


class Statements:
    """Every statement of the store; parameters are named where they are bound."""

    def __init__(self, database: Database) -> None:
        dialect = database.dialect
        trace_keys = database.keys(("trace_id", sa.Text()))
        self.lock_traces = database.locked(
            sa.select(traces).join_from(trace_keys, traces, traces.c.trace_id == trace_keys.c.trace_id)
        )
        event_keys = database.keys(("bucket", sa.Integer()), ("trace_id", sa.Text()), ("trace_event_id", sa.Text()))
        events = trace_events.c
        self.known_events = sa.select(
            events.trace_id, events.trace_event_id, events.sequence, events.content_hash
        ).join_from(
            event_keys,
            trace_events,
            (events.bucket == event_keys.c.bucket)
            & (events.trace_id == event_keys.c.trace_id)
            & (events.trace_event_id == event_keys.c.trace_event_id),
        )
        self.insert_traces = Many(sa.insert(traces), dialect)
        self.insert_events = Many(sa.insert(trace_events), dialect)
        self.update_traces = Many(
            sa.update(traces)
            .where(traces.c.trace_id == sa.bindparam("trace_id"))
            .values({name: sa.bindparam(name) for name in _CHANGING}),
            dialect,
        )
        insert_path: Callable[..., Any] = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
        self.insert_paths = Many(insert_path(trace_paths).on_conflict_do_nothing(), dialect)

        self.trace = sa.select(traces).where(traces.c.trace_id == sa.bindparam("trace_id"))
        of_trace = (events.bucket == sa.bindparam("bucket")) & (events.trace_id == sa.bindparam("trace_id"))
        self.event_by_id = sa.select(trace_events).where(
            of_trace & (events.trace_event_id == sa.bindparam("trace_event_id"))
        )
        in_range = of_trace & (events.sequence > sa.bindparam("after")) & (events.sequence <= sa.bindparam("through"))
        self.event_sizes = (
            sa.select(events.sequence, events.encoded_bytes)
            .where(in_range)
            .order_by(events.sequence)
            .limit(sa.bindparam("count"))
        )
        self.events = sa.select(trace_events).where(in_range).order_by(events.sequence)

        paths = trace_paths.c
        self.path_keys = database.keys(("s3_path", sa.Text()))
        self.newest_created = (
            sa.select(paths.trace_id, paths.create_time)
            .where((paths.s3_path == sa.bindparam("s3_path")) & paths.created)
            .where(paths.create_time > sa.bindparam("created_after"))
            .order_by(paths.create_time.desc(), paths.trace_id.desc())
            .limit(sa.bindparam("count"))
        )
        newest = (
            sa.select(sa.func.max(paths.create_time))
            .where((paths.s3_path == self.path_keys.c.s3_path) & paths.created)
            .scalar_subquery()
        )
        self.newest_per_path = sa.select(self.path_keys.c.s3_path, newest)
        self.heads = sa.select(traces.c.trace_id, traces.c.revision).join_from(
            trace_keys, traces, traces.c.trace_id == trace_keys.c.trace_id
        )
        self.expiring = (
            sa.select(traces)
            .where(sa.text("NOT traces.done") & (traces.c.expire_time <= sa.bindparam("now")))
            .order_by(traces.c.expire_time)
            .limit(sa.bindparam("count"))
        )

    def by_path(self, *, domain: str, domain_id: str) -> sa.Select[tuple[str]]:
        """Return the search by path, joined with the traces where a filter needs them."""
        paths = trace_paths.c
        statement = sa.select(paths.trace_id).where(paths.s3_path == sa.bindparam("s3_path"))
        if domain or domain_id:
            statement = statement.join(traces, traces.c.trace_id == paths.trace_id)
        if domain:
            statement = statement.where(traces.c.domain == sa.bindparam("domain"))
        if domain_id:
            statement = statement.where(traces.c.domain_id == sa.bindparam("domain_id"))
        newest_first = (paths.created.desc(), paths.create_time.desc(), paths.trace_id.desc())
        return statement.order_by(*newest_first).limit(sa.bindparam("count"))
