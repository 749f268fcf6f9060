"""JSON texts to values, and whether a value can be stored. Integers stay exact, whatever their size."""

from __future__ import annotations

import json
import sys
from typing import Any

from status_grpc.domain.errors import FieldViolation
from status_grpc.domain.limits import Limits


class NotJson(Exception):
    """A text that is not JSON as https://www.rfc-editor.org/rfc/rfc8259 says; the message says what is wrong."""


def parse_value(data: bytes) -> Any:
    """Return the value of a JSON text in UTF-8. Raises NotJson.

    NaN, infinite numbers and halves of characters are no JSON here, whatever other parsers take.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise NotJson("is not UTF-8") from None
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
        if "\\u" in text:
            # An escape may be half of a character, which nothing can encode again.
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise NotJson(f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise NotJson("is nested too deep") from None
    except UnicodeEncodeError:
        raise NotJson("has half of a character in an escape") from None
    except ValueError as error:
        raise NotJson(_bad_number(error)) from None
    return value


def read_json(text: str | bytes) -> Any:
    """Return the value of a JSON text as Python reads it.

    NaN and lone surrogates are read, too. Raises NotJson.
    """
    try:
        return json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise NotJson(f"is not JSON: {error}") from None
    except RecursionError:
        raise NotJson("is nested too deep") from None
    except ValueError as error:
        raise NotJson(_bad_number(error)) from None


def _bad_number(error: ValueError) -> str:
    # Python limits the digits of an integer, which take it long to read. Its words are for programmers.
    if "integer string conversion" in str(error):
        return f"has a number of more than {sys.get_int_max_str_digits()} digits"
    return "has a number that is too large, or none"


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(text)
    return number


#: How many bytes each value takes at least as a message: in a list an empty text does, or null.
LEAST_BYTES = 4


def check_value(path: str, value: Any, limits: Limits, violations: list[FieldViolation]) -> None:
    """Add what keeps a JSON value from being stored and told over gRPC.

    It may have `json_depth` levels of objects and lists, itself included, and no more values than fit into an event:
    encoding it to see how large it is would take long and much memory.
    """
    try:
        _Check(limits.event_bytes // LEAST_BYTES).value(value, limits.json_depth)
    except _Bad as bad:
        violations.append(FieldViolation(f"{path}{bad.place}"[:500], bad.description))


class _Bad(Exception):
    """A value that cannot be stored: where it is, and what is wrong with it."""

    def __init__(self, description: str, place: str = "") -> None:
        super().__init__(description)
        self.description = description
        self.place = place


class _Check:
    """Looks at one value, and at all that are in it."""

    def __init__(self, most: int) -> None:
        self._left = most

    def value(self, value: Any, depth: int) -> None:
        """Raise _Bad for the first value that cannot be stored."""
        self._left -= 1
        if self._left < 0:
            raise _Bad("has more values than fit into an event")
        if isinstance(value, str):
            if "\0" in value:
                raise _Bad("must not contain U+0000")
        elif isinstance(value, dict):
            self._object(value, depth)
        elif isinstance(value, list):
            self._list(value, depth)
        elif isinstance(value, int):
            try:
                float(value)
            except OverflowError:
                raise _Bad("is larger than any double") from None

    def _object(self, value: dict[str, Any], depth: int) -> None:
        if depth <= 0:
            raise _Bad("is nested too deep")
        for key, item in value.items():
            if "\0" in key:
                raise _Bad("has a key that contains U+0000")
            try:
                self.value(item, depth - 1)
            except _Bad as bad:
                raise _Bad(bad.description, f".{key}{bad.place}"[:500]) from None

    def _list(self, value: list[Any], depth: int) -> None:
        if depth <= 0:
            raise _Bad("is nested too deep")
        for index, item in enumerate(value):
            try:
                self.value(item, depth - 1)
            except _Bad as bad:
                raise _Bad(bad.description, f"[{index}]{bad.place}"[:500]) from None
