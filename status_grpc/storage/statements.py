"""The statements of the store, built once for a database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.compiler import SQLCompiler

from status_grpc.storage.dialects import Database, Transaction
from status_grpc.storage.rows import CHANGING_COLUMNS
from status_grpc.storage.tables import trace_datasets, trace_events, trace_paths, traces


class Many(Protocol):
    """A write of many rows, in few steps or round trips."""

    def execute(self, transaction: Transaction, rows: Sequence[Sequence[Any]]) -> None:
        """Write rows that hold the values in the order of the columns."""


class _AtOnce(Many):
    """All rows in one statement, whose one parameter holds them."""

    def __init__(self, statement: sa.ClauseElement, database: Database) -> None:
        """Take a statement that writes the rows of `database.keys`."""
        compiled = statement.compile(dialect=database.dialect)
        self._sql = str(compiled)
        self._names = list(cast(SQLCompiler, compiled).positiontup or ())
        self._parameters = database.key_parameters

    def execute(self, transaction: Transaction, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            parameters = self._parameters(rows)
            transaction.execute(self._sql, tuple(parameters[name] for name in self._names))


class _EachRow(Many):
    """One row at a time, by a short statement that is prepared once."""

    def __init__(self, statement: sa.ClauseElement, database: Database) -> None:
        """Take a statement that writes one row."""
        self._sql = str(statement.compile(dialect=database.dialect))

    def execute(self, transaction: Transaction, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            transaction.execute_each(self._sql, rows)


def _insert(table: sa.Table, database: Database, *, ignore_existing: bool = False) -> Many:
    columns = list(table.columns)
    if database.dialect.name == "postgresql":
        rows = database.keys(*[(column.name, column.type) for column in columns])
        at_once = postgresql.insert(table).from_select([column.name for column in columns], sa.select(rows))
        return _AtOnce(at_once.on_conflict_do_nothing() if ignore_existing else at_once, database)
    one = sqlite.insert(table).values({column.name: sa.bindparam(column.name, type_=column.type) for column in columns})
    return _EachRow(one.on_conflict_do_nothing() if ignore_existing else one, database)


def _update(table: sa.Table, names: Sequence[str], database: Database) -> Many:
    """Return the update of rows by the first of the named columns, which is their key."""
    columns = [table.columns[name] for name in names]
    key, *changing = names

    def from_rows(new: sa.FromClause) -> sa.ClauseElement:
        return sa.update(table).where(table.columns[key] == new.c[key]).values({name: new.c[name] for name in changing})

    if database.dialect.name == "postgresql":
        return _AtOnce(from_rows(database.keys(*[(column.name, column.type) for column in columns])), database)
    row = tuple(sa.bindparam(f"new_{column.name}", type_=column.type) for column in columns)
    one = sa.values(*[sa.column(column.name, column.type) for column in columns], name="new").data([row]).cte("new")
    return _EachRow(from_rows(one), database)


class Statements:
    """Every statement of the store; parameters are named where they are bound."""

    def __init__(self, database: Database) -> None:
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
        self.insert_traces = _insert(traces, database)
        self.insert_events = _insert(trace_events, database)
        self.insert_paths = _insert(trace_paths, database, ignore_existing=True)
        self.insert_datasets = _insert(trace_datasets, database, ignore_existing=True)
        self.update_traces = _update(traces, CHANGING_COLUMNS, database)

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

        self._by_path = {
            (domain, domain_id): self._search_by_path(domain=domain, domain_id=domain_id)
            for domain in (False, True)
            for domain_id in (False, True)
        }

    def by_path(self, *, domain: bool, domain_id: bool) -> sa.Select[tuple[str]]:
        """Return the search by path, joined with the traces where a filter needs them."""
        return self._by_path[domain, domain_id]

    @staticmethod
    def _search_by_path(*, domain: bool, domain_id: bool) -> sa.Select[tuple[str]]:
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
