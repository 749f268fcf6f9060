"""What becomes of one write, given what its trace holds: pure, so that every store decides alike.

A store gathers writes, reads the states of their traces under lock, asks `Deciding` about each in order, and stores
the outcome of all in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple, TypeAlias

from status_grpc.domain.errors import (
    AlreadyExists,
    SequenceMismatch,
    StatusError,
    TraceExists,
    TraceFull,
    TraceNotFound,
)
from status_grpc.domain.events import EventDraft, TraceEvent, TraceStatus
from status_grpc.domain.traces import Trace, apply, heard, record, record_first


@dataclass(slots=True)
class CreateTrace:
    """Start a trace with this event. The ids are the caller's, or were minted where it gave none."""

    trace_id: str
    trace_event_id: str
    draft: EventDraft
    content_hash: str
    expire_time: datetime | None = None
    #: Whether the caller chose the event's id: only then can the id have been seen before.
    retryable: bool = True
    #: `TraceEvent.legacy`.
    legacy: str = ""


@dataclass(slots=True)
class AppendEvent:
    """Append this event to its trace. The ids are the caller's, or were minted where it gave none."""

    trace_id: str
    trace_event_id: str
    draft: EventDraft
    content_hash: str
    expected_sequence: int | None = None
    new_run: bool = False
    expire_time: datetime | None = None
    #: Whether the caller chose the event's id: only then can the id have been seen before.
    retryable: bool = True
    #: `TraceEvent.legacy`.
    legacy: str = ""


@dataclass(slots=True)
class Beat:
    """Note that the producers of this trace are alive."""

    trace_id: str


Command: TypeAlias = CreateTrace | AppendEvent | Beat


@dataclass(slots=True)
class Recorded:
    """The event was recorded now; `trace` is the state after it."""

    trace: Trace
    event: TraceEvent
    #: The id of the event before it, empty if it is the first.
    after_event_id: str = ""


@dataclass(slots=True)
class Replayed:
    """The event had been recorded before, as this sequence; `trace` is the state now."""

    trace: Trace
    sequence: int
    trace_event_id: str


@dataclass(slots=True)
class Heard:
    """The heartbeat was noted; `trace` is the state after it."""

    trace: Trace


Decision: TypeAlias = Recorded | Replayed | Heard | StatusError


class KnownEvent(NamedTuple):
    """What is remembered of an event's id: where it was recorded and the hash of what its caller sent."""

    sequence: int
    content_hash: str


@dataclass(slots=True)
class Deciding:
    """Decides the writes of one transaction, in order, each seeing what those before it did.

    `traces` and `known` are what the store holds (read under lock), keyed by trace id and by (trace id, event id).
    Afterwards `created` names the traces that are new, `traces` has the states to store (those in `changed`), and
    `recorded` the new events with their content hash and encoded size.
    """

    traces: dict[str, Trace]
    known: dict[tuple[str, str], KnownEvent]
    events_per_trace: int
    recorded: list[tuple[TraceEvent, str, int]] = field(default_factory=list)
    created: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)

    def decide_all(self, commands: Iterable[Command], *, now: datetime) -> list[Decision]:
        """Decide each command; an error is that command's decision and touches no other."""
        return [self.decide(command, now=now) for command in commands]

    def decide(self, command: Command, *, now: datetime) -> Decision:
        """Decide one command."""
        try:
            match command:
                case AppendEvent():
                    return self._append(command, now)
                case CreateTrace():
                    return self._create(command, now)
                case Beat():
                    return self._beat(command, now)
        except StatusError as error:
            # As a value it must not keep its frames: a frame that holds the error would make a reference cycle.
            return error.with_traceback(None)

    def _create(self, command: CreateTrace, now: datetime) -> Decision:
        trace = self.traces.get(command.trace_id)
        if trace is not None:
            replayed = self._replayed(trace, command)
            if replayed is not None and replayed.sequence == 1:
                return replayed
            raise TraceExists(f"a trace with id {command.trace_id!r} exists already")
        event = record_first(command.draft, command.trace_id, command.trace_event_id, now=now, legacy=command.legacy)
        self.created.add(command.trace_id)
        return self._store(apply(None, event), event, command)

    def _append(self, command: AppendEvent, now: datetime) -> Decision:
        trace = self._existing(command.trace_id)
        if command.retryable:
            replayed = self._replayed(trace, command)
            if replayed is not None:
                return replayed
        expected = command.expected_sequence
        if expected is not None and expected != trace.last_sequence:
            raise SequenceMismatch(
                f"expected_sequence is {expected}, but the last sequence of trace {trace.trace_id!r} is "
                f"{trace.last_sequence}"
            )
        # The trace's time never runs backwards, whatever the clocks of the replicas say.
        event = record(
            trace,
            command.draft,
            command.trace_event_id,
            new_run=command.new_run,
            now=max(now, trace.update_time),
            legacy=command.legacy,
        )
        ends_run = event.trace_status is TraceStatus.FINISHED and (command.new_run or not trace.done)
        if trace.event_count >= self.events_per_trace and not ends_run:
            raise TraceFull(f"trace {trace.trace_id!r} has {trace.event_count} events, as many as a trace may have")
        return self._store(apply(trace, event), event, command, trace.last_event_id)

    def _beat(self, command: Beat, now: datetime) -> Decision:
        trace = heard(self._existing(command.trace_id), now=now)
        self.traces[command.trace_id] = trace
        self.changed.add(command.trace_id)
        return Heard(trace)

    def _existing(self, trace_id: str) -> Trace:
        trace = self.traces.get(trace_id)
        if trace is None:
            raise TraceNotFound(f"there is no trace {trace_id!r}")
        return trace

    def _replayed(self, trace: Trace, command: CreateTrace | AppendEvent) -> Replayed | None:
        known = self.known.get((command.trace_id, command.trace_event_id))
        if known is None:
            return None
        if known.content_hash != command.content_hash:
            raise AlreadyExists(
                f"trace_event_id {command.trace_event_id!r} is event {known.sequence} of trace {command.trace_id!r}, "
                "with other content"
            )
        return Replayed(trace, known.sequence, command.trace_event_id)

    def _store(
        self, trace: Trace, event: TraceEvent, command: CreateTrace | AppendEvent, after_event_id: str = ""
    ) -> Recorded:
        content_hash = command.content_hash
        if command.expire_time is not None:
            trace = replace(trace, expire_time=command.expire_time)
        self.traces[event.trace_id] = trace
        self.changed.add(event.trace_id)
        if command.retryable:
            self.known[event.trace_id, event.trace_event_id] = KnownEvent(event.sequence, content_hash)
        self.recorded.append((event, content_hash, command.draft.encoded_bytes))
        return Recorded(trace, event, after_event_id)


def keys_to_look_up(commands: Iterable[Command]) -> Mapping[str, list[str]]:
    """Return the event ids, by trace id, that may have been recorded before."""
    keys: dict[str, list[str]] = {}
    for command in commands:
        if not isinstance(command, Beat) and command.retryable:
            keys.setdefault(command.trace_id, []).append(command.trace_event_id)
    return keys
