"""ListTraces: pages of traces, newest created first, each at a bounded cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from status_grpc.domain.events import TraceEventStatus, TraceStatus
from status_grpc.domain.traces import Trace
from status_grpc.storage.dialects import Database
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


class Listing:
    """Reads pages of traces. The statements are made once for each combination of what is asked for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._codec = database.codec

    def read(
        self, connection: sa.Connection, wanted: TraceFilter, *, before: tuple[datetime, str] | None, count: int
    ) -> tuple[list[Trace], tuple[datetime, str] | None]:
        """Return at most `count` matching traces older than `before`, and where to go on from (None at the end)."""
        shape, values = self._asked(wanted, before)
        statements = _statements(shape, SCANNED_PER_PAGE)
        codec, fetch = self._codec, self._database.fetch
        rows = fetch(connection, statements.page, {**values, "count": count + 1})
        page = [codec.trace(row) for row in rows[:count]]
        if len(rows) > count:
            return page, (page[-1].create_time, page[-1].trace_id)
        last = fetch(connection, statements.last_scanned, values) if statements.last_scanned is not None else []
        return page, (codec.time_out(last[0][0]), last[0][1]) if last else None

    def _asked(self, wanted: TraceFilter, before: tuple[datetime, str] | None) -> tuple[_Shape, dict[str, Any]]:
        """Return which conditions there are, and the values of their parameters."""
        time_in = self._codec.time_in
        values: dict[str, Any] = {
            name: value for name in ("domain", "domain_id", "user", "component") if (value := getattr(wanted, name))
        }
        values |= {
            name: time_in(time)
            for name in ("created_after", "updated_after", "updated_before")
            if (time := getattr(wanted, name))
        }
        if wanted.status is not None:
            values["status"] = wanted.status.value
        # What was last updated before a time was created before it.
        created_before = min((t for t in (wanted.created_before, wanted.updated_before) if t), default=None)
        # One upper bound, the lower of the two: given both, SQLite takes the time and reads the earlier pages again.
        if before and (created_before is None or before[0] < created_before):
            values["position_time"], values["position_id"] = time_in(before[0]), before[1]
        elif created_before:
            values["created_before"] = time_in(created_before)
        shape = _Shape(
            frozenset(values),
            unfinished=wanted.status in (TraceStatus.STARTED, TraceStatus.CONTINUE),
            outcome=wanted.outcome,
        )
        return shape, values


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a statement asks for: the parameters that it has, and the conditions that have none."""

    given: frozenset[str]
    unfinished: bool
    outcome: TraceEventStatus | None


class _Statements(NamedTuple):
    #: A page of traces.
    page: sa.Select[Any]
    #: The last trace that a page looked at when it checks traces one by one, if it looked at as many as it may.
    last_scanned: sa.Select[Any] | None


@lru_cache(maxsize=256)  # there are thousands of combinations, and a client may try them all
def _statements(shape: _Shape, scanned_per_page: int) -> _Statements:
    columns = traces.c
    newest_first = (columns.create_time.desc(), columns.trace_id.desc())
    scan = sa.select(traces).where(*_indexed(shape)).order_by(*newest_first)
    rest = _checked(shape)
    if not rest:
        return _Statements(scan.limit(sa.bindparam("count")), None)
    scanned = scan.limit(scanned_per_page).subquery("scanned")
    matching = sa.select(scanned).where(*(condition(scanned.c) for condition in rest))
    ordered = matching.order_by(scanned.c.create_time.desc(), scanned.c.trace_id.desc())
    last_scanned = (
        sa.select(columns.create_time, columns.trace_id)
        .where(*_indexed(shape))
        .order_by(*newest_first)
        .offset(scanned_per_page - 1)
        .limit(1)
    )
    return _Statements(ordered.limit(sa.bindparam("count")), last_scanned)


_Condition = Callable[[ReadOnlyColumnCollection[str, Any]], sa.ColumnElement[bool]]


def _indexed(shape: _Shape) -> list[sa.ColumnElement[bool]]:
    """Return the conditions that one index narrows; see the comments in `tables`."""
    columns, given = traces.c, shape.given
    created = columns.create_time
    conditions = [condition(columns) for condition in _narrowing(shape)[:1]]
    if "created_after" in given:
        conditions.append(created >= _parameter("created_after", created))
    if "position_time" in given:
        position = sa.tuple_(_parameter("position_time", created), _parameter("position_id", columns.trace_id))
        conditions.append(sa.tuple_(created, columns.trace_id) < position)
    if "created_before" in given:
        conditions.append(created < _parameter("created_before", created))
    return conditions


def _narrowing(shape: _Shape) -> list[_Condition]:
    """Return the conditions that have an index of their own, the most selective first: only that one is used.

    A partial index is used when a condition says the same as its own, to the letter: with the type Boolean it would be
    compared with 1 on SQLite, and no longer be the same.
    """
    conditions = [_equals(name) for name in ("domain_id", "user") if name in shape.given]
    if shape.unfinished:
        conditions.append(lambda c: sa.literal_column("(NOT done)"))  # noqa: ARG005
    if shape.outcome is TraceEventStatus.FAILED:
        failed = "(done AND trace_event_status = 'FAILED')"
        conditions.append(lambda c: sa.literal_column(failed))  # noqa: ARG005
    if "domain" in shape.given:
        conditions.append(_equals("domain"))
    return conditions


def _checked(shape: _Shape) -> list[_Condition]:
    """Return the conditions that are checked trace by trace."""
    given = shape.given
    conditions = _narrowing(shape)[1:]
    if "component" in given:
        conditions.append(_equals("component"))
    if "status" in given:
        conditions.append(lambda c: c.trace_status == _parameter("status", c.trace_status))
    if shape.outcome is TraceEventStatus.OK:
        conditions.append(lambda c: c.done.is_(True) & (c.trace_event_status == TraceEventStatus.OK.value))
    if "updated_after" in given:
        conditions.append(lambda c: c.update_time >= _parameter("updated_after", c.update_time))
    if "updated_before" in given:
        conditions.append(lambda c: c.update_time < _parameter("updated_before", c.update_time))
    return conditions


def _equals(name: str) -> _Condition:
    return lambda c: c[name] == _parameter(name, c[name])


def _parameter(name: str, column: sa.ColumnElement[Any]) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=column.type)
