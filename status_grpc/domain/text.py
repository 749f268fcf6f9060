"""Escapes for text that UTF-8 cannot encode."""

from __future__ import annotations

import re
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")
#: `os.fsdecode` maps a byte 0x80 to 0xFF that is not UTF-8 to U+DC80 to U+DCFF.
_FIRST_BYTE, _LAST_BYTE, _OFFSET = 0xDC80, 0xDCFF, 0xDC00
#: Deeper values are refused anyway, and a circular one has no end.
_DEEPEST = 100


def escape_surrogates(text: str) -> str:
    r"""Return the text with each lone surrogate as an escape.

    A byte that `os.fsdecode` kept as U+DC80 to U+DCFF becomes `\x80` to `\xff`, another surrogate `\ud800` or the like.
    Valid Unicode is returned untouched, backslashes included. So a text that already has such a sequence and an escaped
    one may be equal.
    """
    return text if text.isascii() else _SURROGATE.sub(_escape, text)


def escape_surrogates_within(value: Any, depth: int = _DEEPEST) -> Any:
    """Return the JSON value with texts and keys escaped."""
    if isinstance(value, str):
        return escape_surrogates(value)
    if depth > 0 and isinstance(value, dict):
        return {
            escape_surrogates_within(key, 0): escape_surrogates_within(item, depth - 1) for key, item in value.items()
        }
    if depth > 0 and isinstance(value, list | tuple):
        return [escape_surrogates_within(item, depth - 1) for item in value]
    return value


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code - _OFFSET:02x}" if _FIRST_BYTE <= code <= _LAST_BYTE else f"\\u{code:04x}"
