"""The reporter: takes reports at once, delivers them from a thread of its own, and never raises."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from status_grpc.client.forks import loading_grpc, renew_after_fork
from status_grpc.client.options import ClientOptions, ReportingOptions
from status_grpc.client.reporting.once import warn_once
from status_grpc.client.reporting.outbox import Outbox, Ticket
from status_grpc.client.reporting.reports import Report
from status_grpc.client.retrying import Backoff
from status_grpc.client.tokens import with_guarded_token
from status_grpc.domain.errors import Internal, PassingError, StatusError

if TYPE_CHECKING:
    import asyncio

    from status_grpc.client.reporting.delivery import Delivery
    from status_grpc.client.reporting.spool import Spool, SpoolFile

log = logging.getLogger("status_grpc")

#: While the service is known to be away, a flush waits only for this part of its time: the first has waited already.
_SHARE_WHILE_AWAY = 0.1
#: How long to wait between attempts at most, and between looks into the spool, in seconds.
_LONGEST_PAUSE = 10.0
_SPOOL_INTERVAL = 60.0
#: How many reports are read from the spool at a time, about.
_ENOUGH_FROM_SPOOL = 1000
#: While a flush waits, the next attempt is made so many seconds after the last one.
_SHORTEST_PAUSE = 0.1


class Reporter:
    """Delivers reports in the background. Safe for threads, and for forks: a child begins with an empty outbox."""

    def __init__(self, connection: ClientOptions, options: ReportingOptions) -> None:
        self.options = options
        self._connection_options = connection
        self._spool = _open_spool(options.spool)
        self._begin()
        renew_after_fork(self)

    def _begin(self) -> None:
        self._outbox = Outbox()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._spooling = threading.Lock()
        self._closed = False
        self._flushing = 0
        #: Whether the last attempt, or the last flush, has failed.
        self._away = False
        self._look_in_spool_at = 0.0

    def after_fork(self) -> None:
        """Leave to the parent what is the parent's: it delivers it."""
        self._outbox.after_fork()
        self._begin()

    def warm_up(self) -> None:
        """Start the thread, which loads what it needs while the step works."""
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._closed = False
                    self._thread = threading.Thread(target=self._run, name="status-grpc-reporter", daemon=True)
                    self._thread.start()

    def put(self, report: Report, *, urgent: bool = False) -> Ticket | None:
        """Take a report. Returns None when it is lost, because far too many wait and there is no spool.

        An `urgent` one, such as the end of a trace, always has room.
        """
        ticket = self._outbox.put(report, urgent=urgent)
        if ticket is None and self._spool is not None:
            self._move_to_spool()
            ticket = self._outbox.put(report, urgent=urgent)
        self.warm_up()
        if ticket is None:
            warn_once("full", "status-grpc: too many events wait to be delivered; events are lost")
        return ticket

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until what was put so far is settled, for at most `timeout` seconds (None: the default).

        Returns whether it is. What is not is written to the spool, if there is one, and is delivered later.
        """
        arrived = threading.Event()
        self._outbox.when_settled(arrived.set)
        if not arrived.is_set():
            self._hurry(1)
            arrived.wait(self._bound(timeout))
            self._hurry(-1)
        if not arrived.is_set():
            self._flush_failed()
        return arrived.is_set()

    async def flush_async(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - as in flush
        """As `flush`, without blocking the event loop."""
        import asyncio  # not above: synchronous programs do without it

        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()
        self._outbox.when_settled(lambda: _call_in(loop, arrived.set))
        self._hurry(1)
        try:
            async with asyncio.timeout(self._bound(timeout)):
                await arrived.wait()
        except TimeoutError:
            await asyncio.to_thread(self._flush_failed)
            return False
        finally:
            self._hurry(-1)
        return True

    def close(self, timeout: float | None = None) -> bool:
        """Flush, and end the thread and the connection. A report put later starts them anew."""
        flushed = self.flush(timeout)
        with self._outbox.changed:
            self._closed = True
            self._outbox.changed.notify_all()
        thread = self._thread
        if thread is not None and flushed:
            thread.join(self._bound(timeout))
        return flushed

    def _bound(self, timeout: float | None) -> float:
        if timeout is not None:
            return timeout
        return self.options.flush_timeout * (_SHARE_WHILE_AWAY if self._away else 1)

    def _flush_failed(self) -> None:
        self._away = True
        self._warn("it does not answer")
        self._copy_to_spool()

    def _warn(self, reason: object) -> None:
        server = self._connection_options.server
        warn_once(f"away {server}", "status-grpc: events wait for the service at %s: %s", server, reason)

    def _hurry(self, flushes: int) -> None:
        """Note that so many more flushes wait: while there are some, pauses are short."""
        with self._outbox.changed:
            self._flushing += flushes
            self._outbox.changed.notify_all()

    def _copy_to_spool(self) -> SpoolFile | None:
        """Write what waits and is not on disk yet to the spool; it is still tried from here."""
        if self._spool is None:
            return None
        with self._spooling:
            tickets = [ticket for ticket in self._outbox.pending() if ticket.file is None]
            if not tickets:
                return None
            try:
                file = self._spool.write([ticket.report for ticket in tickets])
            except OSError as error:
                warn_once("spool", "status-grpc: events cannot be spooled: %s", error)
                return None
            self._outbox.keep_in(file, tickets)
            return file

    def _move_to_spool(self) -> None:
        """Make room: what waits is on disk, so it can be read again later."""
        self._copy_to_spool()
        for ticket in self._outbox.pending():
            if ticket.file is not None:
                ticket.file.release()
                self._outbox.forget(ticket)
        self._look_in_spool_at = 0.0

    def _load_spool(self) -> None:
        """Put what others (or this process, when it had no room) have left in the spool into the outbox."""
        if self._spool is None or self._away or time.monotonic() < self._look_in_spool_at:
            return
        self._look_in_spool_at = time.monotonic() + _SPOOL_INTERVAL
        try:
            for file, reports in self._spool.claim():
                for report in reports:
                    self._outbox.put(report, urgent=True, file=file)
                if len(self._outbox) >= _ENOUGH_FROM_SPOOL:
                    self._look_in_spool_at = 0.0
                    return
        except OSError as error:
            warn_once("spool", "status-grpc: spooled events cannot be read: %s", error)

    def _run(self) -> None:
        try:
            with loading_grpc():
                # Here and not above: this is what loads gRPC, or whatever else it takes.
                from status_grpc.client.connecting import connect
                from status_grpc.client.reporting.delivery import Delivery

                connection = connect(with_guarded_token(self._connection_options))
            delivery = Delivery(self._outbox, connection.send, self._connection_options.attempt_timeout)
            self._deliver(delivery)
            connection.close()
        except Exception:
            self._away = True
            log.exception("status-grpc: events cannot be delivered")

    def _deliver(self, delivery: Delivery) -> None:
        backoff = Backoff(longest=_LONGEST_PAUSE)
        failures = 0
        while self._wait_for_reports():
            error = self._attempt(delivery)
            if error is None:
                failures, self._away = 0, False
                continue
            failures += 1
            self._away = True
            self._warn(error)
            delay = backoff.delay(failures, random.random())  # noqa: S311 - not a secret
            self._pause(max(delay, error.retry_after.total_seconds() if isinstance(error, PassingError) else 0.0))

    def _attempt(self, delivery: Delivery) -> StatusError | None:
        batch = self._outbox.batch()
        if not batch:
            return None
        try:
            return delivery.deliver(batch)
        except Exception as error:
            # A fault of this library: the reports that bring it about must not stop all others.
            log.exception("status-grpc: %d events are lost", len(batch))
            for ticket in batch:
                self._outbox.settle(ticket, Internal(str(error)))
            return None

    def _wait_for_reports(self) -> bool:
        """Wait until there is something to deliver. Returns whether there is; not when the reporter was closed."""
        while True:
            self._load_spool()
            with self._outbox.changed:
                if self._closed and (self._away or not len(self._outbox)):
                    self._thread = None
                    return False
                if len(self._outbox):
                    return True
                self._outbox.changed.wait(_SPOOL_INTERVAL if self._spool is not None else None)

    def _pause(self, seconds: float) -> None:
        """Wait before the next attempt, less if somebody flushes."""
        begun_at = time.monotonic()
        with self._outbox.changed:
            while not self._closed:
                elapsed = time.monotonic() - begun_at
                left = (min(_SHORTEST_PAUSE, seconds) if self._flushing else seconds) - elapsed
                if left <= 0:
                    return
                self._outbox.changed.wait(left)


def _open_spool(folder: str | None) -> Spool | None:
    if not folder:
        return None
    # Here and not above: it needs what only POSIX systems have.
    from status_grpc.client.reporting.spool import Spool

    return Spool(Path(folder))


def _call_in(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        pass  # the loop is closed: nobody waits any more
