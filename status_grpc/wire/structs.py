"""google.protobuf.Struct to JSON objects and back.

A Struct knows one kind of number, the double; JSON and Python know integers. A whole number within the range where
doubles are exact (2^53) is decoded as an int, so that what went in as 3 comes out as 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

from status_grpc.domain.errors import FieldViolation, InvalidArgument
from status_grpc.domain.events import JsonObject

_EXACT = 2.0**53
#: Parsers of protobuf stop at 100 messages within each other. Up to five are around a Struct.
_MOST_NESTED = 95
#: How many messages an object or a list takes, with the value that holds what is in it.
_OBJECT_TAKES, _LIST_TAKES = 3, 2


class _BadValue(Exception):
    """A value that cannot be stored, and what is wrong with it."""


def decode_struct(path: str, message: Struct, depth: int, violations: list[FieldViolation]) -> JsonObject | None:
    """Return the object; None (and a violation that names the place) when it cannot be stored.

    `depth` is how many levels of objects and lists are allowed, the Struct itself included.
    """
    try:
        return _object(message, depth)
    except _BadValue:
        # Where it is bad is found by a second, slower look: the first one is on the way of every write.
        place, description = _find_bad(message, depth)
        violations.append(FieldViolation(f"{path}{place}"[:500], description))
        return None


def to_object(message: Struct) -> JsonObject:
    """Return the object of a Struct that the server made."""
    return _object(message, 100)


def _object(message: Struct, depth: int) -> JsonObject:
    if depth <= 0:
        raise _BadValue("is nested too deep")
    fields = message.fields
    result: JsonObject = {}
    # Not .items(): that is a view written in Python, which costs more than the look-up.
    for key in fields:
        if "\0" in key:
            raise _BadValue("has a key that contains U+0000")
        value = fields[key]
        # Most values are texts, and of a oneof only the member that is set can be other than empty: asking which one it
        # is costs more than looking.
        text = value.string_value
        if not text:
            result[key] = _value(value, depth)
        elif "\0" in text:
            raise _BadValue("must not contain U+0000")
        else:
            result[key] = text
    return result


def _value(value: Value, depth: int) -> Any:
    number = value.number_value
    if number:
        return _number(number)
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        text = value.string_value
        if "\0" in text:
            raise _BadValue("must not contain U+0000")
        return text
    if kind == "number_value":
        return 0
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return _object(value.struct_value, depth - 1)
    if kind == "list_value":
        if depth <= 1:
            raise _BadValue("is nested too deep")
        return [_value(item, depth - 1) for item in value.list_value.values]
    if kind == "null_value":
        return None
    raise _BadValue("has no value: a google.protobuf.Value must say which kind it is")


def _number(number: float) -> int | float:
    if -_EXACT <= number <= _EXACT:
        whole = int(number)
        return whole if whole == number else number
    if not isfinite(number):
        raise _BadValue("must be a finite number")
    return number


def _find_bad(message: Struct, depth: int) -> tuple[str, str]:
    """Return the path of the first bad value below the Struct, and what is wrong with it."""
    for key in message.fields:
        if "\0" in key:
            return "", "has a key that contains U+0000"
        place, description = _find_bad_value(message.fields[key], depth)
        if description:
            return f".{key}{place}", description
    return "", "is nested too deep" if depth <= 0 else ""


def _find_bad_value(value: Value, depth: int) -> tuple[str, str]:
    kind = value.WhichOneof("kind")
    try:
        _value(value, depth)
    except _BadValue as bad:
        description = str(bad)
    else:
        return "", ""
    if kind == "struct_value" and depth > 1:
        return _find_bad(value.struct_value, depth - 1)
    if kind == "list_value" and depth > 1:
        for index, item in enumerate(value.list_value.values):
            place, found = _find_bad_value(item, depth - 1)
            if found:
                return f"[{index}]{place}", found
    return "", description


def fill_struct(message: Struct, value: Mapping[str, Any]) -> None:
    """Write the object into an empty Struct.

    An integer beyond 2^53 loses digits, as it must in a double. Raises UnicodeEncodeError for a lone surrogate, and
    InvalidArgument for what a Struct cannot carry. Its field is the place below the object, such as ".rows[1]".
    """
    try:
        _fill_object(message, value, _MOST_NESTED)
    except UnicodeEncodeError:
        raise
    except (TypeError, ValueError, OverflowError, AttributeError, RecursionError):
        # As in reading, where it is bad is found by a second, slower look.
        place, description = _find_unfit(value, _MOST_NESTED)
        raise InvalidArgument([FieldViolation(place[:400], description or _NO_VALUE)]) from None


_NO_VALUE = "is not a JSON value"
_NO_NUMBER = "must be a finite number that a double can hold"
_TOO_DEEP = "is nested too deep"


def _fill_object(message: Struct, value: Mapping[str, Any], left: int) -> None:
    left -= _OBJECT_TAKES
    if left < 0:
        raise ValueError(_TOO_DEEP)
    fields = message.fields
    for key, item in value.items():
        _fill_value(fields[key], item, left)
    message.SetInParent()


def _fill_value(message: Value, value: Any, left: int) -> None:
    # bool before int: a bool is an int.
    if isinstance(value, str):
        message.string_value = value
    elif value is None:
        message.null_value = 0  # type: ignore[assignment]
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, (int, float)):
        if not isfinite(value):
            raise ValueError(_NO_NUMBER)
        message.number_value = value
    elif isinstance(value, (dict, Mapping)):  # most are dicts, and to ask for a Mapping takes long
        _fill_object(message.struct_value, value, left)
    elif isinstance(value, (list, tuple)):
        if left < _LIST_TAKES:
            raise ValueError(_TOO_DEEP)
        items = message.list_value.values
        for item in value:
            _fill_value(items.add(), item, left - _LIST_TAKES)
        message.list_value.SetInParent()
    else:
        raise TypeError(_NO_VALUE)


def _find_unfit(value: object, left: int) -> tuple[str, str]:
    """Return the place of the first unfit value, and its fault."""
    if isinstance(value, Mapping):
        return _find_unfit_member(value, left - _OBJECT_TAKES)
    if isinstance(value, list | tuple):
        return _find_unfit_item(value, left - _LIST_TAKES)
    if value is None or isinstance(value, str | bool):
        return "", ""
    if not isinstance(value, int | float):
        return "", f"{_NO_VALUE}, but of type {type(value).__name__}"
    try:
        return "", "" if isfinite(value) else _NO_NUMBER
    except OverflowError:
        return "", _NO_NUMBER


def _find_unfit_member(value: Mapping[Any, Any], left: int) -> tuple[str, str]:
    if left < 0:
        return "", _TOO_DEEP
    for key, item in value.items():
        if not isinstance(key, str):
            return "", f"has a key that is not a text but of type {type(key).__name__}"
        place, description = _find_unfit(item, left)
        if description:
            return f".{key}{place}", description
    return "", ""


def _find_unfit_item(value: Sequence[Any], left: int) -> tuple[str, str]:
    if left < 0:
        return "", _TOO_DEEP
    for index, item in enumerate(value):
        place, description = _find_unfit(item, left)
        if description:
            return f"[{index}]{place}", description
    return "", ""
