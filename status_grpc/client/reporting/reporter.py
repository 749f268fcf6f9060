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
from status_grpc.client.options import ClientOptions, ReportingOptions, normal_server
from status_grpc.client.reporting.once import warn_once
from status_grpc.client.reporting.outbox import Outbox, Ticket
from status_grpc.client.reporting.reports import Report
from status_grpc.client.retrying import Backoff
from status_grpc.client.tokens import with_guarded_token
from status_grpc.domain.errors import Internal, PassingError, StatusError, Unavailable

if TYPE_CHECKING:
    import asyncio

    from status_grpc.client.reporting.delivery import Delivery
    from status_grpc.client.reporting.spooler import Spooler

log = logging.getLogger("status_grpc")

#: While the service is known to be away, a flush waits only for this part of its time: the first has waited already.
_SHARE_WHILE_AWAY = 0.1
#: A flush that has waited for this part of its time begins to write to the spool, so that both fit into it.
_SHARE_BEFORE_SPOOLING = 0.5
#: How long the end of the process waits for the disk at most, in seconds.
_LONGEST_LAST_WRITE = 10.0
#: How long to wait between attempts at most, and between looks into the spool, in seconds.
_LONGEST_PAUSE = 10.0
_SPOOL_INTERVAL = 60.0
#: While a flush waits, the next attempt is made so many seconds after the last one.
_SHORTEST_PAUSE = 0.1


