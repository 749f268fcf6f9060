"""The values a step reports: drafts as callers send them, events as they are recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias

JsonObject: TypeAlias = dict[str, Any]


class TraceStatus(StrEnum):
    """How far a trace has come, as one event reports it."""

    STARTED = "STARTED"
    CONTINUE = "CONTINUE"
    FINISHED = "FINISHED"


class TraceEventStatus(StrEnum):
    """Whether what one event reports went well."""

    OK = "OK"
    FAILED = "FAILED"


class Outcome(StrEnum):
    """How a trace or an event stands, in one word."""

    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"


def trace_outcome(done: bool, status: TraceEventStatus) -> Outcome:
    """Return the outcome of a trace.

    It is RUNNING until the trace is done, then OK or FAILED as the status of its end.
    """
    if not done:
        return Outcome.RUNNING
    return Outcome.FAILED if status is TraceEventStatus.FAILED else Outcome.OK


@dataclass(frozen=True, slots=True)
class ExceptionDetail:
    """An exception, as the component caught it. Empty strings: not said."""

    type: str = ""
    message: str = ""
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """One error in words for people: language tag -> text, and anything else about it for programs."""

    message: dict[str, str]
    details: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """Something that was read or written. `uri` is an exact string; `version` is empty where there are none."""

    uri: str
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDraft:
    """An event as its caller sent it. Empty strings, None and attempt 0 mean: not said.

    Times are timezone-aware and kept to the microsecond.
    """

    trace_id: str = ""
    trace_event_id: str = ""
    domain: str = ""
    domain_id: str = ""
    start_time: datetime | None = None
    end_time: datetime | None = None
    trace_status: TraceStatus | None = None
    trace_event_status: TraceEventStatus | None = None
    user: str = ""
    component: str = ""
    operation: str = ""
    status_body: JsonObject | None = None
    meta: JsonObject | None = None
    s3_path: str = ""
    duration: timedelta | None = None
    exception: ExceptionDetail | None = None
    errors: tuple[ErrorDetail, ...] = ()
    inputs: tuple[Dataset, ...] = ()
    outputs: tuple[Dataset, ...] = ()
    step_id: str = ""
    attempt: int = 0
    #: The size of the event as its edge received it, in bytes of protobuf. Not part of the value.
    encoded_bytes: int = field(default=0, compare=False)
    #: Becomes the `encodings` of the event that is recorded from this draft. Not part of the value.
    encodings: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceEvent:
    """An event as it was recorded: defaults filled in, with its place in the trace.

    `sequence` is 1, 2, 3 ... within the trace; `run` counts the trace's runs from 1.
    """

    trace_id: str
    trace_event_id: str
    domain: str
    domain_id: str
    start_time: datetime
    end_time: datetime | None = None
    trace_status: TraceStatus
    trace_event_status: TraceEventStatus
    user: str = ""
    component: str
    operation: str = ""
    status_body: JsonObject | None = None
    meta: JsonObject | None = None
    s3_path: str = ""
    duration: timedelta | None = None
    exception: ExceptionDetail | None = None
    errors: tuple[ErrorDetail, ...] = ()
    inputs: tuple[Dataset, ...] = ()
    outputs: tuple[Dataset, ...] = ()
    step_id: str = ""
    attempt: int = 0
    #: What the older routes received and no other field can hold, as JSON (`wire.old_events`). Only they use it.
    legacy: str = ""
    sequence: int
    record_time: datetime
    run: int
    #: About the size of the event as a protobuf message, in bytes. Not part of the value.
    encoded_bytes: int = field(default=0, compare=False)
    #: Where an edge may keep its encoding of this event, under a key of its own, so that an event that many follow is
    #: encoded once. Not part of the value.
    encodings: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def outcome(self) -> Outcome:
        """How the event stands.

        RUNNING: it starts a trace or a step and has no end time, duration or failure. Else OK or FAILED.
        """
        if self.trace_event_status is TraceEventStatus.FAILED:
            return Outcome.FAILED
        is_over = self.end_time is not None or self.duration is not None or self.trace_status is TraceStatus.FINISHED
        starts = bool(self.step_id) or self.trace_status is TraceStatus.STARTED
        return Outcome.RUNNING if starts and not is_over else Outcome.OK
