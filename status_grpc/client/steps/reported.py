"""ReportedScope: what steps and traces have in common: a beginning and an end that are reported, and never hurt."""

from __future__ import annotations

import sys
import uuid
from abc import ABC, abstractmethod
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import perf_counter
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from status_grpc.client.reporting.default import NoReporter, get_reporter
from status_grpc.client.reporting.fields import check_errors, to_draft
from status_grpc.client.reporting.once import log_fault, warn_once
from status_grpc.client.reporting.outbox import Ticket
from status_grpc.client.reporting.reports import finishes, make_report
from status_grpc.client.steps.scopes import Scope
from status_grpc.domain.errors import DeadlineExceeded
from status_grpc.domain.events import TraceEventStatus, TraceStatus
from status_grpc.domain.ids import mint_event_id

OnError: TypeAlias = Literal["warn", "raise"]

#: What the events of one scope have in common.
_IDENTITY = ("operation", "step_id", "attempt", "user", "domain", "domain_id", "meta")


class ReportedScope(Scope, ABC):
    """A scope as a context manager, also an asynchronous one, whose beginning and end make events."""

    def __init__(self, fields: dict[str, Any], on_error: OnError) -> None:
        super().__init__(fields)
        self.fields.setdefault("step_id", str(uuid.uuid4()))
        self._on_error = on_error
        self._reporter: Any = NoReporter()

    @property
    def step_id(self) -> str:
        """What tells this execution from others; all its events carry it."""
        return str(self.fields["step_id"])

    def report(self, **fields: Any) -> None:
        """Send an event now, beside the one at the end: how far it has come.

        Takes the same fields as `status_add`, and tells them only now. Raises as `status_add` does.
        """
        if fields.get("errors") is not None:
            check_errors(fields["errors"])
        try:
            self._put(self._identity() | fields)
        except Exception:
            log_fault()

    def _identity(self) -> dict[str, Any]:
        return {name: self.fields.get(name) for name in _IDENTITY} | {"start_time": self._started_at}

    @abstractmethod
    def _first_event(self) -> Ticket | None:
        """Report the beginning, if it is to be reported."""

    @abstractmethod
    def _last_event(self, error: BaseException | None) -> Ticket | None:
        """Report the end."""

    @abstractmethod
    def _waits_at_start(self) -> bool:
        """Whether the beginning waits until its event has arrived."""

    @abstractmethod
    def _waits_at_end(self) -> bool:
        """Whether the end waits until everything that was reported has arrived."""

    def _duration(self) -> timedelta:
        return timedelta(seconds=perf_counter() - self._clock)

    def _put(
        self, fields: dict[str, Any], *, creates: bool = False, expire_time: datetime | None = None
    ) -> Ticket | None:
        trace_id = self.trace_id
        if not trace_id:
            warn_once(
                "no trace", "status-grpc: step %r belongs to no trace; it is not reported", fields.get("operation")
            )
            return None
        defaults: dict[str, Any] = {
            "trace_status": TraceStatus.STARTED if creates else TraceStatus.CONTINUE,
            "trace_event_status": TraceEventStatus.OK,
            "trace_event_id": mint_event_id(),
        }
        settled = {"trace_id": trace_id, "component": self.component(self._reporter.options)}
        draft = to_draft(fields | settled)
        # Also in place of None and of a value that was left out: the service refuses an end without an outcome.
        draft = replace(draft, **{name: value for name, value in defaults.items() if not getattr(draft, name)})
        report = make_report(draft, creates=creates, expire_time=expire_time)
        ticket: Ticket | None = self._reporter.put(report, urgent=creates or finishes(draft))
        return ticket

    def _begin(self) -> Ticket | None:
        self.enter()
        self._clock = perf_counter()
        self._started_at = datetime.now(UTC)
        try:
            self._reporter = get_reporter()
            self._reporter.warm_up()
            return self._first_event()
        except Exception:
            log_fault()
            return None

    def _end(self, error: BaseException | None) -> Ticket | None:
        self.leave()
        if self.belongs_to_parent:
            return None  # a forked child that leaves what its parent is in: the parent tells the end
        try:
            return self._last_event(error)
        except Exception:
            log_fault()
            return None
        finally:
            self.ended = True

    def _raise_if_lost(self, ticket: Ticket | None) -> None:
        if self._on_error == "raise":
            self.leave()
            _raise_if_lost(ticket)

    def _flush(self) -> None:
        try:
            # Within an event loop all tasks would have to wait: `async with` does better.
            if not _in_event_loop():
                self._reporter.flush()
        except Exception:
            log_fault()

    async def _flush_async(self) -> None:
        try:
            await self._reporter.flush_async()
        except Exception:
            log_fault()

    def __enter__(self) -> Self:
        ticket = self._begin()
        if self._waits_at_start():
            self._flush()
            self._raise_if_lost(ticket)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        ticket = self._end(error)
        if self._waits_at_end():
            self._flush()
        if error is None and not self.belongs_to_parent:
            self._raise_if_lost(ticket)

    async def __aenter__(self) -> Self:
        ticket = self._begin()
        if self._waits_at_start():
            await self._flush_async()
            self._raise_if_lost(ticket)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        ticket = self._end(error)
        if self._waits_at_end():
            await self._flush_async()
        if error is None and not self.belongs_to_parent:
            self._raise_if_lost(ticket)


def failed(error: BaseException | None) -> bool:
    """Return whether code that ended with this exception has failed."""
    if error is None or isinstance(error, GeneratorExit):
        return False
    return not (isinstance(error, SystemExit) and error.code in (None, 0))


def _raise_if_lost(ticket: Ticket | None) -> None:
    if ticket is None:
        raise DeadlineExceeded("the event was not reported")
    if ticket.error is not None:
        raise ticket.error
    if not ticket.settled:
        raise DeadlineExceeded("the event has not arrived in time")


def _in_event_loop() -> bool:
    # Whoever runs an event loop has loaded asyncio; for others this library does not.
    asyncio = sys.modules.get("asyncio")
    try:
        return asyncio is not None and asyncio.get_running_loop() is not None
    except (RuntimeError, AttributeError):  # AttributeError: another thread is only just loading it
        return False
