"""Events as the older status service spoke them: JSON with 17 fields, some of them under two names.

Absent fields are absent, never null; times are ISO 8601 (without an offset they are UTC), `end_time` may be "N/A",
`duration` is in milliseconds, `exception` is a text.

A field that only decorates an event never refuses it, because the event may be the end of its run. What cannot be read
or stored is left out or cleaned, and noted. `legacy` of the event holds what the protocol cannot tell apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
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
from status_grpc.wire.status_names import read_event_status, read_trace_status
from status_grpc.wire.times import milliseconds
from status_grpc.wire.tolerant_json import (
    TooManyValues,
    clean_text,
    clean_value,
    exact_text,
    has_precise_floats,
    json_text,
    plain,
)

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

#: What says which trace an event is of, what reports it and what it does to the trace. Only these can refuse it.
_IDENTIFYING = ("trace_id", "trace_event_id", "domain", "component", "trace_status", "trace_event_status")

_NOT_SAID = "N/A"
_LONGEST_DURATION = timedelta(seconds=315_576_000_000)  # that of google.protobuf.Duration
#: "ZeroDivisionError: division by zero", but not "warning: disk almost full".
_TYPED_EXCEPTION = re.compile(
    r"([A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning|Timeout)): (\S.*)", re.DOTALL | re.ASCII
)
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
#: The language of a text that names none. The older command line shows the English texts.
_LANGUAGE = "en"

# What was done about a field; the words are the same for all fields, so that each kind is logged once.
_LEFT_OUT = "could not be read and was left out"
_CUT = "was longer than its limit and was cut"
_TOO_MANY = "had more entries than its limit; the first ones are kept"
_TOO_LARGE = "did not fit into an event and was left out"
_AS_TEXT = "was not in its form and is kept as a text"


def read_old_event(
    value: JsonObject,
    limits: Limits,
    violations: list[FieldViolation],
    cleaned: list[FieldViolation],
    *,
    required: Iterable[str] = (),
    ignored: Iterable[str] = (),
) -> tuple[EventDraft, str]:
    """Return the event of a JSON object, and its `TraceEvent.legacy`.

    Adds a violation for each required field that is absent, and for each identifying one that cannot be read. Adds to
    `cleaned` what was left out or changed of all others. Unknown fields and `ignored` ones are dropped; null is absent.
    """
    sent = {OLDER_NAMES.get(name, name): item for name, item in value.items() if item is not None}
    # Where both names are given the newer one counts.
    sent |= {name: item for name, item in value.items() if item is not None and name not in OLDER_NAMES}
    for name in ignored:
        sent.pop(name, None)
    for name in required:
        if sent.get(name) in (None, ""):
            violations.append(FieldViolation(f"event.{name}", "is required"))
    reader = _Reader(limits, cleaned)
    fields: dict[str, Any] = {}
    unreadable: list[FieldViolation] = []
    for name, read in _READERS.items():
        if name in sent and sent[name] != "":
            try:
                fields[name] = read(reader, name, sent[name])
            except (ValueError, OverflowError) as error:
                violation = FieldViolation(f"event.{name}", str(error))
                if name in _IDENTIFYING or (name == "domain_id" and name in required):
                    violations.append(violation)
                else:
                    unreadable.append(violation)
                    reader.note(name, _LEFT_OUT)
            except TooManyValues:
                reader.note(name, _TOO_LARGE)
    if violations:  # a refusal names every bad field
        violations += unreadable
    return EventDraft(**{name: plain(item) for name, item in fields.items()}), _legacy(sent, fields)


def without_field(draft: EventDraft, legacy_text: str, name: str) -> tuple[EventDraft, str]:
    """Return the draft and its legacy without a field."""
    legacy = json.loads(legacy_text) if legacy_text else {}
    legacy.get("as_sent", {}).pop(name, None)
    legacy["bare"] = [bare for bare in legacy.get("bare", ()) if bare != name]
    empty: dict[str, Any] = {name: () if name == "errors" else None}
    return replace(draft, **empty), _legacy_text(legacy)


def _legacy(sent: JsonObject, fields: dict[str, Any]) -> str:
    """Return what was sent and the fields do not hold.

    Empty when they hold everything. Else a JSON object. `absent`: fields that the event has from its trace. `as_sent`:
    JSON texts of fields. `bare`: fields that were no objects, and are stored as objects of one `value`.
    """
    as_sent = {name: '""' for name in _EMPTY_TEXTS if sent.get(name) == ""}
    if sent.get("errors") == []:
        as_sent["errors"] = "[]"
    duration = fields.get("duration")
    if duration is not None:
        text = exact_text(sent["duration"])
        if text != json.dumps(milliseconds(duration)):
            as_sent["duration"] = text
    bare = []
    for name in _OBJECTS:
        if sent.get(name) in ("", _NOT_SAID):
            as_sent[name] = json.dumps(sent[name])
        elif name in fields:
            value, is_bare = fields[name], not isinstance(sent[name], dict)
            if has_precise_floats(value):
                as_sent[name] = exact_text(value["value"] if is_bare else value)
            elif is_bare:
                bare.append(name)
    absent = [] if "domain_id" in fields or "domain_id" in as_sent else ["domain_id"]
    return _legacy_text({"absent": absent, "as_sent": as_sent, "bare": bare})


def _legacy_text(legacy: JsonObject) -> str:
    kept = {name: item for name, item in legacy.items() if item}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")) if kept else ""


class _Reader:
    """Reads the fields of one event within the limits.

    A method raises ValueError for a value that it cannot read, and TooManyValues for one that is too large.
    """

    def __init__(self, limits: Limits, cleaned: list[FieldViolation]) -> None:
        self._limits = limits
        self._cleaned = cleaned
        self._longest = dict.fromkeys(("domain", "user", "component", "operation"), limits.name_length)
        self._longest["domain_id"] = limits.domain_id_length

    def note(self, name: str, description: str) -> None:
        """Note what was done about a field."""
        self._cleaned.append(FieldViolation(f"event.{name}", description))

    def text(self, name: str, value: object) -> str:
        """Read a text. A number is read as its digits."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = exact_text(value)
        if not isinstance(value, str):
            raise ValueError("must be a text")
        text = clean_text(value, lambda description: self.note(name, description))
        longest = self._longest.get(name)
        return text if longest is None else self._cut(name, text, longest)

    def _cut(self, name: str, text: str, longest: int) -> str:
        if len(text) > longest:
            self.note(name, _CUT)
        return text[:longest]

    def path(self, name: str, value: object) -> str:
        """Read a path, which is never cut."""
        text = self.text(name, value)
        if len(text.encode()) > self._limits.path_bytes:
            raise ValueError("is too long")
        return text

    def start(self, name: str, value: object) -> datetime:
        """Read a time."""
        try:
            time = datetime.fromisoformat(str(value) if isinstance(value, str | int) else "")
            return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            raise ValueError("must be a time such as 2026-01-31T12:00:00.123456+00:00") from None

    def end(self, name: str, value: object) -> datetime | None:
        """Read a time, or "N/A"."""
        return None if value == _NOT_SAID else self.start(name, value)

    def trace_status(self, name: str, value: object) -> Any:
        """Read a trace_status."""
        return read_trace_status(value)

    def event_status(self, name: str, value: object) -> Any:
        """Read a trace_event_status."""
        return read_event_status(value)

    def json_object(self, name: str, value: Any) -> JsonObject | None:
        """Read any JSON as an object."""
        if value == _NOT_SAID:
            return None
        value = value if isinstance(value, dict) else {"value": value}
        return self._json(name, value)  # type: ignore[no-any-return]

    def _json(self, name: str, value: JsonObject) -> Any:
        return clean_value(
            value, self._limits.json_depth, self._limits, lambda description: self.note(name, description)
        )

    def duration(self, name: str, value: object) -> timedelta | None:
        """Read a number of milliseconds."""
        if value == _NOT_SAID:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError("must be a number of milliseconds")
        duration = timedelta(milliseconds=value)
        if not timedelta() <= duration <= _LONGEST_DURATION:
            raise ValueError("is negative or longer than 10,000 years")
        return duration

    def exception(self, name: str, value: object) -> ExceptionDetail | None:
        """Read the text of an exception."""
        text = clean_text(self._worded(name, value), lambda description: self.note(name, description))
        match = _TYPED_EXCEPTION.fullmatch(text)
        longest = self._limits.exception_message_length
        if match is not None and len(match[1]) <= self._limits.name_length:
            return ExceptionDetail(match[1], self._cut(name, match[2], longest))
        return ExceptionDetail(message=self._cut(name, text, longest)) if text else None

    def _worded(self, name: str, value: object) -> str:
        """Return a text as it is, and any other value as its JSON."""
        if isinstance(value, str):
            return value
        self.note(name, _AS_TEXT)
        return json_text(value)

    def errors(self, name: str, value: object) -> tuple[ErrorDetail, ...]:
        """Read errors for people."""
        if not isinstance(value, list):
            self.note(name, _AS_TEXT)
            value = [value]
        most = self._limits.errors_per_event
        if len(value) > most:
            self.note(name, _TOO_MANY)
        return tuple(error for item in value[:most] if (error := self._error(name, item)) is not None)

    def _error(self, name: str, value: object) -> ErrorDetail | None:
        """Read one error, in another form as an English text."""
        if value in (None, "", {}, []):
            self.note(name, _LEFT_OUT)
            return None
        entry: JsonObject = value if isinstance(value, dict) else {}
        message = entry.get("message")
        texts = self._texts(name, message) if isinstance(message, dict) else {}
        if not texts:
            words = value if not isinstance(message, str | int | float) or not message else message
            texts = {_LANGUAGE: self._error_text(name, self._worded(name, words))}
        details = {key: item for key, item in entry.items() if key != "message"}
        try:
            return ErrorDetail(texts, plain(self._json(name, details)) if details else None)
        except TooManyValues:
            self.note(name, _TOO_LARGE)
            return ErrorDetail(texts)

    def _texts(self, name: str, message: JsonObject) -> dict[str, str]:
        limits = self._limits
        texts: dict[str, str] = {}
        for tag, text in message.items():
            if text is None:
                continue
            bad_tag = not tag or len(tag) > limits.language_tag_length or _CONTROL_CHARACTERS.search(tag)
            if bad_tag or clean_text(tag, lambda _: None) != tag:
                self.note(name, _LEFT_OUT)
            elif len(texts) == limits.error_languages:
                self.note(name, _TOO_MANY)
                break
            else:
                texts[tag] = self._error_text(name, self._worded(name, text))
        return texts

    def _error_text(self, name: str, text: str) -> str:
        text = clean_text(text, lambda description: self.note(name, description))
        return self._cut(name, text, self._limits.error_text_length)


