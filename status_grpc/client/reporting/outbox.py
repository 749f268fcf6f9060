"""The outbox of reports that wait to be delivered.

It keeps their order, and is bounded in number and bytes. Reports that earlier processes have left in the spool are
delivered before those of this process.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from itertools import chain, islice
from typing import TYPE_CHECKING

from status_grpc.client.reporting.reports import Report
from status_grpc.domain.errors import StatusError

if TYPE_CHECKING:
    from status_grpc.client.reporting.spool import SpoolFile

#: What one delivery carries at most. The service takes 1,000 events, and in JSON 4 MiB and 262,144 values, which take
#: at least 4 bytes each in nearly all events.
_BATCH_REPORTS = 500
_BATCH_BYTES = 1024 * 1024


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
        #: Whether this process does nothing more about it; `error` is then why it was not delivered, if it was not.
        self.settled = False
        self.error: StatusError | None = None


class Outbox:
    """Holds reports until they are settled. Safe for many threads.

    At most `most_reports` and `most_bytes` of this process; `put` refuses what has no room, unless it is `urgent`.
    """

    def __init__(self, most_reports: int = 10_000, most_bytes: int = 64 * 1024 * 1024) -> None:
        self.changed = threading.Condition()
        #: How many reports never will be delivered, and why the last of them will not.
        self.lost = 0
        self.lost_because = ""
        self._most_reports = most_reports
        self._most_bytes = most_bytes
        self._bytes = 0
        self._count = 0
        #: How many reports of this process were not delivered since `take_undelivered`.
        self._undelivered = 0
        # In the order of their numbers. What is delivered out of order leaves those before it in place.
        self._pending: dict[int, Ticket] = {}
        # From the spool. They are delivered first, and no flush waits for them alone.
        self._earlier: dict[int, Ticket] = {}
        # Refused by the server, and to be kept on disk.
        self._refused: list[Report] = []
        # Each waits for the report with this number and all before it; the numbers only grow.
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()

    def __len__(self) -> int:
        return len(self._pending) + len(self._earlier)

    @property
    def has_earlier(self) -> bool:
        """Whether there are reports from the spool."""
        return bool(self._earlier)

    @property
    def has_own(self) -> bool:
        """Whether there are reports of this process."""
        return bool(self._pending)

    @property
    def has_refused(self) -> bool:
        """Whether there are reports for `take_refused`."""
        return bool(self._refused)

    def put(self, report: Report, *, urgent: bool = False, share: int = 1) -> Ticket | None:
        """Add a report at the end.

        share: so many times the limits hold. Returns None when there is no room.
        """
        size = len(report.data)
        with self.changed:
            full = len(self._pending) >= share * self._most_reports or self._bytes + size > share * self._most_bytes
            if full and not urgent:
                return None
            self._count += 1
            ticket = self._pending[self._count] = Ticket(report, self._count)
            self._bytes += size
            if len(self._pending) == 1:
                self.changed.notify()
            return ticket

    def put_earlier(self, report: Report, file: SpoolFile) -> Ticket:
        """Add a report from the spool, before all reports of this process."""
        with self.changed:
            self._count += 1
            ticket = self._earlier[self._count] = Ticket(report, self._count, file)
            return ticket

    def batch(self, *, own: bool = True) -> list[Ticket]:
        """Return the first reports, as many as one delivery may carry.

        They stay in the outbox. own: False leaves out those of this process, because earlier ones are not here yet.
        """
        batch: list[Ticket] = []
        size = 0
        with self.changed:
            waiting = chain(self._earlier.values(), self._pending.values() if own else ())
            for ticket in islice(waiting, _BATCH_REPORTS):
                size += len(ticket.report.data)
                if batch and size > _BATCH_BYTES:
                    break
                batch.append(ticket)
        return batch

    def pending(self) -> list[Ticket]:
        """Return all reports of this process that are not settled."""
        with self.changed:
            return list(self._pending.values())

    def earlier(self) -> list[Ticket]:
        """Return all reports from the spool that are not settled."""
        with self.changed:
            return list(self._earlier.values())

    def settle(self, ticket: Ticket, error: StatusError | None = None) -> None:
        """Take a report out: it was delivered, or it never will be because of `error`."""
        lost = None if error is None else error.message
        file = self._take_out(ticket, error, lost=lost)
        if file is not None:
            file.settled_one()

    def hold(self, ticket: Ticket, error: StatusError) -> None:
        """Take out a report that the server refuses for now."""
        file = self._take_out(ticket, error, hold=True)
        if file is not None:
            file.hold(ticket.report)

    def forget(self, ticket: Ticket) -> None:
        """Take a report out that is kept elsewhere."""
        self._take_out(ticket, None)

    def lose(self, reason: str, count: int = 1) -> None:
        """Note that reports are lost."""
        with self.changed:
            self.lost += count
            self.lost_because = reason
            self._undelivered += count

    def take_undelivered(self) -> int:
        """Return how many own reports were lost or held since the last call."""
        with self.changed:
            undelivered, self._undelivered = self._undelivered, 0
            return undelivered

    def take_refused(self) -> list[Report]:
        """Return the held reports that are in no file yet, once."""
        with self.changed:
            refused, self._refused = self._refused, []
        return refused

    def _take_out(
        self, ticket: Ticket, error: StatusError | None, *, lost: str | None = None, hold: bool = False
    ) -> SpoolFile | None:
        """Take a report out and return the file that has it.

        Everything is noted before a flush that waits for it returns.
        """
        with self.changed:
            if self._pending.pop(ticket.number, None) is not None:
                self._bytes -= len(ticket.report.data)
                self._undelivered += error is not None
            elif self._earlier.pop(ticket.number, None) is None:
                return None
            ticket.error, ticket.settled = error, True
            if lost is not None:
                self.lost += 1
                self.lost_because = lost
            if hold and ticket.file is None:
                self._refused.append(ticket.report)
            due, file = self._take_due(), ticket.file
        for callback in due:
            callback()
        return file

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
        """Call back, once, when all reports of this process are settled."""
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
