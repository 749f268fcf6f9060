"""Traces and events as JSON: what `--format json` prints and what `--file` reads.

Fields are named as in the protos; what is not said is absent. Times are ISO 8601 with microseconds, durations are
milliseconds, statuses are words such as FINISHED.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from status_grpc.domain.errors import FieldViolation, InvalidArgument
from status_grpc.domain.events import (
    Dataset,
    ErrorDetail,
    EventDraft,
    ExceptionDetail,
    JsonObject,
    TraceEvent,
)
from status_grpc.domain.lineage import Lineage, LineageDirection, LineageEdge, LineageTrace
from status_grpc.domain.traces import Failure, ReportedError, Trace
from status_grpc.wire.status_names import read_event_status, read_trace_status
from status_grpc.wire.times import milliseconds

_SECONDS = re.compile(r"(\d+(?:\.\d+)?)s")


def event_object(event: TraceEvent) -> JsonObject:
    """Return the event."""
    return _without_unsaid(
        {
            "trace_id": event.trace_id,
            "trace_event_id": event.trace_event_id,
            "domain": event.domain,
            "domain_id": event.domain_id,
            "start_time": time_text(event.start_time),
            "end_time": time_text(event.end_time),
            "trace_status": event.trace_status,
            "trace_event_status": event.trace_event_status,
            "outcome": event.outcome,
            "user": event.user,
            "component": event.component,
            "operation": event.operation,
            "status_body": event.status_body,
            "meta": event.meta,
            "s3_path": event.s3_path,
            "duration": None if event.duration is None else milliseconds(event.duration),
            "exception": None if event.exception is None else _exception_object(event.exception),
            "errors": [_error_object(error) for error in event.errors],
            "inputs": [_dataset_object(dataset) for dataset in event.inputs],
            "outputs": [_dataset_object(dataset) for dataset in event.outputs],
            "step_id": event.step_id,
            "attempt": event.attempt or None,
            "sequence": event.sequence,
            "record_time": time_text(event.record_time),
            "run": event.run,
        }
    )


def trace_object(trace: Trace) -> JsonObject:
    """Return the trace's state."""
    return _without_unsaid(
        {
            "trace_id": trace.trace_id,
            "domain": trace.domain,
            "domain_id": trace.domain_id,
            "user": trace.user,
            "s3_path": trace.s3_path,
            "trace_status": trace.trace_status,
            "trace_event_status": trace.trace_event_status,
            "outcome": trace.outcome,
            "done": trace.done,
            "run": trace.run,
            "create_time": time_text(trace.create_time),
            "update_time": time_text(trace.update_time),
            "finish_time": time_text(trace.finish_time),
            "event_count": trace.event_count,
            "failed_event_count": trace.failed_event_count,
            "last_sequence": trace.last_sequence,
            "last_heard_time": time_text(trace.last_heard_time),
            "expire_time": time_text(trace.expire_time),
            "component": trace.component,
            "operation": trace.operation,
            "errors": [_reported_object(reported) for reported in trace.errors],
            "error_count": trace.error_count,
            "first_failure": None if trace.first_failure is None else _failure_object(trace.first_failure),
        }
    )


def lineage_object(lineage: Lineage, direction: LineageDirection) -> JsonObject:
    """Return the lineage."""
    return {
        "direction": direction,
        "edges": [_edge_object(edge) for edge in lineage.edges],
        "traces": [_lineage_trace_object(trace) for trace in lineage.traces],
        "truncated": lineage.truncated,
    }


def _edge_object(edge: LineageEdge) -> JsonObject:
    return {
        "trace_id": edge.trace_id,
        "written": edge.written,
        "dataset": _dataset_object(edge.dataset),
        "sequence": edge.sequence,
        "record_time": time_text(edge.record_time),
        "depth": edge.depth,
    }


def _lineage_trace_object(trace: LineageTrace) -> JsonObject:
    return _without_unsaid(
        {
            "trace_id": trace.trace_id,
            "domain": trace.domain,
            "domain_id": trace.domain_id,
            "trace_status": trace.trace_status,
            "trace_event_status": trace.trace_event_status,
            "outcome": trace.outcome,
            "done": trace.done,
            "create_time": time_text(trace.create_time),
            "finish_time": time_text(trace.finish_time),
            "component": trace.component,
        }
    )


def _exception_object(exception: ExceptionDetail) -> JsonObject:
    return _without_unsaid({"type": exception.type, "message": exception.message, "traceback": exception.traceback})


def _error_object(error: ErrorDetail) -> JsonObject:
    return _without_unsaid({"message": error.message, "details": error.details})


def _dataset_object(dataset: Dataset) -> JsonObject:
    return _without_unsaid({"uri": dataset.uri, "version": dataset.version})


