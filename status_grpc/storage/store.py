"""The store: commits batches of writes, and reads."""

from __future__ import annotations

from collections.abc import Sequence
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
from status_grpc.domain.traces import Trace
from status_grpc.storage.dialects import Database
from status_grpc.storage.listing import TraceFilter, list_traces
from status_grpc.storage.rows import bucket_of
from status_grpc.storage.statements import Statements
from status_grpc.storage.tables import traces

_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)


class Store:
    """Traces in one database. Every write is durable when its call returns; every read sees all that are."""

    def __init__(self, database: Database, *, events_per_trace: int) -> None:
        self._database = database
        self._codec = database.codec
        self._sql = Statements(database)
        self._events_per_trace = events_per_trace

    async def commit(self, commands: Sequence[Command]) -> list[Decision]:
        """Decide the commands in order and store what they did in one transaction; one decision per command.

        Raises Unavailable when nothing, or it is unknown what, was stored: the same commands may be committed again.
        """
        return await self._database.write(lambda connection: self._commit(connection, commands))

    def _commit(self, connection: sa.Connection, commands: Sequence[Command]) -> list[Decision]:
        now = datetime.now(UTC)
        held = self._lock_traces(connection, commands)
        known = self._known_events(connection, commands, held)
        paths_before = {trace_id: trace.s3_path for trace_id, trace in held.items()}
        deciding = Deciding(held, known, self._events_per_trace)
        decisions = deciding.decide_all(commands, now=now)
        self._store(connection, deciding, paths_before)
        return decisions

    def _lock_traces(self, connection: sa.Connection, commands: Sequence[Command]) -> dict[str, Trace]:
        # In the order of their ids: two transactions that lock the same traces never wait for each other in a circle.
        ids = sorted({command.trace_id for command in commands})
        rows = connection.execute(self._sql.lock_traces, self._database.key_parameters([[id_] for id_ in ids]))
        return {row.trace_id: self._codec.trace(row) for row in rows}

    def _known_events(
        self, connection: sa.Connection, commands: Sequence[Command], held: dict[str, Trace]
    ) -> dict[tuple[str, str], KnownEvent]:
        keys = [
            [bucket_of(held[trace_id].create_time), trace_id, event_id]
            for trace_id, event_ids in keys_to_look_up(commands).items()
            if trace_id in held
            for event_id in event_ids
        ]
        if not keys:
            return {}
        rows = connection.execute(self._sql.known_events, self._database.key_parameters(keys))
        return {
            (trace_id, event_id): KnownEvent(sequence, content_hash)
            for trace_id, event_id, sequence, content_hash in rows
        }

    def _store(self, connection: sa.Connection, deciding: Deciding, paths_before: dict[str, str]) -> None:
        states, created, codec, sql = deciding.traces, deciding.created, self._codec, self._sql
        changed = deciding.changed - created
        sql.insert_traces.execute(connection, [codec.trace_row(states[trace_id]) for trace_id in created])
        sql.update_traces.execute(connection, [codec.trace_row(states[trace_id]) for trace_id in changed])
        sql.insert_events.execute_tuples(
            connection,
            [
                codec.event_row(
                    event, bucket_of(states[event.trace_id].create_time), content_hash, size + _completion(event)
                )
                for event, content_hash, size in deciding.recorded
            ],
        )
        sql.insert_paths.execute(connection, self._path_rows(deciding, paths_before))

    def _path_rows(self, deciding: Deciding, paths_before: dict[str, str]) -> list[dict[str, Any]]:
        time_in = self._codec.time_in
        rows = []
        for event, _, _ in deciding.recorded:
            # The path that the trace already has is recorded: most events of a trace carry the same one.
            if event.s3_path and event.s3_path != paths_before.get(event.trace_id):
                rows.append(
                    {
                        "s3_path": event.s3_path,
                        "created": event.sequence == 1,
                        "create_time": time_in(deciding.traces[event.trace_id].create_time),
                        "trace_id": event.trace_id,
                    }
                )
                paths_before[event.trace_id] = paths_before.get(event.trace_id) or event.s3_path
        return rows

    async def get_trace(self, trace_id: str) -> Trace | None:
        """Return the trace, or None when there is none."""
        return await self._database.read(lambda connection: self._get_trace(connection, trace_id))

    def _get_trace(self, connection: sa.Connection, trace_id: str) -> Trace | None:
        row = connection.execute(self._sql.trace, {"trace_id": trace_id}).one_or_none()
        return None if row is None else self._codec.trace(row)

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

        return await self._database.read(work)

    def _read_events(
        self, connection: sa.Connection, trace: Trace, after: int, count: int, most_bytes: int, at_least: int = 1
    ) -> list[TraceEvent]:
        place = {
            "bucket": bucket_of(trace.create_time),
            "trace_id": trace.trace_id,
            "after": after,
            "through": trace.last_sequence,
        }
        total, through = 0, after
        for sequence, size in connection.execute(self._sql.event_sizes, {**place, "count": count}):
            total += size
            if total > most_bytes and through >= after + at_least:
                break
            through = sequence
        if through == after:
            return []
        rows = connection.execute(self._sql.events, {**place, "through": through})
        return [self._codec.event(row) for row in rows]

    async def get_event(self, trace: Trace, trace_event_id: str) -> TraceEvent | None:
        """Return the trace's event with that id, or None."""
        parameters = {
            "bucket": bucket_of(trace.create_time),
            "trace_id": trace.trace_id,
            "trace_event_id": trace_event_id,
        }

        def work(connection: sa.Connection) -> TraceEvent | None:
            row = connection.execute(self._sql.event_by_id, parameters).one_or_none()
            return None if row is None else self._codec.event(row)

        return await self._database.read(work)

    async def find_by_path(self, s3_path: str, *, domain: str, domain_id: str, count: int) -> list[str]:
        """Return the ids of traces of which an event carried the path: created with it first, newest first."""
        statement = self._sql.by_path(domain=domain, domain_id=domain_id)
        parameters = {"s3_path": s3_path, "domain": domain, "domain_id": domain_id, "count": count}
        return await self._database.read(lambda connection: list(connection.scalars(statement, parameters)))

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
            rows = connection.execute(self._sql.newest_created, parameters)
            return [(trace_id, codec.time_out(create_time)) for trace_id, create_time in rows]

        return await self._database.read(work)

    async def changes(
        self, trace_ids: Sequence[str], s3_paths: Sequence[str]
    ) -> tuple[dict[str, int], dict[str, datetime]]:
        """Return the revision of each trace that exists, and the newest creation time of each path that has one."""

        def work(connection: sa.Connection) -> tuple[dict[str, int], dict[str, datetime]]:
            revisions: dict[str, int] = {}
            created: dict[str, datetime] = {}
            if trace_ids:
                keys = self._database.key_parameters([[trace_id] for trace_id in trace_ids])
                revisions = dict(connection.execute(self._sql.heads, keys).tuples())
            if s3_paths:
                keys = self._database.key_parameters([[s3_path] for s3_path in s3_paths])
                for s3_path, newest in connection.execute(self._sql.newest_per_path, keys):
                    if newest is not None:
                        created[s3_path] = self._codec.time_out(newest)
            return revisions, created

        return await self._database.read(work)

    async def list_traces(
        self, wanted: TraceFilter, *, before: tuple[datetime, str] | None, count: int
    ) -> tuple[list[Trace], tuple[datetime, str] | None]:
        """Return a page of matching traces, newest created first, and the position to go on from (None at the end)."""
        return await self._database.read(
            lambda connection: list_traces(connection, self._codec, wanted, before=before, count=count)
        )

    async def expiring(self, now: datetime, *, count: int) -> list[Trace]:
        """Return unfinished traces whose expire_time has come."""
        parameters = {"now": self._codec.time_in(now), "count": count}
        return await self._database.read(
            lambda connection: [self._codec.trace(row) for row in connection.execute(self._sql.expiring, parameters)]
        )

    async def ping(self) -> None:
        """Read something. Raises Unavailable when the database cannot be reached."""
        await self._database.read(lambda connection: connection.execute(sa.select(traces.c.trace_id).limit(1)).all())


def _completion(event: TraceEvent) -> int:
    """Return how many bytes at most an event grows by what the server fills in."""
    texts = (event.trace_id, event.trace_event_id, event.domain, event.domain_id)
    return 100 + sum(map(len, texts)) * (1 if all(map(str.isascii, texts)) else 4)
