"""The reporter of this process: one for all steps, made when the first of them begins."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from status_grpc.client.forks import renew_after_fork
from status_grpc.client.options import (
    ReportingOptions,
    Token,
    client_options,
    is_server_configured,
    reporting_options,
)
from status_grpc.client.reporting.outbox import Ticket
from status_grpc.client.reporting.reporter import Reporter
from status_grpc.client.reporting.reports import Report
from status_grpc.client.reporting.spool_folder import spool_folder

_log = logging.getLogger("status_grpc")


class AnyReporter(Protocol):
    """What a step needs of a reporter."""

    options: ReportingOptions

    def warm_up(self) -> None:
        """Prepare for reports."""

    def put(self, report: Report, *, urgent: bool = False) -> Ticket | None:
        """Take a report."""

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until what was put so far is settled."""

    async def flush_async(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - as in flush
        """As `flush`, without blocking the event loop."""

    def take_undelivered(self) -> int:
        """Return how many reports were lost or held since the last call."""

    def close(self, timeout: float | None = None) -> bool:
        """Flush, and end what runs."""

    def leave(self) -> None:
        """Say what has not arrived, and leave it to others."""


class NoReporter:
    """Takes reports and forgets them: for where reporting is turned off or cannot work."""

    options = ReportingOptions(reporting=False)

    def warm_up(self) -> None:
        """Do nothing."""

    def put(self, report: Report, *, urgent: bool = False) -> Ticket | None:
        """Forget the report."""
        ticket = Ticket(report, 0)
        ticket.settled = True
        return ticket

    def flush(self, timeout: float | None = None) -> bool:
        """Return at once."""
        return True

    async def flush_async(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - as in flush
        """Return at once."""
        return True

    def take_undelivered(self) -> int:
        """Return 0."""
        return 0

    def close(self, timeout: float | None = None) -> bool:
        """Return at once."""
        return True

    def leave(self) -> None:
        """Do nothing."""


class _Default:
    def __init__(self) -> None:
        self.reporter: AnyReporter | None = None
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        self.lock = threading.Lock()

    def get(self) -> AnyReporter:
        if self.reporter is None:
            with self.lock:
                if self.reporter is None:
                    self.reporter = _from_environment()
        return self.reporter

    def replace(self, reporter: AnyReporter | None) -> None:
        with self.lock:
            former, self.reporter = self.reporter, reporter
        if former is not None:
            former.close()


_default = _Default()


def get_reporter() -> AnyReporter:
    """Return the reporter of this process; it is made from the environment unless `configure` was called."""
    return _default.get()


def configure(
    *,
    server: str | None = None,
    token: Token | None = None,
    token_file: str | None = None,
    ca: str | None = None,
    cert: str | None = None,
    key: str | None = None,
    plaintext: bool | None = None,
    attempt_timeout: float | None = None,
    reporting: bool | None = None,
    component: str | None = None,
    flush_timeout: float | None = None,
    spool: str | None = None,
    spool_bytes: int | None = None,
    spool_age: float | None = None,
) -> None:
    """Say how the steps of this process report; what is None comes from the environment, else from the defaults.

    See `ClientOptions` and `ReportingOptions`. To be called before the first step, or between steps: what was
    reported by then is flushed. Raises ValueError for options that cannot be.

    spool: a folder for events that have not arrived in time, "off" for none. With a server, given here or by the
    environment, it is by default a folder of the user's state. The events lie there with all their fields, readable
    for this user, until they are delivered, for at most `spool_age` seconds (7 days).
    """
    _default.replace(_make_reporter(dict(locals())))


def flush(timeout: float | None = None) -> bool:
    """Wait until the events of this process have arrived.

    Returns whether they have. False also if an event was refused or lost since the last call of this function. For
    steps that do not wait themselves (`flush="background"`). `timeout` in seconds, None: `flush_timeout`.
    """
    reporter = get_reporter()
    settled = reporter.flush(timeout)
    return not reporter.take_undelivered() and settled


def _from_environment() -> AnyReporter:
    try:
        return _make_reporter({})
    except ValueError as error:
        _log.error("status-grpc: nothing is reported: %s", error)
        return NoReporter()


def _make_reporter(given: Mapping[str, Any]) -> AnyReporter:
    options = reporting_options(given)
    if not options.reporting:
        return NoReporter()
    folder = spool_folder(options.spool, server_configured=is_server_configured(given))
    return Reporter(client_options(given), replace(options, spool=None if folder is None else str(folder)))


@atexit.register
def end_reporting() -> None:
    """Flush, and log how many reports have not arrived.

    The interpreter calls this at exit.
    """
    if _default.reporter is not None:
        _default.reporter.flush()
        _default.reporter.leave()
