"""The reporter of this process: one for all steps, made when the first of them begins."""

from __future__ import annotations

import atexit
import logging
import threading
from typing import Protocol

from status_grpc.client.forks import renew_after_fork
from status_grpc.client.options import ReportingOptions, Token, client_options, reporting_options
from status_grpc.client.reporting.outbox import Ticket
from status_grpc.client.reporting.reporter import Reporter
from status_grpc.client.reporting.reports import Report

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

    def close(self, timeout: float | None = None) -> bool:
        """Flush, and end what runs."""


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

    def close(self, timeout: float | None = None) -> bool:
        """Return at once."""
        return True


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
) -> None:
    """Say how the steps of this process report; what is None comes from the environment, else from the defaults.

    See `ClientOptions` and `ReportingOptions`. To be called before the first step, or between steps: what was
    reported by then is flushed. Raises ValueError for options that cannot be.
    """
    given = dict(locals())
    options = reporting_options(given)
    if not options.reporting:
        _default.replace(NoReporter())
        return
    _default.replace(Reporter(client_options(given), options))


def flush(timeout: float | None = None) -> bool:
    """Wait until what the steps of this process have reported has arrived; returns whether it has.

    For those that do not wait themselves (`flush="background"`). `timeout` in seconds, None: `flush_timeout`.
    """
    return get_reporter().flush(timeout)


def _from_environment() -> AnyReporter:
    try:
        options = reporting_options({})
        if not options.reporting:
            return NoReporter()
        return Reporter(client_options({}), options)
    except ValueError as error:
        _log.error("status-grpc: nothing is reported: %s", error)
        return NoReporter()


@atexit.register
def _at_exit() -> None:
    if _default.reporter is not None:
        _default.reporter.flush()
