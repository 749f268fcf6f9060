"""The store: commits batches of writes, and reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from status_grpc.domain.decisions import (
    Command,
    Deciding,
    Decision,
    KnownEvent,
    keys_to_look_up,
)
from status_grpc.domain.events import TraceEvent
from status_grpc.domain.lineage import says_lineage
from status_grpc.domain.traces import Trace
from status_grpc.storage.dialects import Database, Transaction
from status_grpc.storage.lanes import Changes, Lane, changes_of
from status_grpc.storage.lineage import dataset_rows
from status_grpc.storage.listing import Listing, TraceFilter
from status_grpc.storage.rows import bucket_of
from status_grpc.storage.statements import Statements
from status_grpc.storage.tables import traces

_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Found:
    """What a transaction has read: rows of `traces`, and of events that were recorded before."""

    traces: list[Sequence[Any]]
    events: list[Sequence[Any]]


@dataclass(slots=True)
class _Batch:
    """What a transaction has decided, and the rows that say so."""

    decisions: list[Decision]
    new_traces: list[tuple[Any, ...]]
    changed_traces: list[tuple[Any, ...]]
    events: list[tuple[Any, ...]]
    paths: list[tuple[Any, ...]]
    changes: Changes
    datasets: list[tuple[Any, ...]]


class Store:
    """Traces in one database. Every write is durable when its call returns; every read sees all that are."""

    def __init__(self, database: Database, *, events_per_trace: int) -> None:
        self._database = database
        self._codec = database.codec
        self._sql = Statements(database)
        self._listing = Listing(database)
        #: The lane that this store numbers its commits in.
        self.lane = Lane(database)
        self._events_per_trace = events_per_trace

    async def commit(self, commands: Sequence[Command]) -> list[Decision]:
        """Decide the commands in order and store what they did in one transaction; one decision per command.

        Raises Unavailable when nothing, or it is unknown what, was stored: the same commands may be committed again.
        """
        async with self.lane.commit():
            batch = await self._database.transact(
                lambda transaction: self._look_up(transaction, commands),
                lambda found: self._decide(commands, found),
                self._write,
            )
        return batch.decisions

    def _look_up(self, transaction: Transaction, commands: Sequence[Command]) -> _Found:
        self.lane.begin(transaction)
        # In the order of their ids: two transactions that lock the same traces never wait for each other in a circle.
        ids = sorted({command.trace_id for command in commands})
        keys = self._database.key_parameters([[trace_id] for trace_id in ids])
        traces = transaction.fetch(self._sql.lock_traces, keys)
        buckets = {row[0]: row[1] for row in traces}
        wanted = [
            [buckets[trace_id], trace_id, event_id]
            for trace_id, event_ids in keys_to_look_up(commands).items()
            if trace_id in buckets
            for event_id in event_ids
        ]
        events = transaction.fetch(self._sql.known_events, self._database.key_parameters(wanted)) if wanted else []
        return _Found(traces, events)

    def _decide(self, commands: Sequence[Command], found: _Found) -> _Batch:
        codec = self._codec
        held = {row[0]: codec.trace(row) for row in found.traces}
        known = {(row[0], row[1]): KnownEvent(row[2], row[3]) for row in found.events}
        paths_before = {trace_id: trace.s3_path for trace_id, trace in held.items()}
        sequences_before = {trace_id: trace.last_sequence for trace_id, trace in held.items()}
        deciding = Deciding(held, known, self._events_per_trace)
        decisions = deciding.decide_all(commands, now=datetime.now(UTC))
        states, created = deciding.traces, deciding.created
        buckets = {trace_id: bucket_of(trace.create_time) for trace_id, trace in states.items()}
        return _Batch(
            decisions,
            [codec.new_trace_row(states[trace_id]) for trace_id in created],
            [codec.changed_trace_row(states[trace_id]) for trace_id in deciding.changed - created],
            [
                codec.event_row(event, buckets[event.trace_id], content_hash, size)
                for event, content_hash, size in deciding.recorded
            ],
            self._path_rows(deciding, paths_before),
            changes_of(deciding, sequences_before),
            self._dataset_rows(deciding),
        )

    def _write(self, transaction: Transaction, batch: _Batch) -> None:
        sql = self._sql
        sql.insert_traces.execute(transaction, batch.new_traces)
        sql.update_traces.execute(transaction, batch.changed_traces)
        sql.insert_events.execute(transaction, batch.events)
        sql.insert_paths.execute(transaction, batch.paths)
        sql.insert_datasets.execute(transaction, batch.datasets)
        if batch.changes:
            self.lane.write(transaction, batch.changes)

    def _path_rows(self, deciding: Deciding, paths_before: dict[str, str]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for event, _, _ in deciding.recorded:
            # The path that the trace already has is recorded: most events of a trace carry the same one.
            if event.s3_path and event.s3_path != paths_before.get(event.trace_id):
                create_time = self._codec.time_in(deciding.traces[event.trace_id].create_time)
                rows.append((event.s3_path, event.sequence == 1, create_time, event.trace_id))
                paths_before[event.trace_id] = paths_before.get(event.trace_id) or event.s3_path
        return rows

    def _dataset_rows(self, deciding: Deciding) -> list[tuple[Any, ...]]:
        return [
            row
            for event, _, _ in deciding.recorded
            if says_lineage(event)
            for row in dataset_rows(self._codec, event, bucket_of(deciding.traces[event.trace_id].create_time))
        ]

    async def get_trace(self, trace_id: str) -> Trace | None:
        """Return the trace, or None when there is none."""
        return await self._database.read_few(lambda connection: self._get_trace(connection, trace_id))

    def _get_trace(self, connection: sa.Connection, trace_id: str) -> Trace | None:
        rows = self._database.fetch(connection, self._sql.trace, {"trace_id": trace_id})
        return self._codec.trace(rows[0]) if rows else None

    async def read_events(
        self, trace: Trace, *, after: int, count: int, most_bytes: int, at_least: int = 1
    ) -> list[TraceEvent]:
        """Return the trace's events with sequence > after, oldest first, up to the trace's last_sequence.

        At most `count`, and fewer before their encodings exceed `most_bytes`, but `at_least` so many if there are.
        """
        return await self._database.read(
            lambda connection: self._read_events(connection, trace, after, count, most_bytes, at_least)
        )

    async def get_trace_and_events(
        self, trace_id: str, *, after: int, count: int, most_bytes: int
    ) -> tuple[Trace, list[TraceEvent]] | None:
        """Return the trace and its events as `read_events` does, in one go; None when there is no such trace."""

        def work(connection: sa.Connection) -> tuple[Trace, list[TraceEvent]] | None:
            trace = self._get_trace(connection, trace_id)
            if trace is None:
                return None
            return trace, self._read_events(connection, trace, after, count, most_bytes)

        return await self._database.read_few(work)

    def _read_events(
        self, connection: sa.Connection, trace: Trace, after: int, count: int, most_bytes: int, at_least: int = 1
    ) -> list[TraceEvent]:
        place = {
            "bucket": bucket_of(trace.create_time),
            "trace_id": trace.trace_id,
            "after": after,
            "through": trace.last_sequence,
        }
        self._database.expect(connection, rows=min(count, trace.last_sequence - after))
        total, through = 0, after
        for sequence, size in self._database.fetch(connection, self._sql.event_sizes, {**place, "count": count}):
            total += size
            if total > most_bytes and through >= after + at_least:
                break
            through = sequence
        if through == after:
            return []
        self._database.expect(connection, size=total)
        rows = self._database.fetch(connection, self._sql.events, {**place, "through": through})
        return [self._codec.event(row) for row in rows]

    async def get_event(self, trace: Trace, trace_event_id: str) -> TraceEvent | None:
        """Return the trace's event with that id, or None."""
        parameters = {
            "bucket": bucket_of(trace.create_time),
            "trace_id": trace.trace_id,
            "trace_event_id": trace_event_id,
        }

        def work(connection: sa.Connection) -> TraceEvent | None:
            rows = self._database.fetch(connection, self._sql.event_by_id, parameters)
            return self._codec.event(rows[0]) if rows else None

        return await self._database.read_few(work)

    async def find_by_path(self, s3_path: str, *, domain: str, domain_id: str, count: int) -> list[str]:
        """Return the ids of traces of which an event carried the path: created with it first, newest first."""
        statement = self._sql.by_path(domain=bool(domain), domain_id=bool(domain_id))
        parameters = {"s3_path": s3_path, "domain": domain, "domain_id": domain_id, "count": count}
        # A filter may look at all traces of the path, and a path may be that of very many.
        read = self._database.read if domain or domain_id else self._database.read_few
        rows = await read(lambda connection: self._database.fetch(connection, statement, parameters))
        return [trace_id for (trace_id,) in rows]

    async def newest_created_with(
        self, s3_path: str, *, created_after: datetime | None, count: int
    ) -> list[tuple[str, datetime]]:
        """Return the newest traces created with the path, after that time if it is given: ids and creation times."""
        codec = self._codec
        parameters = {
            "s3_path": s3_path,
            "created_after": codec.time_in(created_after or _LONG_AGO),
            "count": count,
        }

        def work(connection: sa.Connection) -> list[tuple[str, datetime]]:
            rows = self._database.fetch(connection, self._sql.newest_created, parameters)
            return [(trace_id, codec.time_out(create_time)) for trace_id, create_time in rows]

        return await self._database.read_few(work)

    async def changes(
        self, trace_ids: Sequence[str], s3_paths: Sequence[str]
    ) -> tuple[dict[str, int], dict[str, datetime]]:
        """Return the revision of each trace that exists, and the newest creation time of each path that has one."""

        def work(connection: sa.Connection) -> tuple[dict[str, int], dict[str, datetime]]:
            revisions: dict[str, int] = {}
            created: dict[str, datetime] = {}
            if trace_ids:
                keys = self._database.key_parameters([[trace_id] for trace_id in trace_ids])
                rows = self._database.fetch(connection, self._sql.heads, keys)
                revisions = {trace_id: revision for trace_id, revision in rows}  # noqa: C416 - a driver's rows are no pairs
            if s3_paths:
                keys = self._database.key_parameters([[s3_path] for s3_path in s3_paths])
                for s3_path, newest in self._database.fetch(connection, self._sql.newest_per_path, keys):
                    if newest is not None:
                        created[s3_path] = self._codec.time_out(newest)
            return revisions, created

        return await self._database.read(work)

    async def list_traces(
        self, wanted: TraceFilter, *, before: tuple[datetime, str] | None, count: int
    ) -> tuple[list[Trace], tuple[datetime, str] | None]:
        """Return a page of matching traces, newest created first, and the position to go on from (None at the end)."""
        return await self._database.read(
            lambda connection: self._listing.read(connection, wanted, before=before, count=count)
        )

    async def expiring(self, now: datetime, *, count: int) -> list[Trace]:
        """Return unfinished traces whose expire_time has come."""
        parameters = {"now": self._codec.time_in(now), "count": count}
        return await self._database.read(
            lambda connection: [
                self._codec.trace(row) for row in self._database.fetch(connection, self._sql.expiring, parameters)
            ]
        )

    async def ping(self) -> None:
        """Read something. Raises Unavailable when the database cannot be reached."""
        await self._database.read(lambda connection: connection.execute(sa.select(traces.c.trace_id).limit(1)).all())
