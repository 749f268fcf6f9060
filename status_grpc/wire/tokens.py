"""Page tokens: where a listing goes on, fit only for the query they were made for."""

from __future__ import annotations

import base64
import binascii
import json
from hashlib import blake2b
from typing import Any

from status_grpc.domain.errors import FieldViolation, InvalidArgument

_DIGEST_BYTES = 9


def make_page_token(query: object, position: list[Any]) -> str:
    """Return the token for going on with `query` (its repr tells queries apart) after `position` (JSON values)."""
    body = json.dumps(position, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_digest(query, body) + body).decode()


def read_page_token(query: object, token: str) -> list[Any]:
    """Return the position in the token.

    Raises InvalidArgument, naming page_token, for one that was made for another query or by somebody else.
    """
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _refused() from None
    digest, body = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    if digest != _digest(query, body):
        raise _refused()
    position: list[Any] = json.loads(body)
    return position


def _digest(query: object, body: bytes) -> bytes:
    # Not a secret: a token grants nothing that its query would not. It keeps a mix-up from becoming a wrong answer.
    return blake2b(repr(query).encode() + b"\0" + body, digest_size=_DIGEST_BYTES, person=b"page token").digest()


def _refused() -> InvalidArgument:
    return InvalidArgument([FieldViolation("page_token", "is not a token of this query")])
