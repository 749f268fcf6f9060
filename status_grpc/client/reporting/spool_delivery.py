"""Delivery of all spooled reports for one server, by command."""

from __future__ import annotations

import time
from dataclasses import dataclass

from status_grpc.client.connecting import connect
from status_grpc.client.operations import attempts
from status_grpc.client.options import ClientOptions
from status_grpc.client.reporting.delivery import Delivery
from status_grpc.client.reporting.outbox import Outbox
from status_grpc.client.reporting.spool import Spool
from status_grpc.client.tokens import with_guarded_token
from status_grpc.domain.errors import StatusError, Unauthenticated


@dataclass(slots=True)
class SpoolOutcome:
    """What became of the events that waited for one server."""

    delivered: int = 0
    #: Refused for good, and deleted.
    lost: int = 0
    #: Still in the spool.
    remaining: int = 0
    #: In files that running processes have locked. They deliver them.
    in_use: int = 0
    #: Why some remain or are lost: the last error.
    error: StatusError | None = None


class SpoolDelivery:
    """Delivers what waits in a spool, with the credentials of these options."""

    def __init__(self, spool: Spool, options: ClientOptions) -> None:
        self._spool = spool
        self._options = options
        self._connection = connect(with_guarded_token(options))
        self._outcome = SpoolOutcome()

    def run(self) -> SpoolOutcome:
        """Deliver until nothing is left, or nothing more can be delivered.

        Passes are repeated while they deliver something: an event may lie in an older file than the one that creates
        its trace.
        """
        try:
            while self._pass():
                pass
        finally:
            self._connection.close()
        for waiting in self._spool.waiting():
            if waiting.server == self._spool.server:
                if waiting.in_use:
                    self._outcome.in_use += waiting.events
                else:
                    self._outcome.remaining += waiting.events
        return self._outcome

    def _pass(self) -> bool:
        """Try every file once. Returns whether another pass may deliver more."""
        before = self._outcome.delivered
        refused = False
        for file, reports in self._spool.claim_all():
            outbox = Outbox()
            tickets = [outbox.put_earlier(report, file) for report in reports]
            stopped = self._deliver(outbox)
            file.release()
            self._outcome.delivered += sum(ticket.settled and ticket.error is None for ticket in tickets)
            self._outcome.lost += outbox.lost
            errors = [ticket.error for ticket in tickets if ticket.error is not None]
            refused = refused or bool(errors)
            self._outcome.error = stopped or (errors[-1] if errors else self._outcome.error)
            if stopped is not None:
                return False
        return refused and self._outcome.delivered > before

    def _deliver(self, outbox: Outbox) -> StatusError | None:
        """Deliver the outbox. Return why it stopped, if it did."""
        delivery = Delivery(outbox, self._connection.send, self._options.attempt_timeout, has_spool=True)
        tries = None
        while batch := outbox.batch():
            error = delivery.deliver(batch)
            if error is None:
                tries = None
                continue
            tries = tries or attempts(self._options, None)
            if isinstance(error, Unauthenticated):
                return error
            try:
                time.sleep(tries.failed(error))
            except StatusError:
                return error
        return None
