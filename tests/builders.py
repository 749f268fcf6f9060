"""Drafts and commands with as little said as a test needs."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import Any

from status_grpc.domain.decisions import AppendEvent, CreateTrace
from status_grpc.domain.events import ErrorDetail, EventDraft, TraceEventStatus, TraceStatus
from status_grpc.service.fingerprint import fingerprint
from status_grpc.wire.events import draft_message

_minted = count(1)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)

FINISHED_OK: dict[str, Any] = {"trace_status": TraceStatus.FINISHED, "trace_event_status": TraceEventStatus.OK}
FINISHED_FAILED: dict[str, Any] = {"trace_status": TraceStatus.FINISHED, "trace_event_status": TraceEventStatus.FAILED}


def draft(**fields: Any) -> EventDraft:
    """Return a valid draft with these fields."""
    return EventDraft(**{"domain": "dataset", "domain_id": "cycling/1", "component": "validator"} | fields)


def sized(event: EventDraft) -> EventDraft:
    """Return the draft as an edge would have received it: with its size."""
    object.__setattr__(event, "encoded_bytes", draft_message(event).ByteSize())
    return event


def error(text: str, tag: str = "en") -> ErrorDetail:
    return ErrorDetail({tag: text})


def create(trace_id: str, event_id: str = "", *, expire_time: datetime | None = None, **fields: Any) -> CreateTrace:
    """Return the command that starts the trace; with an event id it can be retried."""
    event = sized(draft(**fields))
    return CreateTrace(
        trace_id=trace_id,
        trace_event_id=event_id or f"minted-{next(_minted)}",
        draft=event,
        content_hash=fingerprint(event),
        expire_time=expire_time,
        retryable=bool(event_id),
    )


def append(
    trace_id: str,
    event_id: str = "",
    *,
    expected_sequence: int | None = None,
    new_run: bool = False,
    expire_time: datetime | None = None,
    **fields: Any,
) -> AppendEvent:
    """Return the command that appends to the trace; with an event id it can be retried."""
    event = sized(draft(trace_id=trace_id, **{"domain": "", "domain_id": ""} | fields))
    return AppendEvent(
        trace_id=trace_id,
        trace_event_id=event_id or f"minted-{next(_minted)}",
        draft=event,
        content_hash=fingerprint(event),
        expected_sequence=expected_sequence,
        new_run=new_run,
        expire_time=expire_time,
        retryable=bool(event_id),
    )
