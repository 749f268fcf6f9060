"""Recording and finding traces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from status_grpc.domain.decisions import AppendEvent, Beat, CreateTrace, Decision, Heard, Recorded, Replayed
from status_grpc.domain.errors import PathNotFound, StatusError, TraceNotFound
from status_grpc.domain.events import EventDraft, TraceEvent
from status_grpc.domain.ids import mint_event_id, mint_trace_id
from status_grpc.domain.traces import Trace
from status_grpc.service.callers import with_context
from status_grpc.service.fingerprint import fingerprint
from status_grpc.storage.group_commit import GroupCommit
from status_grpc.storage.listing import TraceFilter
from status_grpc.storage.store import Store

#: How many traces GetByPath names.
TRACES_PER_PATH = 100

#: How many bytes of encoded events one page holds at most, unless a single event is larger.
PAGE_BYTES = 3 * 1024 * 1024


@dataclass(slots=True)
class Update:
    """One event to append, valid as it stands, with the conditions of its call."""

    draft: EventDraft
    expected_sequence: int | None = None
    new_run: bool = False
    expire_time: datetime | None = None


@dataclass(slots=True)
class Receipt:
    """What is told of an event that was recorded in a batch."""

    trace_event_id: str
    sequence: int
    record_time: datetime


@dataclass(frozen=True, slots=True)
class TracePage:
    """A trace and a page of its events; `complete` when there were no more."""

    trace: Trace
    events: list[TraceEvent]
    complete: bool


class Traces:
    """Records and finds traces. Drafts are valid: the edges have checked them with `domain.validation`."""

    def __init__(self, store: Store, writer: GroupCommit, *, expire_after_seconds: float | None = None) -> None:
        self._store = store
        self._writer = writer
        self._expire_after = None if expire_after_seconds is None else timedelta(seconds=expire_after_seconds)

    async def create(self, draft: EventDraft, *, expire_time: datetime | None) -> tuple[Trace, TraceEvent]:
        """Start a trace; it gets the draft's trace id, or one that is minted."""
        event_id = draft.trace_event_id or mint_event_id()
        expire_time = expire_time or self._default_expiry()
        command = CreateTrace(
            trace_id=draft.trace_id or mint_trace_id(draft.domain_id, event_id),
            trace_event_id=event_id,
            draft=with_context(draft),
            content_hash=fingerprint(draft),
            expire_time=expire_time,
            retryable=bool(draft.trace_event_id),
        )
        decisions = await self._writer.submit((command,))
        return await self._recorded(decisions[0], command)

    def _default_expiry(self) -> datetime | None:
        """Return when a run that begins now expires unless its caller says otherwise."""
        return None if self._expire_after is None else datetime.now(UTC) + self._expire_after

    async def update(self, update: Update) -> tuple[Trace, TraceEvent]:
        """Append an event to its trace."""
        command = self._append(update)
        decisions = await self._writer.submit((command,))
        return await self._recorded(decisions[0], command)

    def _append(self, update: Update) -> AppendEvent:
        draft = update.draft
        expire_time = update.expire_time
        if update.new_run and expire_time is None:
            expire_time = self._default_expiry()
        return AppendEvent(
            trace_id=draft.trace_id,
            trace_event_id=draft.trace_event_id or mint_event_id(),
            draft=with_context(draft),
            content_hash=fingerprint(draft),
            expected_sequence=update.expected_sequence,
            new_run=update.new_run,
            expire_time=expire_time,
            retryable=bool(draft.trace_event_id),
        )

    async def batch_update(self, updates: Sequence[Update]) -> list[Receipt | StatusError]:
        """Append many events in one transaction; each has its own answer, in the order of the updates."""
        if not updates:
            return []
        commands = [self._append(update) for update in updates]
        decisions = await self._writer.submit(commands)
        return [await self._receipt(decision, command) for decision, command in zip(decisions, commands, strict=True)]

    async def _receipt(self, decision: Decision, command: AppendEvent) -> Receipt | StatusError:
        if isinstance(decision, StatusError):
            return decision
        if isinstance(decision, Recorded):
            event = decision.event
        else:
            _, event = await self._recorded(decision, command)
        return Receipt(event.trace_event_id, event.sequence, event.record_time)

    async def _recorded(self, decision: Decision, command: CreateTrace | AppendEvent) -> tuple[Trace, TraceEvent]:
        if isinstance(decision, Recorded):
            return decision.trace, decision.event
        if isinstance(decision, Replayed):
            event = await self._store.get_event(decision.trace, command.trace_event_id)
            if event is None:
                raise TraceNotFound(f"trace {command.trace_id!r} was deleted")
            return decision.trace, event
        if isinstance(decision, StatusError):
            raise decision
        raise AssertionError(decision)

    async def heartbeat(self, trace_id: str) -> Trace:
        """Note that the trace's producers are alive."""
        (decision,) = await self._writer.submit((Beat(trace_id),))
        if isinstance(decision, StatusError):
            raise decision
        assert isinstance(decision, Heard)
        return decision.trace

    async def get_trace(self, trace_id: str, *, after: int, count: int) -> TracePage:
        """Return the trace and at most `count` of its events with sequence > after. Raises TraceNotFound."""
        found = await self._store.get_trace_and_events(trace_id, after=after, count=count, most_bytes=PAGE_BYTES)
        if found is None:
            raise TraceNotFound(f"there is no trace {trace_id!r}")
        trace, events = found
        last = events[-1].sequence if events else after
        return TracePage(trace, events, complete=last >= trace.last_sequence)

    async def get_by_path(self, s3_path: str, *, domain: str, domain_id: str) -> tuple[Trace, list[str]]:
        """Return the first trace of the path and the ids of all (at most 100). Raises PathNotFound."""
        trace_ids = await self._store.find_by_path(s3_path, domain=domain, domain_id=domain_id, count=TRACES_PER_PATH)
        trace = await self._store.get_trace(trace_ids[0]) if trace_ids else None
        if trace is None:
            raise PathNotFound(f"no trace carries the path {s3_path!r}")
        return trace, trace_ids

    async def list_traces(
        self, wanted: TraceFilter, *, before: tuple[datetime, str] | None, count: int
    ) -> tuple[list[Trace], tuple[datetime, str] | None]:
        """Return a page of matching traces and the position to go on from (None at the end)."""
        return await self._store.list_traces(wanted, before=before, count=count)
