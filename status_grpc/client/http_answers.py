"""What an HTTP answer means: a message, or an error of the service, of a proxy, or of whoever else answers.

The errors of the service come as Connect says (https://connectrpc.com/docs/protocol): a code, a message and details in
JSON. Anything else is told by its status code.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import timedelta
from email.message import Message as Headers
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import status_pb2

from status_grpc.client.retrying import NotTheService
from status_grpc.domain.errors import Internal, StatusError, Unavailable
from status_grpc.wire.codes import Code
from status_grpc.wire.errors import decode_status

M = TypeVar("M", bound=Message)

#: Connect's names of the codes: "canceled" it writes with one l.
_CODES: dict[str, Code] = {code.name.lower(): code for code in Code if code is not Code.OK}
_CODES["canceled"] = _CODES.pop("cancelled")
#: What a status code means that somebody between us and the service has answered with. 403 is not the service's word on
#: what the caller may do, but somebody's who does not let it through: a matter of configuration, as 401. The others are
#: told as they are.
_BY_STATUS = {
    401: Code.UNAUTHENTICATED,
    403: Code.UNAUTHENTICATED,
    408: Code.UNAVAILABLE,
    413: Code.RESOURCE_EXHAUSTED,
    425: Code.UNAVAILABLE,
    429: Code.UNAVAILABLE,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.UNAVAILABLE,
}
_LONGEST_DELAY = timedelta(minutes=5)
#: Most values in an answer, counted by what comes before them. Parsed, 32 MiB of "{}," would take gigabytes.
_MOST_VALUES = 5_000_000


def read_message(kind: type[M], body: bytes) -> M:
    """Parse an answer.

    Raises NotTheService if it is another message, and Internal for more values than the service sends.
    """
    if sum(map(body.count, (b",", b"{", b"["))) > _MOST_VALUES:
        raise Internal(f"the answer has more than {_MOST_VALUES} values")
    try:
        return json_format.Parse(body, kind(), ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, RecursionError):
        raise NotTheService(f"the answer is no {kind.DESCRIPTOR.name} in JSON") from None


def answered_error(status: int, reason: str, headers: Headers, body: bytes) -> StatusError:
    """Return the error that an answer with any status but 200 stands for."""
    error = _object(body)
    if error.get("code") in _CODES:
        return connect_error(error)
    # Not the service. A name for what it is, but not its words: they may be a page of HTML.
    message = f"HTTP {status} {reason}".strip()
    if 300 <= status < 400:
        return NotTheService(f"{message}: redirected, but calls go to their address and no other")
    code = _BY_STATUS.get(status)
    if code is None:
        kind = NotTheService if status < 500 else Internal  # a 500 may pass
        return kind(f"{message}: this does not look like the HTTP edge of a status service")
    decoded = decode_status(status_pb2.Status(code=code, message=message))
    if isinstance(decoded, Unavailable):
        return Unavailable(message, retry_after=_retry_after(headers, decoded.retry_after))
    return decoded


def connect_error(error: Mapping[str, Any]) -> StatusError:
    """Return the error of a Connect error in JSON."""
    code = _CODES.get(_text(error.get("code")), Code.UNKNOWN)
    status = status_pb2.Status(code=code, message=_text(error.get("message")))
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and isinstance(detail.get("type"), str) and isinstance(detail.get("value"), str):
            try:
                value = base64.b64decode(detail["value"] + "==")
                status.details.add(type_url=f"type.googleapis.com/{detail['type']}", value=value)
            except (binascii.Error, ValueError):
                pass
    if code is Code.CANCELLED:
        return Unavailable(status.message or "the server cancelled the call")
    if code is Code.UNIMPLEMENTED:
        return Internal(f"the server does not know this call: {status.message}", incident="unimplemented")
    return decode_status(status)


def _text(value: object) -> str:
    return value.encode(errors="replace").decode() if isinstance(value, str) else ""


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) and isinstance(value.get("code"), str) else {}


def _retry_after(headers: Headers, default: timedelta) -> timedelta:
    text = headers.get("Retry-After", "").strip()
    if not (text.isascii() and text.isdigit()):
        return default
    return min(timedelta(seconds=int(text[:9])), _LONGEST_DELAY)
