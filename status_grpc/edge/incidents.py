"""What the log is told of calls that fail. Of what nobody foresaw the caller gets an id, and the log the cause."""

from __future__ import annotations

import uuid
from typing import Any

import structlog

from status_grpc.domain.errors import Draining, Internal, InvalidArgument, StatusError, StreamTooOld
from status_grpc.edge.line_limit import LineLimit
from status_grpc.wire.errors import CODES
from status_grpc.wire.parsing import Unparsed

#: An id that is not valid may be as long as a request; so much of it tells which it was.
_LOGGED_CHARACTERS = 160

log = structlog.get_logger(__name__)


def unforeseen(failure: Exception, method: str, *, trace_id: str | None = None, peer: str | None = None) -> Internal:
    """Log the failure, and return the error that the caller of `method` gets for it."""
    incident = uuid.uuid4().hex[:12]
    named = _named(trace_id=trace_id, peer=peer)
    log.error("call failed unexpectedly", method=method, incident=incident, exc_info=failure, **named)
    return Internal(f"the server failed; its log has the cause under {incident}", incident=incident)


def trace_id_of(request: Any) -> str | None:
    """Return the id of the trace that a request is about, None if it names none."""
    if isinstance(request, Unparsed):
        try:
            request = request.message()
        except InvalidArgument:
            return None
    found = getattr(request, "trace_id", "") or getattr(getattr(request, "event", None), "trace_id", "")
    return found[:_LOGGED_CHARACTERS] or None


def log_failed(error: StatusError, method: str, trace_id: str | None, *, peer: str | None = None) -> None:
    """Log that a call of `method` ended with the error.

    `peer` is the caller's address without its port. Of each peer 20 lines in 10 s are written, and then one with the
    number of lines left out. None: no limit. A stream that a drain or its age has ended has not failed.
    """
    named = _named(trace_id=trace_id, peer=peer)
    if isinstance(error, Draining | StreamTooOld):
        log.debug("call ended", method=method, reason=error.reason, **named)
    elif peer is None or _limit.allows(peer):
        log.info("call failed", method=method, code=CODES[type(error)].name, reason=error.reason, **named)


def forget_frames(error: BaseException) -> None:
    """Detach an answered error from the frames that it went through.

    A frame with a variable that holds the error, as callers of futures and of the group commit have, makes a reference
    cycle with it. The cycle would keep all that the frames hold, such as a request of 4 MB, until the next collection.
    """
    error.__traceback__ = None
    error.__context__ = None
    error.__cause__ = None


def _report_left_out(peer: str, count: int) -> None:
    log.info("calls failed, lines left out", peer=peer, left_out=count)


_limit = LineLimit(_report_left_out)


def _named(**names: str | None) -> dict[str, str]:
    """Return the names that are known."""
    return {key: name for key, name in names.items() if name is not None}
