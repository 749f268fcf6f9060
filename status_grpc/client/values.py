"""What the client takes and answers, beside the values of `status_grpc.domain`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypedDict

from status_grpc.domain.errors import StatusError
from status_grpc.domain.events import (
    Dataset,
    ErrorDetail,
    EventDraft,
    ExceptionDetail,
    JsonObject,
    TraceEvent,
    TraceEventStatus,
    TraceStatus,
)
from status_grpc.domain.traces import Trace


class EventFields(TypedDict, total=False):
    """The fields of an `EventDraft`, as keyword arguments."""

    trace_id: str
    trace_event_id: str
    domain: str
    domain_id: str
    start_time: datetime | None
    end_time: datetime | None
    trace_status: TraceStatus | None
    trace_event_status: TraceEventStatus | None
    user: str
    component: str
    operation: str
    status_body: JsonObject | None
    meta: JsonObject | None
    s3_path: str
    duration: timedelta | None
    exception: ExceptionDetail | None
    errors: Sequence[ErrorDetail]
    inputs: Sequence[Dataset]
    outputs: Sequence[Dataset]
    step_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Written:
    """The event as it was recorded, and its trace as it is now."""

    trace: Trace
    event: TraceEvent


@dataclass(frozen=True, slots=True)
class Update:
    """One event of a batch, with what only its own request says. `draft` needs trace_id and component."""

    draft: EventDraft
    expected_sequence: int | None = None
    new_run: bool = False
    expire_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """The result of one update of a batch.

    It was recorded as `sequence` at `record_time`, or not because of `error`. `recorded_before` is True if an earlier
    call had recorded it.
    """

    trace_event_id: str
    sequence: int = 0
    record_time: datetime | None = None
    error: StatusError | None = None
    recorded_before: bool = False


@dataclass(frozen=True, slots=True)
class RunEventResult(UpdateResult):
    """The result of recording an OpenLineage RunEvent.

    `left_out` names the parts that were not recorded as they came, each with what became of it.
    """

    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TraceHistory:
    """A trace as it is now and its events, oldest first."""

    trace: Trace
    events: tuple[TraceEvent, ...]


@dataclass(frozen=True, slots=True)
class PathMatch:
    """The traces of a path: the first of `trace_ids` as it is now, and the ids of at most 100."""

    trace: Trace
    trace_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a stream stands, by three clocks: the stream's, the store's and the producers'.

    `trace_id` is empty while the trace does not exist yet. Everything up to `sequence` was delivered. `read_time` is
    when the store was last read successfully, `last_heard_time` when the trace's producers were last heard. `trace`
    is set on the first checkpoint of a stream, on the one that ends the history and on the last.
    """

    trace_id: str
    sequence: int
    caught_up: bool
    done: bool
    server_time: datetime
    read_time: datetime | None = None
    last_heard_time: datetime | None = None
    trace: Trace | None = None
