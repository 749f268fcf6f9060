"""Recording and finding traces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from status_grpc.domain.decisions import AppendEvent, Beat, Command, CreateTrace, Decision, Heard, Recorded, Replayed
from status_grpc.domain.errors import PathNotFound, StatusError, TraceNotFound
from status_grpc.domain.events import EventDraft, TraceEvent
from status_grpc.domain.ids import mint_event_id, mint_trace_id
from status_grpc.domain.traces import Trace
from status_grpc.service.callers import caller_context, with_context
from status_grpc.service.fingerprint import fingerprint
from status_grpc.storage.group_commit import GroupCommit
from status_grpc.storage.listing import TraceFilter
from status_grpc.storage.store import Store

#: How many traces GetByPath names.
TRACES_PER_PATH = 100

#: How many bytes of encoded events one page holds at most, unless a single event is larger.
PAGE_BYTES = 3 * 1024 * 1024


@dataclass(slots=True)
class Creation:
    """The first event of a trace, valid as it stands, with the id that the trace shall have in it, if any."""

    draft: EventDraft
    expire_time: datetime | None = None
    #: `TraceEvent.legacy`.
    legacy: str = ""


@dataclass(slots=True)
class Update:
    """One event to append, valid as it stands, with the conditions of its call."""

    draft: EventDraft
    expected_sequence: int | None = None
    new_run: bool = False
    expire_time: datetime | None = None
    #: `TraceEvent.legacy`.
    legacy: str = ""


@dataclass(slots=True)
class Receipt:
    """What is told of an event that was recorded in a batch."""

    trace_event_id: str
    sequence: int
    record_time: datetime
    #: Whether an earlier call had recorded it.
    recorded_before: bool = False


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

    async def create(self, creation: Creation) -> tuple[Trace, TraceEvent]:
        """Start a trace; it gets the draft's trace id, or one that is minted."""
        return await self._recorded(await self._writer.submit((self._creation(creation, caller_context()),)))

    async def create_unread(self, read: Callable[[], Creation], *, size: int) -> tuple[Trace, TraceEvent]:
        """Start a trace as `read` says when its turn comes; what it raises is raised. `size` is of what is read."""
        context = caller_context()

        def command() -> Sequence[Command]:
            return (self._creation(read(), context),)

        return await self._recorded(await self._writer.submit_unread(command, size=size))

    def _creation(self, creation: Creation, context: Mapping[str, str] | None) -> CreateTrace:
        draft = creation.draft
        event_id = draft.trace_event_id or mint_event_id()
        return CreateTrace(
            trace_id=draft.trace_id or mint_trace_id(draft.domain_id, event_id),
            trace_event_id=event_id,
            draft=with_context(draft, context),
            content_hash=fingerprint(draft),
            expire_time=creation.expire_time or self._default_expiry(),
            retryable=bool(draft.trace_event_id),
            legacy=creation.legacy,
        )

    def _default_expiry(self) -> datetime | None:
        """Return when a run that begins now expires unless its caller says otherwise."""
        return None if self._expire_after is None else datetime.now(UTC) + self._expire_after

    async def update(self, update: Update) -> tuple[Trace, TraceEvent]:
        """Append an event to its trace."""
        return await self._recorded(await self._writer.submit((self._append(update, caller_context()),)))

    async def update_unread(self, read: Callable[[], Update], *, size: int) -> tuple[Trace, TraceEvent]:
        """Append an event as `read` says when its turn comes; what it raises is raised. `size` is of what is read."""
        context = caller_context()

        def command() -> Sequence[Command]:
            return (self._append(read(), context),)

        return await self._recorded(await self._writer.submit_unread(command, size=size))

    def _append(self, update: Update, context: Mapping[str, str] | None) -> AppendEvent:
        draft = update.draft
        expire_time = update.expire_time
        if update.new_run and expire_time is None:
            expire_time = self._default_expiry()
        return AppendEvent(
            trace_id=draft.trace_id,
            trace_event_id=draft.trace_event_id or mint_event_id(),
            draft=with_context(draft, context),
            content_hash=fingerprint(draft),
            expected_sequence=update.expected_sequence,
            new_run=update.new_run,
            expire_time=expire_time,
            retryable=bool(draft.trace_event_id),
            legacy=update.legacy,
        )

    async def batch_update(self, writes: Sequence[Update | Creation]) -> list[Receipt | StatusError]:
        """Append many events, or start traces, in one transaction.

        Return the result of each write, in their order.
        """
        if not writes:
            return []
        context = caller_context()
        decisions = await self._writer.submit(
            [
                self._append(write, context) if isinstance(write, Update) else self._creation(write, context)
                for write in writes
            ]
        )
        results: list[Receipt | StatusError] = []
        for decision in decisions:
            if isinstance(decision, StatusError):
                results.append(decision)
            elif isinstance(decision, Recorded):
                results.append(_receipt(decision.event))
            else:
                _, event = await self._recorded([decision])
                results.append(_receipt(event, recorded_before=True))
        return results

    async def _recorded(self, decisions: Sequence[Decision]) -> tuple[Trace, TraceEvent]:
        """Return what the only decision says was recorded, now or before; raise the error that it may be."""
        (decision,) = decisions
        if isinstance(decision, Recorded):
            return decision.trace, decision.event
        if isinstance(decision, Replayed):
            event = await self._store.get_event(decision.trace, decision.trace_event_id)
            if event is None:
                raise TraceNotFound(f"trace {decision.trace.trace_id!r} was deleted")
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


def _receipt(event: TraceEvent, *, recorded_before: bool = False) -> Receipt:
    return Receipt(event.trace_event_id, event.sequence, event.record_time, recorded_before)
