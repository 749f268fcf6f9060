"""From what a step says about itself to an event that the service takes: nothing in here ever fails a step.

Values are converted generously, cut to what the service takes, and left out (with a warning) when nothing can be made
of them. Only `check_errors` raises, because it is about a mistake in the program.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

from status_grpc.client.reporting.once import warn_once
from status_grpc.client.reporting.plain import cleaned, plain_object
from status_grpc.domain.errors import FieldViolation
from status_grpc.domain.events import (
    Dataset,
    ErrorDetail,
    EventDraft,
    ExceptionDetail,
    TraceEventStatus,
    TraceStatus,
)
from status_grpc.domain.limits import Limits
from status_grpc.domain.text import escape_surrogates
from status_grpc.domain.validation import check_id, check_path
from status_grpc.wire.times import encode_duration, encode_time

T = TypeVar("T")

_LIMITS = Limits()
#: How much of a traceback is kept, in characters: its end, which says what happened.
_TRACEBACK_LENGTH = 16 * 1024
#: How many frames of it.
_FRAMES = 100
_EXCEPTION_LENGTH = 4096


def check_errors(errors: object, language: str | None = None) -> None:
    """Check errors for people: a list of {"message": {language: text}}, with `language` among them if one is given.

    Raises TypeError or ValueError.
    """
    if not isinstance(errors, list | tuple):
        raise TypeError(f"errors must be a list, not {type(errors).__name__}")
    for error in errors:
        if isinstance(error, ErrorDetail):
            continue
        if not isinstance(error, Mapping):
            raise TypeError(f"an error must be a dict such as {{'message': {{'nb': '...'}}}}, not {error!r}")
        if "message" not in error:
            raise ValueError(f"the error {error!r} has no 'message'")
        message = error["message"]
        if not isinstance(message, Mapping):
            raise TypeError(f"the 'message' of an error must be a dict of language to text, not {message!r}")
        if not message or (language is not None and language not in message):
            raise ValueError(f"the 'message' of an error needs a text in {language or 'at least one language'!r}")


def _attempt(value: Any) -> int:
    attempt = int(value)
    if not 0 <= attempt < 2**31:
        raise ValueError("not an int32 from 0")
    return attempt


def to_draft(fields: Mapping[str, Any]) -> EventDraft:
    """Return the event that these fields describe; None means that a field is not said."""
    values = {}
    for name, value in fields.items():
        if value is None:
            continue
        convert = _CONVERTERS.get(name)
        if convert is None:
            warn_once(f"field {name}", "status-grpc: an event has no field %r; it is left out", name)
            continue
        try:
            values[name] = convert(value)
        except Exception as error:
            warn_once(f"value {name}", "status-grpc: %s=%.100s is left out: %s", name, _Shown(value), error)
    return EventDraft(**values)


class _Shown:
    """A value in a log message, whose text is made late."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        try:
            return repr(self._value)
        except Exception:  # an int of too many digits, for example
            return f"a value of type {type(self._value).__name__}"


def exception_detail(error: BaseException) -> ExceptionDetail:
    """Return the exception with its traceback, whose length is bounded."""
    try:
        message = str(error)
    except Exception:
        message = "(its text cannot be had)"
    try:
        lines = traceback.format_exception(type(error), error, error.__traceback__, limit=-_FRAMES)
        trace = "".join(lines)[-_TRACEBACK_LENGTH:]  # cut before it is cleaned: it may be very long
    except Exception:
        trace = ""
    return _detail(type(error).__qualname__, message, trace)


def _detail(kind: str, message: str, trace: str) -> ExceptionDetail:
    return ExceptionDetail(
        cleaned(kind, _LIMITS.name_length),
        cleaned(message, _EXCEPTION_LENGTH),
        # The end of a traceback says what happened.
        cleaned(trace)[-_TRACEBACK_LENGTH:],
    )


def _text(longest: int | None) -> Callable[[object], str]:
    def convert(value: object) -> str:
        return cleaned(value if isinstance(value, str) else str(value), longest)

    return convert


def _path(value: object) -> str:
    text = os.fsdecode(value) if isinstance(value, os.PathLike | bytes) else str(value)
    path = escape_surrogates(text)
    violations: list[FieldViolation] = []
    check_path("path", path, _LIMITS, violations)
    _raise_first(violations)
    return path


