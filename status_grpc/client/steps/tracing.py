"""trace: the context within which a trace is created, handed on and finished."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from status_grpc.client.reporting.outbox import Ticket
from status_grpc.client.steps.exporting import TRACE_ID_VARIABLE, end_export, export
from status_grpc.client.steps.reported import OnError, ReportedScope, failed
from status_grpc.domain.events import TraceEventStatus, TraceStatus
from status_grpc.domain.ids import mint_event_id, mint_trace_id


class OpenTrace(ReportedScope):
    """A trace from its first event to its last: a context manager, also an asynchronous one."""

    def __init__(self, fields: dict[str, Any], expire_time: datetime | None, finish: bool, on_error: OnError) -> None:
        super().__init__(fields, on_error)
        self._expire_time = expire_time
        self._finish = finish
        self._created_by = mint_event_id()
        # The client chooses the id, so that the trace can be handed on even while the service is away.
        if not self.fields.get("trace_id"):
            self.fields["trace_id"] = mint_trace_id(str(fields["domain_id"]), self._created_by)
        self._told = dict(self.fields)

    @property
    def environment(self) -> dict[str, str]:
        """The environment for a child process that works on this trace."""
        return {**os.environ, TRACE_ID_VARIABLE: self.trace_id}

    def enter(self) -> None:
        """Make this the current scope, and hand it to child processes."""
        super().enter()
        export(self.trace_id)

    def leave(self) -> None:
        """Make the scope current that was before."""
        end_export(self.trace_id)
        super().leave()

    def _first_event(self) -> Ticket | None:
        fields = {"start_time": self._started_at} | self._told | {"trace_event_id": self._created_by}
        return self._put(fields, creates=True, expire_time=self._expire_time)

    def _last_event(self, error: BaseException | None) -> Ticket | None:
        if not self._finish and not failed(error):
            return None
        # What the first event has told already is not repeated; what was added since then is new.
        added = {name: value for name, value in self.fields.items() if self._told.get(name) is not value}
        fields = self._identity() | {"end_time": datetime.now(UTC), "duration": self._duration()} | added
        fields["trace_status"] = TraceStatus.FINISHED
        if failed(error):
            fields["exception"] = error
            fields["trace_event_status"] = TraceEventStatus.FAILED
        return self._put(fields)

    def _waits_at_start(self) -> bool:
        return True

    def _waits_at_end(self) -> bool:
        return True


def trace(
    domain: str,
    domain_id: str,
    *,
    expire_time: datetime | None = None,
    finish: bool = True,
    on_error: OnError = "warn",
    **fields: Any,
) -> OpenTrace:
    """Return a context manager (also for `async with`) that creates a trace and finishes it: OK, or FAILED if an
    exception goes through it.

    Within it, steps belong to the trace, and so do child processes (by STATUS_GRPC_TRACE_ID, as long as this process
    has only one trace open; else give them its `environment`). Its `trace_id` is for those who want to follow it.
    `fields` are those of the first event, such as component, operation, user, s3_path; `status_add` and `add` are about
    the last one.

    expire_time: when the server ends the trace as FAILED if nobody else has ended it.
    finish: False leaves it to somebody else to tell the end, unless an exception goes through.
    on_error: "warn": what cannot be reported is logged once, and the trace id is valid all the same. The trace is there
    once the server is back and this process has delivered its events, or, if it has ended before, the next process that
    reports to that server or `status-grpc spool deliver`. That needs a spool: see docs/client.md. "raise": a
    StatusError.
    """
    return OpenTrace({"domain": domain, "domain_id": domain_id, **fields}, expire_time, finish, on_error)
