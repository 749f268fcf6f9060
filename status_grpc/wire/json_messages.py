"""Messages as protobuf JSON (https://protobuf.dev/programming-guides/json/): camelCase names, absent if not said."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from typing import TypeVar, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from status_grpc.domain.errors import FieldViolation
from status_grpc.domain.events import ErrorDetail, JsonObject, TraceEvent
from status_grpc.wire.events import event_message
from status_grpc.wire.parsing import Malformed

M = TypeVar("M", bound=Message)

#: The key of TraceEvent.encodings under which its JSON is kept.
_JSON = "tracestatus.v1 json"

#: How many values a request may hold: each takes some microseconds, in which the server does nothing else. So many of
#: the smallest are in the largest event.
_MOST_VALUES = 262_144

_IN_FIELD = re.compile(r"Failed to parse (\w+) field: ")
_UNKNOWN = re.compile(r'Message type "[\w.]+" has no field named "(.*?)" at ', re.DOTALL)
#: Characters that JSON allows in a text, and that end a line for some who read line by line.
_SEPARATORS = (("\x85", "\\u0085"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029"))
_EXPECTED = {
    "google.protobuf.Timestamp": "must be a time such as 2026-01-31T12:00:00Z",
    "google.protobuf.Duration": 'must be a duration such as "1.5s"',
}


def parse_json(kind: type[M], data: bytes) -> M | Malformed[M]:
    """Return the message of a JSON text, or what is wrong with it. Takes camelCase names and those of the protos.

    A field that does not exist is wrong: a misspelt one would be lost without a word.
    """
    try:
        value = json.loads(data, object_pairs_hook=_without_repetition)
    except _Repeated as error:
        return Malformed(FieldViolation("request", f"has {error.args[0]!r} twice in one object"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return Malformed(FieldViolation("request", "is not JSON, or nested too deep"))
    except ValueError:
        digits = sys.get_int_max_str_digits()
        return Malformed(FieldViolation("request", f"has a number of more than {digits} digits"))
    if not isinstance(value, dict):
        return Malformed(FieldViolation("request", "must be a JSON object"))
    if _has_too_many(value):
        return Malformed(FieldViolation("request", f"has more than {_MOST_VALUES} values: use binary messages"))
    try:
        return json_format.ParseDict(value, kind())
    except (json_format.ParseError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        return Malformed(_diagnose(str(error), cast(Descriptor, kind.DESCRIPTOR)))


def message_json(message: Message) -> bytes:
    """Return the message as JSON, in one line, whatever its reader takes for the end of one."""
    return _dumps(json_format.MessageToDict(message))


def event_json(event: TraceEvent) -> bytes:
    """Return the event as JSON in one line, made once and kept with the event.

    Unlike a Struct, it has the integers of status_body, meta and details to the last digit.
    """
    encoded: bytes | None = event.encodings.get(_JSON)
    if encoded is None:
        # Its Structs are left out of the message: they would be converted twice only to be replaced.
        plain = replace(event, status_body=None, meta=None, errors=())
        fields = json_format.MessageToDict(event_message(plain))
        if event.status_body is not None:
            fields["statusBody"] = event.status_body
        if event.meta is not None:
            fields["meta"] = event.meta
        if event.errors:
            fields["errors"] = [_error(error) for error in event.errors]
        encoded = event.encodings[_JSON] = _dumps(fields)
    return encoded


def _error(error: ErrorDetail) -> JsonObject:
    said: JsonObject = {}
    if error.message:
        said["message"] = error.message
    if error.details is not None:
        said["details"] = error.details
    return said


def _dumps(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for separator, escape in _SEPARATORS:
        text = text.replace(separator, escape)
    return text.encode()


def _has_too_many(value: object) -> bool:
    """Return whether there are more values in it than can be parsed while others wait."""
    count, left = 0, [value]
    while left:
        item = left.pop()
        count += 1
        if isinstance(item, dict):
            left.extend(item.values())
        elif isinstance(item, list):
            left.extend(item)
        if count + len(left) > _MOST_VALUES:
            return True
    return False


class _Repeated(Exception):
    """A name that is twice in one object: one of the two values would be lost."""


def _without_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for name, value in pairs:
        if name in result:
            raise _Repeated(name[:100])
        result[name] = value
    return result


def _diagnose(text: str, descriptor: Descriptor) -> FieldViolation:
    """Return which field the parser complains about, and what it should be; the parser's own words are Python's."""
    path: list[str] = []
    field: FieldDescriptor | None = None
    inside: Descriptor | None = descriptor
    for name in _IN_FIELD.findall(text):
        found = _field(inside, name)
        if found is None:
            break
        field, inside = found, found.message_type
        path.append(field.name)
    unknown = _UNKNOWN.search(text)
    if unknown:
        known = ", ".join(field.name for field in inside.fields) if inside else ""
        return FieldViolation(".".join([*path, unknown[1][:100]]), f"is not a field; there are: {known}")
    if field is None:
        return FieldViolation("request", f"is not a {descriptor.full_name} in JSON")
    return FieldViolation(".".join(path), _expected(field))


def _field(descriptor: Descriptor | None, name: str) -> FieldDescriptor | None:
    if descriptor is None:
        return None
    return descriptor.fields_by_name.get(name) or descriptor.fields_by_camelcase_name.get(name)


def _expected(field: FieldDescriptor) -> str:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return "must be an object of texts"
    if field.is_repeated:
        return "must be a list, and each entry what the field holds"
    if kind is not None:
        return _EXPECTED.get(kind.full_name, "must be a JSON object, of finite numbers, and not nested too deep")
    if field.enum_type is not None:
        return f"must be one of {', '.join(value.name for value in field.enum_type.values)}"
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return "must be a text of valid Unicode"
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return "must be true or false"
    return "must be a whole number that is not too large"
