"""The outbox: reports that wait to be delivered, in order, bounded in number and bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from status_grpc.client.reporting.reports import Report
from status_grpc.domain.errors import StatusError

if TYPE_CHECKING:
    from status_grpc.client.reporting.spool import SpoolFile

#: What one delivery carries at most. The service takes 1,000 events and 4 MiB.
_BATCH_REPORTS = 500
_BATCH_BYTES = 2 * 1024 * 1024


class Ticket:
    """A report in the outbox, and what has become of it."""

    __slots__ = ("attempts", "error", "file", "number", "report", "settled")

    def __init__(self, report: Report, number: int, file: SpoolFile | None = None) -> None:
        self.report = report
        self.number = number
        #: The file on disk that holds the report, too.
        self.file = file
        #: How often it has failed for a reason of its own.
        self.attempts = 0
        #: Whether nothing more will happen to it; `error` is then why it was not delivered, if it was not.
        self.settled = False
        self.error: StatusError | None = None


class Outbox:
    """Holds reports until they are settled. Safe for many threads.

    At most `most_reports` and `most_bytes` of them; `put` refuses what has no room, unless it is `urgent`.
    """

    def __init__(self, most_reports: int = 10_000, most_bytes: int = 64 * 1024 * 1024) -> None:
        self.changed = threading.Condition()
        self._most_reports = most_reports
        self._most_bytes = most_bytes
        self._bytes = 0
        self._count = 0
        # In the order of their numbers. What is delivered out of order leaves those before it in place.
        self._pending: dict[int, Ticket] = {}
        # Each waits for the report with this number and all before it; the numbers only grow.
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()

    def __len__(self) -> int:
        return len(self._pending)

    def put(self, report: Report, *, urgent: bool = False, file: SpoolFile | None = None) -> Ticket | None:
        """Add a report at the end. Returns None when there is no room."""
        size = len(report.data)
        with self.changed:
            full = len(self._pending) >= self._most_reports or self._bytes + size > self._most_bytes
            if full and not urgent:
                return None
            self._count += 1
            ticket = self._pending[self._count] = Ticket(report, self._count, file)
            self._bytes += size
            if len(self._pending) == 1:
                self.changed.notify()
            return ticket

    def batch(self) -> list[Ticket]:
        """Return the first reports, as many as one delivery may carry; they stay in the outbox."""
        batch: list[Ticket] = []
        size = 0
        with self.changed:
            for ticket in islice(self._pending.values(), _BATCH_REPORTS):
                size += len(ticket.report.data)
                if batch and size > _BATCH_BYTES:
                    break
                batch.append(ticket)
        return batch

    def pending(self) -> list[Ticket]:
        """Return all reports that are not settled."""
        with self.changed:
            return list(self._pending.values())

    def settle(self, ticket: Ticket, error: StatusError | None = None) -> None:
        """Take a report out: it was delivered, or it never will be because of `error`."""
        with self.changed:
            if self._pending.pop(ticket.number, None) is None:
                return
            self._bytes -= len(ticket.report.data)
            ticket.error, ticket.settled = error, True
            due, file = self._take_due(), ticket.file
        if file is not None:
            file.settled_one()
        for callback in due:
            callback()

    def after_fork(self) -> None:
        """Close what the parent has locked: its locks are to end with it, not with its children."""
        for file in {ticket.file for ticket in self._pending.values()}:
            if file is not None:
                file.after_fork()

    def forget(self, ticket: Ticket) -> None:
        """Take a report out that is kept elsewhere."""
        ticket.file = None
        self.settle(ticket)

    def replace(self, ticket: Ticket, report: Report) -> None:
        """Deliver this report instead of the ticket's."""
        with self.changed:
            if ticket.number in self._pending:
                self._bytes += len(report.data) - len(ticket.report.data)
                ticket.report = report

    def keep_in(self, file: SpoolFile, tickets: list[Ticket]) -> None:
        """Note that the file holds these reports, too, and that of those settled by now it need not."""
        with self.changed:
            settled = [ticket for ticket in tickets if ticket.settled]
            for ticket in tickets:
                ticket.file = file
        for _ in settled:
            file.settled_one()

    def when_settled(self, callback: Callable[[], None]) -> None:
        """Call back, once, when all that is in the outbox now is settled; at once when it is empty."""
        with self.changed:
            if self._pending:
                self._waiting.append((self._count, callback))
                return
        callback()

    def _take_due(self) -> list[Callable[[], None]]:
        first = next(iter(self._pending), self._count + 1)
        due = []
        while self._waiting and self._waiting[0][0] < first:
            due.append(self._waiting.popleft()[1])
        return due
