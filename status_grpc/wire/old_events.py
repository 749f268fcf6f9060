"""Events as the older status service spoke them: JSON with 17 fields, some of them under two names.

Absent fields are absent, never null; times are ISO 8601 (without an offset they are UTC), `end_time` may be "N/A",
`duration` is in milliseconds, `exception` is a text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from status_grpc.domain.errors import FieldViolation
from status_grpc.domain.events import (
    ErrorDetail,
    EventDraft,
    ExceptionDetail,
    JsonObject,
    TraceEvent,
)
from status_grpc.domain.limits import Limits
from status_grpc.wire.json_values import check_value
from status_grpc.wire.status_names import read_event_status, read_trace_status
from status_grpc.wire.times import milliseconds

#: What the fields were called before: accepted, and answered by their newer names.
OLDER_NAMES = {
    "id": "trace_id",
    "application": "domain",
    "application_id": "domain_id",
    "date_started": "start_time",
    "date_end": "end_time",
    "handler": "component",
    "run_status": "trace_status",
    "status": "trace_event_status",
    "s3path": "s3_path",
    "body": "status_body",
}
#: What the first event of a trace, and every other one, must say.
REQUIRED_TO_CREATE = ("domain", "domain_id", "start_time", "end_time", "component")
REQUIRED_TO_UPDATE = ("domain", "start_time", "end_time", "trace_status", "trace_event_status", "component")

_NOT_SAID = "N/A"
_TEXTS = ("trace_id", "trace_event_id", "domain", "domain_id", "user", "component", "operation", "s3_path")
_LONGEST_DURATION = timedelta(seconds=315_576_000_000)  # that of google.protobuf.Duration
#: "ZeroDivisionError: division by zero", but not "warning: disk almost full".
_TYPED_EXCEPTION = re.compile(
    r"([A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning|Timeout)): (\S.*)", re.DOTALL | re.ASCII
)


def read_old_event(
    value: JsonObject, limits: Limits, violations: list[FieldViolation], *, required: Iterable[str] = ()
) -> EventDraft:
    """Return the event of a JSON object, and add a violation for everything that cannot be one.

    Fields that are not known are passed over, null is absent, and the text of an exception is cut at its limit: what
    matters is that a step has failed.
    """
    said = {OLDER_NAMES.get(name, name): item for name, item in value.items() if item is not None}
    # Where both names are given the newer one counts.
    said |= {name: item for name, item in value.items() if item is not None and name not in OLDER_NAMES}
    for name in required:
        if said.get(name) in (None, ""):
            violations.append(FieldViolation(f"event.{name}", "is required"))
    fields: dict[str, Any] = {}
    reported = said.get("errors")
    if isinstance(reported, list) and len(reported) > limits.errors_per_event:
        excess = f"has {len(said.pop('errors'))} entries, more than {limits.errors_per_event}"
        violations.append(FieldViolation("event.errors", excess))
    for name, read in _READERS.items():
        if name in said:
            try:
                fields[name] = read(said[name])
            except (ValueError, OverflowError) as error:
                violations.append(FieldViolation(f"event.{name}", str(error)))
    if fields.get("exception") is not None:
        fields["exception"] = _cut(fields["exception"], limits)
    draft = EventDraft(**fields)
    for name in ("status_body", "meta"):
        check_value(f"event.{name}", getattr(draft, name), limits, violations)
    for index, detail in enumerate(draft.errors):
        check_value(f"event.errors[{index}]", detail.details, limits, violations)
    return draft


def _read_text(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError("must be a text")
    return value


def _read_start(value: object) -> datetime:
    try:
        time = datetime.fromisoformat(str(value))
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be a time such as 2026-01-31T12:00:00.123456+00:00") from None


def _read_end(value: object) -> datetime | None:
    return None if value == _NOT_SAID else _read_start(value)


def _read_object(value: object) -> JsonObject | None:
    if value == _NOT_SAID:
        return None
    return value if isinstance(value, dict) else {"value": value}


def _read_duration(value: object) -> timedelta | None:
    if value == _NOT_SAID:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError("must be a number of milliseconds")
    try:
        duration = timedelta(milliseconds=value)
    except OverflowError:
        duration = timedelta.max
    if abs(duration) > _LONGEST_DURATION:
        raise ValueError("is longer than 10,000 years")
    return duration


def _read_exception(value: object) -> ExceptionDetail | None:
    if not isinstance(value, str):
        raise ValueError("must be a text")
    match = _TYPED_EXCEPTION.fullmatch(value)
    if match is not None:
        return ExceptionDetail(match[1], match[2])
    return ExceptionDetail(message=value) if value else None


def _cut(exception: ExceptionDetail, limits: Limits) -> ExceptionDetail:
    if len(exception.type) > limits.name_length:
        exception = ExceptionDetail(message=f"{exception.type}: {exception.message}")
    return ExceptionDetail(exception.type, exception.message[: limits.exception_message_length])


def _read_errors(value: object) -> tuple[ErrorDetail, ...]:
    if not isinstance(value, list):
        raise ValueError("must be a list")
    return tuple(map(_read_error, value))


def _read_error(value: object) -> ErrorDetail:
    message = value.get("message") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(message, dict):
        raise ValueError('must be a list of objects such as {"message": {"nb": "...", "en": "..."}}')
    texts = {tag: text for tag, text in message.items() if text is not None}
    if not all(isinstance(text, str) for text in texts.values()):
        raise ValueError("must have texts in their messages")
    details = {key: item for key, item in value.items() if key != "message"}
    return ErrorDetail(texts, details or None)


_READERS: dict[str, Callable[[object], Any]] = dict.fromkeys(_TEXTS, _read_text) | {
    "start_time": _read_start,
    "end_time": _read_end,
    "trace_status": read_trace_status,
    "trace_event_status": read_event_status,
    "status_body": _read_object,
    "meta": _read_object,
    "duration": _read_duration,
    "exception": _read_exception,
    "errors": _read_errors,
}


def old_event(event: TraceEvent) -> JsonObject:
    """Return the event as the older service answered it. An event that is not over has the end_time "N/A"."""
    fields: JsonObject = {
        "trace_id": event.trace_id,
        "trace_event_id": event.trace_event_id,
        "domain": event.domain,
        "domain_id": event.domain_id,
        "start_time": _time_text(event.start_time),
        "end_time": _NOT_SAID if event.end_time is None else _time_text(event.end_time),
        "trace_status": event.trace_status.value,
        "trace_event_status": event.trace_event_status.value,
        "user": event.user,
        "component": event.component,
        "operation": event.operation,
        "status_body": event.status_body,
        "meta": event.meta,
        "s3_path": event.s3_path,
        "duration": None if event.duration is None else milliseconds(event.duration),
        "exception": None if event.exception is None else exception_text(event.exception),
        "errors": [_error_object(error) for error in event.errors] or None,
    }
    return {name: item for name, item in fields.items() if item is not None and item != ""}


def _time_text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def exception_text(exception: ExceptionDetail) -> str:
    """Return the exception in one text, as Python prints it: its type and its message, or what there is of them."""
    return ": ".join(filter(None, (exception.type, exception.message))) or exception.traceback


def _error_object(error: ErrorDetail) -> JsonObject:
    details = error.details or {}
    if "message" in details:  # said over gRPC; beside the message it would replace it
        details = {"details": details}
    return {"message": error.message, **details}