def _event_id(value: object) -> str:
    event_id = escape_surrogates(str(value))
    violations: list[FieldViolation] = []
    check_id("id", event_id, _LIMITS, violations)
    _raise_first(violations)
    return event_id


def _raise_first(violations: list[FieldViolation]) -> None:
    if violations:
        raise ValueError(violations[0].description)


def _time(value: object) -> datetime | None:
    if isinstance(value, str):
        if value == "N/A":
            return None
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise TypeError("is not a time")
    time = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    encode_time(time)
    return time


def _duration(value: object) -> timedelta:
    if not isinstance(value, timedelta):
        value = timedelta(milliseconds=float(value))  # type: ignore[arg-type]
    duration = max(value, timedelta())
    encode_duration(duration)
    return duration


def _member(value: object) -> str:
    # An Enum of another library with the same values, or a plain string.
    return str(getattr(value, "value", value))


def _exception(value: object) -> ExceptionDetail:
    if isinstance(value, ExceptionDetail):
        return _detail(value.type, value.message, value.traceback)
    if isinstance(value, BaseException):
        return exception_detail(value)
    return _detail("", str(value), "")


def _object(value: object) -> dict[str, Any]:
    plain = plain_object(value, _LIMITS.json_depth)
    return plain if isinstance(plain, dict) else {"value": plain}


def _errors(value: Iterable[Any]) -> tuple[ErrorDetail, ...]:
    return _each("error", _error, islice(value, _LIMITS.errors_per_event))


def _error(error: Any) -> ErrorDetail:
    if isinstance(error, ErrorDetail):
        error = {"message": error.message} | (error.details or {})
    message = {
        _language_tag(tag): cleaned(str(text), _LIMITS.error_text_length)
        for tag, text in islice(error["message"].items(), _LIMITS.error_languages)
    }
    if not message:
        raise ValueError("has no text")
    details = {key: item for key, item in error.items() if key != "message"}
    return ErrorDetail(message, _object(details) if details else None)


def _language_tag(value: object) -> str:
    # A tag that the service would refuse is no reason to lose the text.
    tag = "".join(char for char in cleaned(str(value), _LIMITS.language_tag_length) if char.isprintable())
    return tag or "und"


def _datasets(value: Any) -> tuple[Dataset, ...]:
    items = [value] if isinstance(value, str | bytes | os.PathLike | Dataset | Mapping) else value
    return _each("dataset", _dataset, islice(items, _LIMITS.datasets_per_event))


def _dataset(item: Any) -> Dataset:
    if isinstance(item, Dataset):
        uri, version = item.uri, item.version
    elif isinstance(item, Mapping):
        uri, version = item["uri"], item.get("version") or ""
    else:
        uri, version = item if isinstance(item, tuple) else (item, "")
    return Dataset(_path(uri), cleaned(str(version), _LIMITS.name_length))


def _each(kind: str, convert: Callable[[Any], T], items: Iterable[Any]) -> tuple[T, ...]:
    """Return what the items become.

    An item that cannot be converted is left out alone, with a warning.
    """
    converted = []
    for item in items:
        try:
            converted.append(convert(item))
        except Exception as error:
            warn_once(f"item {kind}", "status-grpc: the %s %.100s is left out: %s", kind, _Shown(item), error)
    return tuple(converted)


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "trace_id": _text(None),
    "trace_event_id": _event_id,
    "domain": _text(_LIMITS.name_length),
    "domain_id": _text(_LIMITS.domain_id_length),
    "start_time": _time,
    "end_time": _time,
    "trace_status": lambda value: TraceStatus(_member(value)),
    "trace_event_status": lambda value: TraceEventStatus(_member(value)),
    "user": _text(_LIMITS.name_length),
    "component": _text(_LIMITS.name_length),
    "operation": _text(_LIMITS.name_length),
    "status_body": _object,
    "meta": _object,
    "s3_path": _path,
    "duration": _duration,
    "exception": _exception,
    "errors": _errors,
    "inputs": _datasets,
    "outputs": _datasets,
    "step_id": _text(_LIMITS.id_length),
    "attempt": _attempt,
}
