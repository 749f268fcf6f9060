"""Any Python value as a JSON value that the service takes: what a step wants to tell is not always JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from datetime import date, time
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import Any

from status_grpc.domain.text import escape_surrogates

#: How much of the text of a value that JSON does not have is kept, in characters.
_TEXT_LENGTH = 1000


def cleaned(text: str, longest: int | None = None) -> str:
    """Return the text as the service takes it.

    U+0000 is removed and lone surrogates are escaped. `longest` is in characters, None: no limit.
    """
    if longest is not None and len(text) > longest:
        text = text[:longest]
    if text.isprintable():
        return text
    return escape_surrogates(text.replace("\0", ""))[:longest]


def plain_object(value: object, depth: int) -> Any:
    """Return the value as JSON: containers to `depth` levels, numbers that are finite, everything else as text."""
    if isinstance(value, str):
        return cleaned(value.value if isinstance(value, Enum) else value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal):
        return _number(value)
    if isinstance(value, Enum):
        return plain_object(value.value, depth)
    return _container(value, depth)


def _number(value: int | float | Decimal) -> Any:
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return _digits(value)
    if not isfinite(number):
        return None
    return int(value) if isinstance(value, int) else number


def _digits(value: int | float | Decimal) -> str:
    try:
        return str(value)
    except ValueError:  # an int of more digits than Python makes decimal
        return f"{value:#x}"


def _container(value: object, depth: int) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping | list | tuple | Set):
        if depth <= 0:
            return "(nested too deep)"
        if isinstance(value, Mapping):
            return {cleaned(str(key)): plain_object(item, depth - 1) for key, item in value.items()}
        return [plain_object(item, depth - 1) for item in value]
    if isinstance(value, date | time):
        return value.isoformat()
    # Numbers and arrays of numpy and its kin.
    as_list = getattr(value, "tolist", None)
    if callable(as_list) and depth > 0:
        return plain_object(as_list(), depth - 1)
    return cleaned(str(value), _TEXT_LENGTH)
