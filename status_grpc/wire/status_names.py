"""Statuses as JSON and people write them: by their names, those of the protocol included."""

from __future__ import annotations

from status_grpc.domain.events import TraceEventStatus, TraceStatus


def read_trace_status(value: object) -> TraceStatus:
    """Return the status of a name: `FINISHED`, `finished` or `TRACE_STATUS_FINISHED`. Raises ValueError."""
    return TraceStatus(_one_of(TraceStatus, "TRACE_STATUS_", value))


def read_event_status(value: object) -> TraceEventStatus:
    """Return the status of a name: `FAILED`, `failed` or `TRACE_EVENT_STATUS_FAILED`. Raises ValueError."""
    return TraceEventStatus(_one_of(TraceEventStatus, "TRACE_EVENT_STATUS_", value))


def _one_of(kind: type[TraceStatus] | type[TraceEventStatus], prefix: str, value: object) -> str:
    word = str(value).upper().removeprefix(prefix)
    if word not in kind.__members__:
        raise ValueError(f"must be one of {', '.join(kind.__members__)}")
    return word
