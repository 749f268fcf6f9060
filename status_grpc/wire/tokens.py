"""Page tokens: where a listing goes on, fit only for the query they were made for."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

from status_grpc.domain.errors import FieldViolation, InvalidArgument

_DIGEST_BYTES = 9
_LARGEST_NUMBER = 2**63 - 1


def make_page_token(query: object, position: list[Any]) -> str:
    """Return the token for going on with `query` (its repr tells queries apart) after `position` (JSON values)."""
    body = json.dumps(position, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_digest(query, body) + body).decode()


def read_page_token(query: object, token: str, *readers: Callable[[Any], Any]) -> list[Any]:
    """Return the values of the position in the token.

    Each value is converted by the reader at its place. Raises InvalidArgument, naming page_token, for a token of
    another query and for one that this service did not make.
    """
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        digest, body = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        if digest != _digest(query, body):
            raise _refused()
        position = json.loads(body)
        if not isinstance(position, list):
            raise _refused()
        return [reader(value) for reader, value in zip(readers, position, strict=True)]
    except (binascii.Error, ValueError, RecursionError):
        raise _refused() from None


def number_in_token(value: Any) -> int:
    """Return a sequence or a count. Raises ValueError."""
    if type(value) is not int or not 0 <= value <= _LARGEST_NUMBER:
        raise ValueError
    return value


def time_in_token(value: Any) -> datetime:
    """Return a time in UTC. Raises ValueError."""
    time = datetime.fromisoformat(text_in_token(value))
    if time.utcoffset() != timedelta():
        raise ValueError
    return time


def text_in_token(value: Any) -> str:
    """Return a text that a database takes. Raises ValueError."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    value.encode()  # lone surrogates are no UTF-8
    return value


def _digest(query: object, body: bytes) -> bytes:
    # Not a secret: a token grants nothing that its query would not. It keeps a mix-up from becoming a wrong answer.
    return blake2b(repr(query).encode() + b"\0" + body, digest_size=_DIGEST_BYTES, person=b"page token").digest()


def _refused() -> InvalidArgument:
    return InvalidArgument([FieldViolation("page_token", "is not a token of this query")])
