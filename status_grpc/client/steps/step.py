"""Step: one execution of a step of a pipeline, reported when it ends."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from status_grpc.client.reporting.outbox import Ticket
from status_grpc.client.steps.exporting import imported_trace_id
from status_grpc.client.steps.reported import OnError, ReportedScope, failed
from status_grpc.domain.events import TraceEventStatus, TraceStatus

#: An attempt is an int32.
_ATTEMPT_DIGITS = 10
OnException: TypeAlias = Literal["finish", "continue"]
Flush: TypeAlias = Literal["end", "background"]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a step reports; see `status_step`."""

    on_exception: OnException | None = None
    report_start: bool = False
    flush: Flush = "end"
    on_error: OnError = "warn"

    def __post_init__(self) -> None:
        for name, allowed in (
            ("on_exception", (None, "finish", "continue")),
            ("flush", ("end", "background")),
            ("on_error", ("warn", "raise")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, not {getattr(self, name)!r}")


class Step(ReportedScope):
    """One execution of a step: a context manager, also an asynchronous one. Its event is sent when it ends."""

    def __init__(self, behaviour: Behaviour, fields: dict[str, Any]) -> None:
        super().__init__(fields, behaviour.on_error)
        self._behaviour = behaviour
        self.fields.setdefault("attempt", _attempt())

    def _first_event(self) -> Ticket | None:
        return self._put(self._identity()) if self._behaviour.report_start else None

    def _last_event(self, error: BaseException | None) -> Ticket | None:
        fields = {"start_time": self._started_at, "end_time": datetime.now(UTC), "duration": self._duration()}
        fields |= self.fields
        if failed(error):
            fields["exception"] = error
            fields["trace_event_status"] = TraceEventStatus.FAILED
            fields["trace_status"] = TraceStatus.FINISHED if self._finishes_on_exception() else TraceStatus.CONTINUE
        return self._put(fields)

    def _finishes_on_exception(self) -> bool:
        if self._behaviour.on_exception is not None:
            return self._behaviour.on_exception == "finish"
        # Who is around this, in this process or in the one that started it, may yet try again: it tells the end.
        around = self.enclosing.trace_id if self.enclosing is not None else imported_trace_id()
        return self.trace_id != around

    def _waits_at_start(self) -> bool:
        return False

    def _waits_at_end(self) -> bool:
        if self._behaviour.on_error == "raise":
            return True
        return self._behaviour.flush == "end" and self.is_outermost


def _attempt() -> int:
    text = os.environ.get("STATUS_GRPC_ATTEMPT", "")
    return int(text) if text.isdecimal() and len(text) <= _ATTEMPT_DIGITS else 1


def status_step(
    operation: str,
    *,
    on_exception: OnException | None = None,
    report_start: bool = False,
    flush: Flush = "end",
    on_error: OnError = "warn",
    **fields: Any,
) -> Step:
    """Return a context manager (also for `async with`) within which a step of a pipeline is done.

    When it ends, one event tells how it went: `operation`, the times, the exception if one was raised (which goes on),
    the `fields` given here, and what `status_add` adds. The trace is `trace_id` if given, else that of the step or
    trace around it, else STATUS_GRPC_TRACE_ID; without one nothing is sent. `attempt` is 1 unless it is given, here or
    as STATUS_GRPC_ATTEMPT.

    on_exception: an exception means "finish": the trace has failed; or "continue": somebody may try again, and tells
    the end. Default: "finish" unless something around this step tells the end.
    report_start: send an event at the start, too.
    flush: "end": the end of an outermost step waits until its events have arrived, at most STATUS_GRPC_FLUSH_TIMEOUT
    (2 s), and what has not is in the spool; "background": it never waits, and what was not delivered when the process
    is killed is lost.
    on_error: "warn": what cannot be reported is logged once; "raise": the step waits, and raises a StatusError.
    """
    return Step(Behaviour(on_exception, report_start, flush, on_error), {"operation": operation, **fields})
