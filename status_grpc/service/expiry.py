"""Ends traces whose time is up: a pipeline that never reports its end does not stay unfinished for ever."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

import structlog

from status_grpc.domain.errors import StatusError
from status_grpc.domain.events import EventDraft, ExceptionDetail, TraceEventStatus, TraceStatus
from status_grpc.domain.ids import derived_event_id
from status_grpc.domain.traces import Trace
from status_grpc.service.traces import Traces, Update
from status_grpc.storage.store import Store

log = structlog.get_logger(__name__)

_AT_ONCE = 100


class Expiry:
    """Looks for unfinished traces whose expire_time has come, and finishes them as FAILED.

    Several replicas may find the same trace: the event's id and content are derived from the trace, so it is recorded
    once, and only if nothing has been recorded since it was found.
    """

    def __init__(self, store: Store, traces: Traces, *, every_seconds: float) -> None:
        self._store = store
        self._traces = traces
        self._every_seconds = every_seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="expiry")

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_seconds * random.uniform(0.8, 1.2))  # noqa: S311
            try:
                await self.expire_now()
            except StatusError:
                pass  # the database is away, or draining: the next round finds them
            except Exception:
                log.exception("looking for expired traces failed")

    async def expire_now(self) -> int:
        """Finish what has expired; return how many traces that were."""
        expired = await self._store.expiring(datetime.now(UTC), count=_AT_ONCE)
        results = await self._traces.batch_update([_end_of(trace) for trace in expired])
        return sum(not isinstance(result, StatusError) for result in results)


def _end_of(trace: Trace) -> Update:
    assert trace.expire_time is not None
    expired_at = trace.expire_time.isoformat()
    draft = EventDraft(
        trace_id=trace.trace_id,
        trace_event_id=derived_event_id("expired", trace.trace_id, str(trace.run), expired_at),
        start_time=trace.expire_time,
        end_time=trace.expire_time,
        trace_status=TraceStatus.FINISHED,
        trace_event_status=TraceEventStatus.FAILED,
        component="status-grpc",
        operation="expire",
        exception=ExceptionDetail("TraceExpired", f"the trace had not finished by its expire_time, {expired_at}"),
    )
    return Update(draft, expected_sequence=trace.last_sequence)
