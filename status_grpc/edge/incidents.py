"""What nobody foresaw: its cause goes into the log, and an opaque id of it to the caller."""

from __future__ import annotations

import uuid

import structlog

from status_grpc.domain.errors import Internal

log = structlog.get_logger(__name__)


def unforeseen(failure: Exception, method: str, *, trace_id: str | None = None) -> Internal:
    """Log the failure, and return the error that the caller of `method` gets for it."""
    incident = uuid.uuid4().hex[:12]
    log.error("call failed unexpectedly", method=method, incident=incident, trace_id=trace_id, exc_info=failure)
    return Internal(f"the server failed; its log has the cause under {incident}", incident=incident)
