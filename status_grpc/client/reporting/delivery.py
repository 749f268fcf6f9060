"""Delivering a batch of reports: what is sent, and what the answers mean for each report."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import Any

from tracestatus.v1 import status_service_pb2 as pb

from status_grpc.client.operations import Send
from status_grpc.client.reporting.once import warn_once
from status_grpc.client.reporting.outbox import Outbox, Ticket
from status_grpc.client.reporting.reports import Report, made_smaller, without_refused
from status_grpc.domain.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    PassingError,
    PermissionDenied,
    ResourceExhausted,
    StatusError,
    TraceNotFound,
    Unauthenticated,
)
from status_grpc.wire.errors import decode_item_error
from status_grpc.wire.framing import embedded

#: How often a report is sent that makes the service fail, and how often it is mended when it is refused.
_ATTEMPTS = 3
#: A right may be granted, and the event that creates the trace may still lie in a spool.
_REFUSED_FOR_NOW = (PermissionDenied, TraceNotFound)


class Delivery:
    """Sends reports and settles them in the outbox.

    `send` makes one attempt of a call and raises StatusError. With a spool, a report that the server refuses for now
    is held there. Without one it is lost.
    """

    def __init__(
        self, outbox: Outbox, send: Callable[[Send], Any], attempt_timeout: float, *, has_spool: bool = False
    ) -> None:
        self._outbox = outbox
        self._send = send
        self._timeout = attempt_timeout
        self._has_spool = has_spool

    def deliver(self, batch: list[Ticket]) -> StatusError | None:
        """Send the reports, as far as one call goes. Returns why the rest has to wait, if it has to."""
        if batch[0].report.creates:
            return self._create(batch[0])
        return self._append(list(takewhile(lambda ticket: not ticket.report.creates, batch)))

    def _create(self, ticket: Ticket) -> StatusError | None:
        try:
            self._send(Send("Create", ticket.report.request(), self._timeout))
        except StatusError as error:
            return self._failed(ticket, error)
        self._outbox.settle(ticket)
        return None

    def _append(self, tickets: list[Ticket]) -> StatusError | None:
        request = pb.BatchUpdateRequest.FromString(b"".join(embedded(1, ticket.report.data) for ticket in tickets))
        try:
            answer: pb.BatchUpdateResponse = self._send(Send("BatchUpdate", request, self._timeout))
        except StatusError as error:
            if is_passing(error):
                return error
            if len(tickets) > 1:
                return self._append_halves(tickets)
            return self._failed(tickets[0], error)
        waits: StatusError | None = None
        for ticket, result in zip(tickets, answer.results, strict=False):
            if result.HasField("error"):
                waits = self._failed(ticket, decode_item_error(result)) or waits
            else:
                self._outbox.settle(ticket)
        return waits

    def _append_halves(self, tickets: list[Ticket]) -> StatusError | None:
        """Send both halves of what was refused as a whole, in order."""
        middle = len(tickets) // 2
        return self._append(tickets[:middle]) or self._append(tickets[middle:])

    def _failed(self, ticket: Ticket, error: StatusError) -> StatusError | None:
        """Settle the report, or leave it where it is and return the error."""
        if is_passing(error):
            return error
        kind = type(error).__name__
        if self._has_spool and isinstance(error, _REFUSED_FOR_NOW):
            warn_once(f"held {kind}", "status-grpc: an event is refused and stays in the spool: %s", error.message)
            self._outbox.hold(ticket, error)
            return None
        ticket.attempts += 1
        if ticket.attempts < _ATTEMPTS:
            if isinstance(error, Internal):
                return error
            mended = _mended(ticket.report, error)
            if mended is not None:
                warn_once(f"refused {error.message}", "status-grpc: the service refuses part of an event: %s", error)
                self._outbox.replace(ticket, mended)
                return None
        warn_once(f"lost {kind}", "status-grpc: an event is lost: %s: %s", kind, error.message)
        self._outbox.settle(ticket, error)
        return None


def _mended(report: Report, error: StatusError) -> Report | None:
    """Return the report without what the service refuses."""
    if isinstance(error, InvalidArgument):
        return without_refused(report, error)
    # The request is larger than the service takes, as JSON for example. TraceFull and Overloaded are other classes.
    return made_smaller(report) if type(error) is ResourceExhausted else None


def is_passing(error: StatusError) -> bool:
    """Return whether the service is away, rather than unwilling to take this report."""
    if isinstance(error, Internal):
        # Without an incident it is not the service that failed but something in front of it, or in its place.
        return not error.incident
    # A token that is not accepted is a matter of configuration: it may be put right while this process runs.
    return isinstance(error, PassingError | DeadlineExceeded | Unauthenticated)
