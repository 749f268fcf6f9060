"""Everything that can go wrong, as one tree; a class's docstring is its default message.

The server raises these, the edges translate them (`status_grpc.wire.errors` is the table), and the client raises the
same classes again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """What is wrong with one field. `field` is its path in the request, such as "event.errors[2].message"."""

    field: str
    description: str


class StatusError(Exception):
    """Something went wrong."""

    #: Machine-readable, stable; what google.rpc.ErrorInfo carries.
    reason: ClassVar[str] = "UNKNOWN"
    #: Whether the same call may succeed later.
    passing: ClassVar[bool] = False

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").partition("\n")[0])

    @property
    def message(self) -> str:
        """What went wrong, in one sentence."""
        return str(self.args[0])


class InvalidArgument(StatusError):
    """A field of the request is not valid."""

    reason = "INVALID_FIELD"

    def __init__(self, violations: list[FieldViolation] | tuple[FieldViolation, ...]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in self.violations[:12]) or None)

    def __reduce__(self) -> tuple[type[InvalidArgument], tuple[tuple[FieldViolation, ...]]]:
        """Return how to copy or unpickle it: from its violations, not its message."""
        return InvalidArgument, (self.violations,)

    @property
    def fields(self) -> dict[str, str]:
        """The bad fields: path -> what is wrong with it."""
        return {v.field: v.description for v in self.violations}

    def under(self, prefix: str) -> InvalidArgument:
        """Return the same error with every field below `prefix`."""
        return InvalidArgument([FieldViolation(f"{prefix}.{v.field}", v.description) for v in self.violations])


class TraceNotFound(StatusError):
    """There is no such trace."""

    reason = "TRACE_NOT_FOUND"


class PathNotFound(TraceNotFound):
    """No trace carries that path."""

    reason = "PATH_NOT_FOUND"


class AlreadyExists(StatusError):
    """That id is in use with other content."""

    reason = "EVENT_ID_REUSED"


class TraceExists(AlreadyExists):
    """A trace with that id exists already."""

    reason = "TRACE_EXISTS"


class SequenceMismatch(StatusError):
    """The trace's last sequence is not the expected one."""

    reason = "SEQUENCE_MISMATCH"


class TraceNotDone(StatusError):
    """A new run can only be opened on a trace that is done."""

    reason = "TRACE_NOT_DONE"


class CursorAhead(StatusError):
    """after_sequence is ahead of the trace."""

    reason = "CURSOR_AHEAD"


class HistoryChanged(StatusError):
    """The trace's history is not the one this cursor belongs to; start again from sequence 0."""

    reason = "HISTORY_CHANGED"


class Unauthenticated(StatusError):
    """The call carries no valid credentials."""

    reason = "UNAUTHENTICATED"


class PermissionDenied(StatusError):
    """The caller may not do this."""

    reason = "PERMISSION_DENIED"


class ResourceExhausted(StatusError):
    """A limit is reached."""

    reason = "LIMIT_REACHED"


class TraceFull(ResourceExhausted):
    """The trace has as many events as a trace may have."""

    reason = "TRACE_FULL"


class PassingError(StatusError):
    """The call cannot be served now; it may be repeated after `retry_after`."""

    passing = True

    def __init__(self, message: str | None = None, *, retry_after: timedelta = timedelta(milliseconds=250)) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Overloaded(PassingError, ResourceExhausted):
    """The server has as much work as it may take on; try again shortly."""

    reason = "OVERLOADED"


class Unavailable(PassingError):
    """The service cannot be reached or cannot reach its database; try again shortly."""

    reason = "UNAVAILABLE"


class Draining(Unavailable):
    """The server is shutting down; try again, and another one answers."""

    reason = "DRAINING"


class StreamTooOld(Unavailable):
    """The stream has reached its maximum age; resume it."""

    reason = "STREAM_TOO_OLD"


class SlowReader(Unavailable):
    """The stream was not read for too long; resume it."""

    reason = "SLOW_READER"


class DeadlineExceeded(StatusError):
    """The time allowed for the call is up."""

    reason = "DEADLINE_EXCEEDED"


class Internal(StatusError):
    """The server failed; its log tells why."""

    reason = "INTERNAL"

    def __init__(self, message: str | None = None, *, incident: str = "") -> None:
        super().__init__(message)
        #: The opaque id under which the server's log has the cause.
        self.incident = incident
