"""JSON texts to values, and whether a value can be stored. Integers stay exact, whatever their size."""

from __future__ import annotations

import json
from typing import Any

from status_grpc.domain.errors import FieldViolation


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
    except ValueError:
        raise NotJson("has a number that is too large, or none") from None
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(text)
    return number


def check_value(path: str, value: Any, depth: int, violations: list[FieldViolation]) -> None:
    """Add what keeps a JSON value from being stored and told over gRPC.

    `depth` is how many levels of objects and lists are allowed, the value itself included.
    """
    found = _find_bad(value, depth)
    if found is not None:
        place, description = found
        violations.append(FieldViolation(f"{path}{place}"[:500], description))


def _find_bad(value: Any, depth: int) -> tuple[str, str] | None:
    """Return where the first bad value is, and what is wrong with it."""
    if isinstance(value, str):
        return ("", "must not contain U+0000") if "\0" in value else None
    if isinstance(value, dict | list) and depth <= 0:
        return "", "is nested too deep"
    if isinstance(value, dict):
        return _find_bad_member(value, depth)
    if isinstance(value, list):
        for index, item in enumerate(value):
            found = _find_bad(item, depth - 1)
            if found is not None:
                return f"[{index}]{found[0]}", found[1]
    elif isinstance(value, int):
        try:
            float(value)
        except OverflowError:
            return "", "is larger than any double"
    return None


def _find_bad_member(value: dict[str, Any], depth: int) -> tuple[str, str] | None:
    for key, item in value.items():
        if "\0" in key:
            return "", "has a key that contains U+0000"
        found = _find_bad(item, depth - 1)
        if found is not None:
            return f".{key}{found[0]}", found[1]
    return None
