"""Refuses requests of ambiguous length.

The rules are those of RFC 9112, sections 2.2, 6.1 and 6.3. A proxy in front that reads such a request otherwise would
take a part of its body for another request.
"""

from __future__ import annotations

import re
from typing import Any

import h11

#: How large the head of a request may be, in bytes.
HEAD_BYTES = 32 * 1024
HEAD_TOO_LARGE = "the head of the request is too large"

_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_LENGTH = re.compile(rb"\r\ncontent-length[ \t]*:([^\r\n]*)", re.IGNORECASE)
_CODING = re.compile(rb"\r\ntransfer-encoding[ \t]*:", re.IGNORECASE)


def framing_fault(head: bytes) -> str | None:
    """Return the fault in the framing of a request, or None.

    `head` is the head of the request, or the part of it that has arrived.
    """
    if _BARE_LINE_FEED.search(head):
        return "a line of the head ends without a carriage return"
    lengths = _LENGTH.findall(head)
    if len(lengths) > 1 or any(b"," in length for length in lengths):
        return "Content-Length is given more than once"
    if lengths and _CODING.search(head):
        return "Content-Length and Transfer-Encoding are both given"
    return None


class StrictConnection(h11.Connection):
    """An h11 connection that refuses requests of ambiguous length."""

    def next_event(self) -> Any:
        """Return the next event. Raises h11.RemoteProtocolError."""
        if self.their_state is h11.IDLE:
            # One copy of what has arrived, at most a head of 32 KiB and a chunk of the body.
            head, _, _ = self.trailing_data[0].partition(b"\r\n\r\n")
            fault = framing_fault(head)
            if fault is not None:
                raise h11.RemoteProtocolError(fault)
        return super().next_event()