def _reported_object(reported: ReportedError) -> JsonObject:
    return _without_unsaid(
        {
            "component": reported.component,
            "operation": reported.operation,
            "sequence": reported.sequence,
            "step_id": reported.step_id,
            "error": _error_object(reported.error),
        }
    )


def _failure_object(failure: Failure) -> JsonObject:
    return _without_unsaid(
        {
            "component": failure.component,
            "operation": failure.operation,
            "sequence": failure.sequence,
            "step_id": failure.step_id,
            "exception_type": failure.exception_type,
            "exception_message": failure.exception_message,
        }
    )


def _without_unsaid(fields: JsonObject) -> JsonObject:
    return {name: value for name, value in fields.items() if value is not None and value not in ("", [])}


def time_text(time: datetime | None) -> str | None:
    """Return the time in UTC, to the microsecond."""
    if time is None:
        return None
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def read_draft(value: object) -> EventDraft:
    """Return the event that a JSON value describes; what only the server says (sequence ...) is passed over.

    Raises InvalidArgument, which names every bad field.
    """
    if not isinstance(value, dict):
        raise InvalidArgument([FieldViolation("event", "must be a JSON object")])
    fields: dict[str, Any] = {}
    violations = []
    for name, given in value.items():
        if name in _NOT_SENT or given is None:
            continue
        try:
            fields[name] = _READERS[name](given)
        except KeyError:
            violations.append(FieldViolation(name, "is not a field of an event"))
        except (ValueError, OverflowError) as error:
            violations.append(FieldViolation(name, str(error)))
    if violations:
        raise InvalidArgument(violations)
    return EventDraft(**fields)


def _read_time(value: object) -> datetime | None:
    """Return the time of an ISO 8601 text, in UTC unless it says otherwise; "N/A" is no time."""
    if value == "N/A":
        return None
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError("must be a time such as 2026-01-31T12:00:00Z") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _read_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text")
    return value


def _read_object(value: object) -> JsonObject:
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")
    return value


def _read_duration(value: object) -> timedelta:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return timedelta(milliseconds=value)
        match = _SECONDS.fullmatch(value) if isinstance(value, str) else None
        if match is not None:
            return timedelta(seconds=float(match[1]))
    except (OverflowError, ValueError):  # ValueError: NaN
        raise ValueError("must be a duration of 0 to 315,576,000,000 s") from None
    raise ValueError('must be a number of milliseconds, or of seconds such as "1.5s"')


def _read_exception(value: object) -> ExceptionDetail:
    if isinstance(value, str):
        return ExceptionDetail(message=value)
    return ExceptionDetail(**_texts(value, ("type", "message", "traceback")))


def _texts(value: object, names: tuple[str, ...]) -> dict[str, str]:
    if not isinstance(value, dict) or not set(value) <= set(names):
        raise ValueError(f"must be an object with {', '.join(names)}")
    if not all(isinstance(text, str) for text in value.values()):
        raise ValueError(f"must have texts as {', '.join(names)}")
    return value


def _read_errors(value: object) -> tuple[ErrorDetail, ...]:
    return tuple(_read_error(item) for item in _items(value))


def _read_error(value: object) -> ErrorDetail:
    message = value.get("message") if isinstance(value, dict) else None
    if not isinstance(message, Mapping) or not all(isinstance(text, str) for text in message.values()):
        raise ValueError('must be a list of objects such as {"message": {"en": "..."}}')
    assert isinstance(value, dict)
    # Further keys beside the message were always allowed: they are the details.
    details = {key: item for key, item in value.items() if key not in ("message", "details")}
    details = {**_read_object(value.get("details") or {}), **details}
    return ErrorDetail(dict(message), details or None)


def _read_datasets(value: object) -> tuple[Dataset, ...]:
    return tuple(
        Dataset(uri=item) if isinstance(item, str) else Dataset(**{"uri": "", **_texts(item, ("uri", "version"))})
        for item in _items(value)
    )


def _items(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("must be a list")
    return value


def _read_attempt(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise ValueError("must be a whole number from 1 on")
    return value


#: What is printed beside what a caller sends.
_NOT_SENT = frozenset({"sequence", "record_time", "run", "outcome"})
_TEXT_FIELDS = (
    *("trace_id", "trace_event_id", "domain", "domain_id"),
    *("user", "component", "operation", "s3_path", "step_id"),
)
_READERS: dict[str, Callable[[object], Any]] = dict.fromkeys(_TEXT_FIELDS, _read_text) | {
    "start_time": _read_time,
    "end_time": _read_time,
    "trace_status": read_trace_status,
    "trace_event_status": read_event_status,
    "status_body": _read_object,
    "meta": _read_object,
    "duration": _read_duration,
    "exception": _read_exception,
    "errors": _read_errors,
    "inputs": _read_datasets,
    "outputs": _read_datasets,
    "attempt": _read_attempt,
}
