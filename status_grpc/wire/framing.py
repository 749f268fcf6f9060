"""Puts encoded messages into encoded messages, so that what is encoded once need not be decoded to be sent again.

A message field is its tag, the length as a varint, and the bytes of the message
(https://protobuf.dev/programming-guides/encoding/); fields may simply be joined.
"""

from __future__ import annotations


def embedded(number: int, encoded: bytes) -> bytes:
    """Return an encoded message as field `number` (below 16) of the one around it."""
    length = len(encoded)
    if length < 0x80:
        return bytes((number << 3 | 2, length)) + encoded
    if length < 0x4000:  # most events
        return bytes((number << 3 | 2, length & 0x7F | 0x80, length >> 7)) + encoded
    head = bytearray((number << 3 | 2,))
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + encoded
