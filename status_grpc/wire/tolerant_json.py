"""Reading of JSON that is cleaned, not refused.

A report may be the end of a run, which its client sends once. A number without a double becomes a text. A character
that UTF-8 or a database cannot hold becomes an escape. What is nested too deep becomes the text of its JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from math import isfinite
from typing import Any

from status_grpc.domain.limits import Limits
from status_grpc.wire.json_values import LEAST_BYTES, NotJson

#: What was cleaned. `Note` receives one of these descriptions for each part.
NO_DOUBLE = "had a number that no double can hold; it became a text"
BAD_CHARACTER = "had U+0000 or half a surrogate pair; it became an escape"
TOO_DEEP = "was nested too deep; the deepest part became a text"

Note = Callable[[str], None]

#: How many levels are kept of a text that has too many for the parser, which recurses.
_PARSED_DEPTH = 64
#: How much of a value that is nested too deep is kept as text, in characters.
_DEEP_TEXT_LENGTH = 4096
#: The number of digits of the largest double.
_DOUBLE_DIGITS = 309
_LONG_INTEGER = re.compile(rf"(?<!\d)\d{{{_DOUBLE_DIGITS}}}")
# A string without its end reaches to the end of the text. Else the search would begin again at each of its quotes:
# 6.8 s for 32 KB.
_BRACKETS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_BAD_CHARACTERS = re.compile("[\0\ud800-\udfff]")


class PreciseFloat(float):
    """A number whose text a double does not reproduce, such as 1.50."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> PreciseFloat:
        """Return the number of a JSON text."""
        number = super().__new__(cls, text)
        number.text = text
        return number


class TooManyValues(Exception):
    """A value has more values than fit into an event."""


def parse_tolerant(data: bytes, note: Note) -> Any:
    """Return the value of a JSON text. Raises NotJson.

    NaN and infinite numbers become texts. Floats are PreciseFloat where a double would lose digits.
    """
    # Bytes that are not UTF-8 become halves of surrogate pairs, which `clean_text` escapes.
    text = data.decode("utf-8-sig", errors="surrogateescape")
    try:
        return _parsed(text, note)
    except json.JSONDecodeError as error:
        raise NotJson(f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None


def _parsed(text: str, note: Note) -> Any:
    def no_double(text: str) -> str:
        note(NO_DOUBLE)
        return text

    def to_float(text: str) -> float | str:
        number = float(text)
        if not isfinite(number):
            return no_double(text)
        return number if repr(number) == text else PreciseFloat(text)

    def to_int(text: str) -> int | str:
        number = int(text) if len(text) <= _DOUBLE_DIGITS + 1 else None
        return no_double(text) if number is None or not _has_double(number) else number

    def parse(text: str) -> Any:
        # A function of Python for each integer takes much longer than the parser's own.
        own = to_int if _LONG_INTEGER.search(text) else None
        return json.loads(text, parse_float=to_float, parse_int=own, parse_constant=no_double, strict=False)

    try:
        return parse(text)
    except RecursionError:
        note(TOO_DEEP)
    try:
        return parse(_shallow(text))
    except (json.JSONDecodeError, RecursionError):
        raise NotJson("is nested too deep") from None


def _shallow(text: str) -> str:
    """Return the JSON text with null for what is nested too deep."""
    parts: list[str] = []
    depth = start = 0
    for token in _BRACKETS.finditer(text):
        bracket = token[0]
        if bracket in "[{":
            depth += 1
            if depth == _PARSED_DEPTH:
                parts.append(text[start : token.start()] + "null")
                start = len(text)
        elif bracket in "]}":
            if depth == _PARSED_DEPTH:
                start = token.end()
            depth -= 1
    return "".join(parts) + text[start:]


def _has_double(number: int) -> bool:
    try:
        float(number)
    except OverflowError:
        return False
    return True


def clean_text(text: str, note: Note) -> str:
    """Return the text as UTF-8 and every database can hold it."""
    if text.isascii() and "\0" not in text:
        return text
    cleaned = _BAD_CHARACTERS.sub(_escaped, text)
    if cleaned != text:
        note(BAD_CHARACTER)
    return cleaned


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte that os.fsdecode could not decode
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def clean_value(value: Any, depth: int, limits: Limits, note: Note) -> Any:
    """Return the JSON value cleaned for the store and gRPC. Raises TooManyValues.

    `depth` is how many levels of objects and lists are allowed, the value included. A PreciseFloat stays one.
    """
    return _Cleaner(limits.event_bytes // LEAST_BYTES, note).value(value, depth)


class _Cleaner:
    def __init__(self, most: int, note: Note) -> None:
        self._left = most
        self._note = note

    def value(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise TooManyValues
        if isinstance(value, str):
            return clean_text(value, self._note)
        if isinstance(value, dict | list):
            return self._container(value, depth)
        if isinstance(value, bool) or value is None:
            return value
        if _has_double(value) if isinstance(value, int) else isfinite(value):
            return value
        self._note(NO_DOUBLE)
        return str(value)

    def _container(self, value: Any, depth: int) -> Any:
        if depth <= 0:
            self._note(TOO_DEEP)
            return json_text(value)[:_DEEP_TEXT_LENGTH]
        if isinstance(value, list):
            return [self.value(item, depth - 1) for item in value]
        return {clean_text(key, self._note): self.value(item, depth - 1) for key, item in value.items()}


def json_text(value: Any) -> str:
    """Return the value as JSON in ASCII, "..." if it is nested too deep."""
    try:
        return json.dumps(value)
    except RecursionError:
        return "..."


def has_precise_floats(value: Any) -> bool:
    """Return whether a PreciseFloat is in the value."""
    if isinstance(value, dict):
        return any(map(has_precise_floats, value.values()))
    if isinstance(value, list):
        return any(map(has_precise_floats, value))
    return isinstance(value, PreciseFloat)


def plain(value: Any) -> Any:
    """Return the value with plain floats."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return float(value) if isinstance(value, PreciseFloat) else value


def exact_text(value: Any) -> str:
    """Return the JSON text of a cleaned value with the digits as sent."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_dumps(key)}:{exact_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(exact_text, value)) + "]"
    return value.text if isinstance(value, PreciseFloat) else _dumps(value)


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
