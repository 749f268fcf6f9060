"""Lenient parsing of JSON, and replacement of values that cannot be stored."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from math import isfinite, isnan
from typing import Any

from status_grpc.domain.events import JsonObject
from status_grpc.wire.json_values import NotJson

#: Reports a replaced part: its path, and the reason, which is one of the texts below.
OnReplace = Callable[[str, str], None]

BAD_NUMBER = "a number that is not finite or from 2^1024 up is kept as text"
BAD_CHARACTER = "U+0000 and unpaired surrogates are kept as escapes such as \\x00"
TOO_DEEP = "what is nested too deep is left out"
NOT_JSON = "a value that is not JSON is left out"

#: Levels that are parsed at most. Python's parser stops at about 1,000, less what is on the stack already.
_MOST_LEVELS = 150
# A string without its end reaches to the end of the text, so that the search never begins again inside of it.
_BRACKET = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)
_BAD_CHARACTER = re.compile("[\0\ud800-\udfff]")
_BAD_IN_JSON = re.compile("\\\\u0000|[\ud800-\udfff]|NaN|Infinity|(?<!\\d)\\d{309}")
#: The longest path that a report carries, in characters.
_PATH_LENGTH = 100
#: `os.fsdecode` gives a byte B that is not UTF-8 as the surrogate U+DC00 + B.
_FIRST_BYTE, _LAST_BYTE, _BYTES_FROM = 0xDC80, 0xDCFF, 0xDC00


class NumberText(str):
    """The digits of a number that is too long for Python's int."""

    __slots__ = ()


def read_json(data: bytes) -> Any:
    """Return the value of a JSON text. Raises NotJson.

    NaN, numbers of any size, control characters, unpaired surrogates, bytes that are not UTF-8 and any depth are
    accepted. `clean` makes the value storable.
    """
    # Bytes that are not UTF-8 become unpaired surrogates, which `clean` escapes.
    text = data.decode("utf-8-sig", "surrogateescape")
    try:
        try:
            return json.loads(text, strict=False, parse_int=_integer)
        except RecursionError:
            return json.loads(_shallow(text), strict=False, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise NotJson(f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise NotJson("is nested too deep") from None


def _integer(digits: str) -> int | NumberText:
    try:
        return int(digits)
    except ValueError:  # more digits than sys.set_int_max_str_digits allows
        return NumberText(digits)


def _shallow(text: str) -> str:
    """Return the JSON text with null for values that are too deep."""
    parts: list[str] = []
    level = start = 0
    for token in _BRACKET.finditer(text):
        bracket = token[0]
        if bracket in "[{":
            level += 1
            if level == _MOST_LEVELS:
                parts += (text[start : token.start()], "null")
        elif bracket in "]}":
            if level == _MOST_LEVELS:
                start = token.end()
            level -= 1
    if level >= _MOST_LEVELS:
        start = len(text)  # it ends inside of what is left out, and the parser says so
    return "".join([*parts, text[start:]])


def is_clean(text: str) -> bool:
    """Return whether the value of this JSON text is storable.

    Its depth is not checked. False may be wrong, True is not.
    """
    return not _BAD_IN_JSON.search(text)


def is_deeper(value: JsonObject, levels: int) -> bool:
    """Return whether an object has more than this many levels.

    A level is an object or a list, and the object itself is the first.
    """
    containers: list[Any] = [value]
    for _ in range(levels):
        containers = [
            inner
            for outer in containers
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list | tuple)
        ]
        if not containers:
            return False
    return True


def clean(value: Any, levels: int, on_replace: OnReplace) -> Any:
    """Return a copy of the value that can be stored.

    It has finite numbers, and valid Unicode without U+0000. `levels` is how many levels of objects and lists stay.
    What is deeper becomes null.
    """
    return _Cleaner(on_replace).value("", value, levels)


def clean_text(text: str) -> str:
    """Return the text with U+0000 and unpaired surrogates as escapes.

    A byte that `os.fsdecode` could not decode becomes \\xNN.
    """
    return _BAD_CHARACTER.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code == 0:
        return "\\x00"
    return f"\\x{code - _BYTES_FROM:02x}" if _FIRST_BYTE <= code <= _LAST_BYTE else f"\\u{code:04x}"


class _Cleaner:
    def __init__(self, on_replace: OnReplace) -> None:
        self._on_replace = on_replace

    def value(self, path: str, value: Any, levels: int) -> Any:
        if isinstance(value, str):
            return self._text(path, value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            return self._number(path, value)
        if not isinstance(value, dict | list | tuple):
            self._on_replace(path, NOT_JSON)
            return None
        if levels <= 0:
            self._on_replace(path, TOO_DEEP)
            return None
        if isinstance(value, dict):
            return self._object(path, value, levels)
        return [self.value(_below(path, f"[{index}]"), item, levels - 1) for index, item in enumerate(value)]

    def _object(self, path: str, value: dict[Any, Any], levels: int) -> dict[str, Any]:
        result = {}
        for key, item in value.items():
            name = self._text(path, key if isinstance(key, str) else str(key))
            result[name] = self.value(_below(path, f".{name}" if path else name), item, levels - 1)
        return result

    def _text(self, path: str, text: str) -> str:
        if isinstance(text, NumberText):
            self._on_replace(path, BAD_NUMBER)
            return str(text)
        if not _BAD_CHARACTER.search(text):
            return text
        self._on_replace(path, BAD_CHARACTER)
        return clean_text(text)

    def _number(self, path: str, number: float) -> float | str:
        try:
            if isfinite(number):
                return number
        except OverflowError:
            self._on_replace(path, BAD_NUMBER)
            return _digits(int(number))
        self._on_replace(path, BAD_NUMBER)
        return "NaN" if isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _digits(number: int) -> str:
    try:
        return str(number)
    except ValueError:  # more digits than sys.set_int_max_str_digits allows
        return hex(number)


def _below(path: str, step: str) -> str:
    return path if len(path) >= _PATH_LENGTH else (path + step)[:_PATH_LENGTH]
