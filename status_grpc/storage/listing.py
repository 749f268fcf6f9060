"""ListTraces: pages of traces, newest created first, each at a bounded cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from status_grpc.domain.events import TraceEventStatus, TraceStatus
from status_grpc.domain.traces import Trace
from status_grpc.storage.rows import RowCodec
from status_grpc.storage.tables import traces

#: How many traces one page may look at. What an index narrows (time, domain, domain id, user, unfinished, failed) costs
#: nothing extra; the other filters are checked trace by trace, and a page that finds little says where to go on.
SCANNED_PER_PAGE = 5_000


@dataclass(frozen=True, slots=True)
class TraceFilter:
    """What to list; empty and None mean: any. The time ranges include their beginning and not their end."""

    domain: str = ""
    domain_id: str = ""
    user: str = ""
    component: str = ""
    status: TraceStatus | None = None
    outcome: TraceEventStatus | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    updated_after: datetime | None = None
    updated_before: datetime | None = None


def list_traces(
    connection: sa.Connection,
    codec: RowCodec,
    wanted: TraceFilter,
    *,
    before: tuple[datetime, str] | None,
    count: int,
) -> tuple[list[Trace], tuple[datetime, str] | None]:
    """Return at most `count` matching traces older than `before`, and the position to go on from (None at the end)."""
    columns = traces.c
    newest_first = (columns.create_time.desc(), columns.trace_id.desc())
    scan = sa.select(traces).where(*_indexed(codec, wanted, before)).order_by(*newest_first)
    rest = _checked(codec, wanted)
    if not rest:
        rows = connection.execute(scan.limit(count + 1)).all()
        page = [codec.trace(row) for row in rows[:count]]
        return page, _position(page[-1]) if len(rows) > count else None
    scanned = scan.limit(SCANNED_PER_PAGE).subquery("scanned")
    matching = sa.select(scanned).where(*(condition(scanned.c) for condition in rest))
    ordered = matching.order_by(scanned.c.create_time.desc(), scanned.c.trace_id.desc())
    rows = connection.execute(ordered.limit(count + 1)).all()
    page = [codec.trace(row) for row in rows[:count]]
    if len(rows) > count:
        return page, _position(page[-1])
    last = connection.execute(
        sa.select(columns.create_time, columns.trace_id)
        .where(*_indexed(codec, wanted, before))
        .order_by(*newest_first)
        .offset(SCANNED_PER_PAGE - 1)
        .limit(1)
    ).one_or_none()
    return page, None if last is None else (codec.time_out(last.create_time), last.trace_id)


def _position(trace: Trace) -> tuple[datetime, str]:
    return trace.create_time, trace.trace_id


_Condition = Callable[[ReadOnlyColumnCollection[str, Any]], sa.ColumnElement[bool]]


def _indexed(codec: RowCodec, wanted: TraceFilter, before: tuple[datetime, str] | None) -> list[sa.ColumnElement[bool]]:
    """Return the conditions that one index narrows; see the comments in `tables`."""
    columns = traces.c
    created, trace_id = columns.create_time, columns.trace_id
    conditions = [condition(columns) for condition in _narrowing(wanted)[:1]]
    if wanted.created_after:
        conditions.append(created >= _instant(codec, wanted.created_after))
    # What was last updated before a time was created before it.
    created_before = min((t for t in (wanted.created_before, wanted.updated_before) if t), default=None)
    # One upper bound, the lower of the two: given both, SQLite takes the time and reads the earlier pages again.
    if before and (created_before is None or before[0] < created_before):
        position = sa.tuple_(_instant(codec, before[0]), sa.literal(before[1], trace_id.type))
        conditions.append(sa.tuple_(created, trace_id) < position)
    elif created_before:
        conditions.append(created < _instant(codec, created_before))
    return conditions


def _narrowing(wanted: TraceFilter) -> list[_Condition]:
    """Return the conditions that have an index of their own, the most selective first: only that one is used.

    A partial index is used when a condition says the same as its own, to the letter: with the type Boolean it would be
    compared with 1 on SQLite, and no longer be the same.
    """
    conditions: list[_Condition] = []
    if wanted.domain_id:
        conditions.append(lambda c: c.domain_id == wanted.domain_id)
    if wanted.user:
        conditions.append(lambda c: c.user == wanted.user)
    if wanted.status in (TraceStatus.STARTED, TraceStatus.CONTINUE):
        conditions.append(lambda c: sa.literal_column("(NOT done)"))  # noqa: ARG005
    if wanted.outcome is TraceEventStatus.FAILED:
        failed = "(done AND trace_event_status = 'FAILED')"
        conditions.append(lambda c: sa.literal_column(failed))  # noqa: ARG005
    if wanted.domain:
        conditions.append(lambda c: c.domain == wanted.domain)
    return conditions


def _checked(codec: RowCodec, wanted: TraceFilter) -> list[_Condition]:
    """Return the conditions that are checked trace by trace."""
    conditions = _narrowing(wanted)[1:]
    status, outcome = wanted.status, wanted.outcome
    updated_after, updated_before = wanted.updated_after, wanted.updated_before
    if wanted.component:
        conditions.append(lambda c: c.component == wanted.component)
    if status is not None:
        conditions.append(lambda c: c.trace_status == status.value)
    if outcome is TraceEventStatus.OK:
        conditions.append(lambda c: c.done.is_(True) & (c.trace_event_status == outcome.value))
    if updated_after:
        conditions.append(lambda c: c.update_time >= _instant(codec, updated_after))
    if updated_before:
        conditions.append(lambda c: c.update_time < _instant(codec, updated_before))
    return conditions


def _instant(codec: RowCodec, time: datetime) -> sa.BindParameter[Any]:
    return sa.literal(codec.time_in(time), traces.c.create_time.type)