_READERS: dict[str, Callable[[_Reader, str, Any], Any]] = {
    "trace_id": _Reader.text,
    "trace_event_id": _Reader.text,
    "domain": _Reader.text,
    "domain_id": _Reader.text,
    "user": _Reader.text,
    "component": _Reader.text,
    "operation": _Reader.text,
    "s3_path": _Reader.path,
    "start_time": _Reader.start,
    "end_time": _Reader.end,
    "trace_status": _Reader.trace_status,
    "trace_event_status": _Reader.event_status,
    "status_body": _Reader.json_object,
    "meta": _Reader.json_object,
    "duration": _Reader.duration,
    "exception": _Reader.exception,
    "errors": _Reader.errors,
}
_EMPTY_TEXTS = ("domain_id", "user", "operation", "s3_path", "exception")
_OBJECTS = ("status_body", "meta")


def old_event(event: TraceEvent) -> JsonObject:
    """Return the event as the older service answered it. An event that is not over has the end_time "N/A"."""
    fields, as_sent = old_event_parts(event)
    return fields | {name: json.loads(text) for name, text in as_sent.items()}


def old_event_parts(event: TraceEvent) -> tuple[JsonObject, dict[str, str]]:
    """Return the values of `old_event`, and JSON texts of the other fields."""
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
    fields = {name: item for name, item in fields.items() if item is not None and item != ""}
    if not event.legacy:
        return fields, {}
    legacy = json.loads(event.legacy)
    as_sent: dict[str, str] = legacy.get("as_sent", {})
    for name in (*legacy.get("absent", ()), *as_sent):
        fields.pop(name, None)
    for name in legacy.get("bare", ()):
        fields[name] = fields[name]["value"]
    return fields, as_sent


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