class Reporter:
    """Delivers reports in the background. Safe for threads, and for forks: a child begins with an empty outbox."""

    def __init__(self, connection: ClientOptions, options: ReportingOptions) -> None:
        self.options = options
        self._connection_options = connection
        self._spooler: Spooler | None = None
        self._begin()
        renew_after_fork(self)

    def _begin(self) -> None:
        self._outbox = Outbox()
        self._spooler = self._open_spool()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closed = False
        self._flushing = 0
        #: Whether the last attempt, or the last flush, has failed.
        self._away = False

    def _open_spool(self) -> Spooler | None:
        if self.options.spool is None:
            return None
        # Here and not above: it needs what only POSIX systems have.
        from status_grpc.client.reporting.spool import Spool
        from status_grpc.client.reporting.spooler import Spooler

        server = normal_server(self._connection_options.server)
        spool = Spool(Path(self.options.spool), server, self.options.spool_bytes, self.options.spool_age)
        return Spooler(spool, self._outbox)

    def after_fork(self) -> None:
        """Leave to the parent what is the parent's: it delivers it."""
        if self._spooler is not None:
            self._spooler.after_fork()
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
        if ticket is None and self._spooler is not None:
            # The disk is given time: until twice as much waits, then as long as a flush waits.
            asked = self._spooler.ask(room=True)
            ticket = self._outbox.put(report, share=2)
            if ticket is None:
                self._spooler.wait(asked, self.options.flush_timeout)
                ticket = self._outbox.put(report, share=2)
        self.warm_up()
        if ticket is None:
            self._outbox.lose("too many events waited")
            warn_once("full", "status-grpc: too many events wait to be delivered; events are lost")
        return ticket

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until what was put so far is settled, for at most `timeout` seconds (None: the default).

        Returns whether it is. What is not is in the spool by then, if there is one, and is delivered later.
        """
        arrived = threading.Event()
        self._outbox.when_settled(arrived.set)
        if arrived.is_set():
            return True
        began, bound = time.monotonic(), self._bound(timeout)
        self._hurry(1)
        patience = self._patience_before_spooling(bound)
        spooled = None if arrived.wait(patience) else self._spool_soon()
        arrived.wait(bound - patience)
        self._hurry(-1)
        if not arrived.is_set():
            self._flush_failed(spooled, began)
        return arrived.is_set()

    def take_undelivered(self) -> int:
        """Return how many reports were lost or held since the last call.

        The service refused them, or too many were waiting.
        """
        return self._outbox.take_undelivered()

    async def flush_async(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - as in flush
        """As `flush`, without blocking the event loop."""
        import asyncio  # not above: synchronous programs do without it

        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()
        self._outbox.when_settled(lambda: _call_in(loop, arrived.set))
        began, bound = time.monotonic(), self._bound(timeout)
        self._hurry(1)
        patience = self._patience_before_spooling(bound)
        spooled = None
        try:
            if not await _is_set(arrived, patience):
                spooled = self._spool_soon()
                await _is_set(arrived, bound - patience)
        finally:
            self._hurry(-1)
        if not arrived.is_set():
            await asyncio.to_thread(self._flush_failed, spooled, began)
        return arrived.is_set()

    def close(self, timeout: float | None = None) -> bool:
        """Flush, and end the thread and the connection. A report put later starts them anew."""
        flushed = self.flush(timeout)
        with self._outbox.changed:
            self._closed = True
            self._outbox.changed.notify_all()
        thread = self._thread
        if thread is not None and flushed:
            thread.join(self._bound(timeout))
        self.leave()
        return flushed

    def leave(self) -> None:
        """Log what has not arrived, and leave the spool to other processes.

        For the end of the process, after the last flush.
        """
        outbox, spooler, kept = self._outbox, self._spooler, 0
        if spooler is not None:
            kept = spooler.leave(_LONGEST_LAST_WRITE)
        why = "there is no spool" if spooler is None else "they could not be spooled"
        for ticket in outbox.pending():
            outbox.settle(ticket, Unavailable(f"the server did not take them in time, and {why}"))
        lost, outbox.lost = outbox.lost, 0
        parts = []
        if kept and spooler is not None:
            parts.append(
                f"{self._events(kept)} kept in {spooler.place} until the next process that reports to this server, "
                "or `status-grpc spool deliver`, delivers them"
            )
        if lost:
            parts.append(f"{self._events(lost)} lost: {outbox.lost_because}")
        if parts:
            log.warning("status-grpc: %s", "; ".join(parts))

    def _events(self, count: int) -> str:
        server = self._connection_options.server
        return f"1 event for {server} is" if count == 1 else f"{count} events for {server} are"

    def _bound(self, timeout: float | None) -> float:
        if timeout is not None:
            return timeout
        return self.options.flush_timeout * (_SHARE_WHILE_AWAY if self._away else 1)

    def _patience_before_spooling(self, bound: float) -> float:
        """Return after how many seconds of a flush the spool is written."""
        if self._away or self._spooler is None:
            return 0.0
        return min(bound, self.options.flush_timeout) * _SHARE_BEFORE_SPOOLING

    def _spool_soon(self) -> int | None:
        return None if self._spooler is None else self._spooler.ask()

    def _flush_failed(self, spooled: int | None, began: float) -> None:
        self._away = True
        self._warn("it does not answer")
        if self._spooler is not None and spooled is not None:
            # Usually it was written long ago. A slow disk is waited for no longer than a slow server.
            self._spooler.wait(spooled, began + self.options.flush_timeout - time.monotonic())

    def _warn(self, reason: object) -> None:
        server = self._connection_options.server
        warn_once(f"away {server}", "status-grpc: events wait for the service at %s: %s", server, reason)

    def _hurry(self, flushes: int) -> None:
        """Note that so many more flushes wait: while there are some, pauses are short."""
        with self._outbox.changed:
            self._flushing += flushes
            self._outbox.changed.notify_all()

    def _run(self) -> None:
        try:
            with loading_grpc():
                # Here and not above: this is what loads gRPC, or whatever else it takes.
                from status_grpc.client.connecting import connect
                from status_grpc.client.reporting.delivery import Delivery

                connection = connect(with_guarded_token(self._connection_options))
            delivery = Delivery(
                self._outbox,
                connection.send,
                self._connection_options.attempt_timeout,
                has_spool=self._spooler is not None,
            )
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
            if self._outbox.has_refused or error is not None:
                self._spool_soon()
            if error is None:
                failures, self._away = 0, False
                continue
            failures += 1
            self._away = True
            self._warn(error)
            delay = backoff.delay(failures, random.random())  # noqa: S311 - not a secret
            self._pause(max(delay, error.retry_after.total_seconds() if isinstance(error, PassingError) else 0.0))

    def _attempt(self, delivery: Delivery) -> StatusError | None:
        batch = self._outbox.batch(own=self._spooler is None or not self._spooler.has_more)
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
            if self._spooler is not None and not self._away and (self._outbox.has_own or not self._closed):
                self._spooler.load()
            with self._outbox.changed:
                if self._closed and (self._away or not len(self._outbox)):
                    self._thread = None
                    return False
                if len(self._outbox):
                    return True
                self._outbox.changed.wait(_SPOOL_INTERVAL if self._spooler is not None else None)

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


async def _is_set(event: asyncio.Event, timeout: float) -> bool:  # noqa: ASYNC109 - as in flush
    """Wait for the event, and return whether it is set."""
    import asyncio

    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _call_in(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        pass  # the loop is closed: nobody waits any more
