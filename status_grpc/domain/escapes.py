"""Escapes for characters that steer a terminal."""

from __future__ import annotations

import unicodedata

#: Characters that are no controls to Unicode but reorder or break the line they stand in.
_REORDERING = frozenset("\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def escaped(text: str) -> str:
    """Return the text with its control characters as escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(escaped_character, text))


def escaped_character(char: str) -> str:
    """Return the character, or its escape when it is a control."""
    code = ord(char)
    if unicodedata.category(char) not in ("Cc", "Cs") and char not in _REORDERING:
        return char
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
