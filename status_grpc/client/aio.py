"""AsyncStatusClient: the client for coroutines. Its methods and their contracts are those of `StatusClient`."""

# ruff: noqa: ASYNC109 - a timeout covers all attempts of a call, as in StatusClient: it is not asyncio's to cut

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from status_grpc.client import operations
from status_grpc.client.aio_follow import AsyncFollow
from status_grpc.client.base import ClientBase
from status_grpc.client.batches import as_updates, batch_update
from status_grpc.client.connecting import AsyncConnection, connect_async
from status_grpc.client.lineage import get_lineage
from status_grpc.client.openlineage import record_run_events
from status_grpc.client.operations import Operation, Pause, attempts, complete_draft
from status_grpc.client.retrying import Reconnect
from status_grpc.client.values import (
    Checkpoint,
    EventFields,
    PathMatch,
    RunEventResult,
    TraceHistory,
    Update,
    UpdateResult,
    Written,
)
from status_grpc.client.waiting import Target, wait
from status_grpc.domain.errors import StatusError
from status_grpc.domain.events import EventDraft, TraceEventStatus, TraceStatus
from status_grpc.domain.lineage import Lineage, LineageDirection
from status_grpc.domain.traces import Trace

if TYPE_CHECKING:
    from tracestatus.v1.status_service_pb2 import ListTracesRequest
    from tracestatus.v1.status_service_pb2_grpc import StatusServiceAsyncStub

T = TypeVar("T")


class AsyncStatusClient(ClientBase[AsyncConnection]):
    """A client of the status service for one event loop, to be shared by as many tasks as there are.

    Everything is as with `StatusClient`, but awaited.
    """

    def _connect(self) -> AsyncConnection:
        return connect_async(self.options)

    @property
    def stub(self) -> StatusServiceAsyncStub:
        """The raw stub, for protobuf messages; its calls are not repeated and carry no token."""
        return self._connection.stub()

    async def close(self) -> None:
        """Close the connections; calls and streams under way, and later ones, end with RuntimeError."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def create(
        self,
        draft: EventDraft | None = None,
        /,
        *,
        expire_time: datetime | None = None,
        timeout: float | None = None,
        **fields: Unpack[EventFields],
    ) -> Written:
        """As `StatusClient.create`."""
        draft = complete_draft(draft, fields)
        return await self._run(operations.create(self.options, draft, expire_time=expire_time, timeout=timeout))

    async def update(
        self,
        draft: EventDraft | None = None,
        /,
        *,
        expected_sequence: int | None = None,
        new_run: bool = False,
        expire_time: datetime | None = None,
        timeout: float | None = None,
        **fields: Unpack[EventFields],
    ) -> Written:
        """As `StatusClient.update`."""
        change = Update(complete_draft(draft, fields), expected_sequence, new_run, expire_time)
        return await self._run(operations.update(self.options, change, timeout=timeout))

    async def batch_update(
        self, updates: Iterable[EventDraft | Update], /, *, timeout: float | None = None
    ) -> list[UpdateResult]:
        """As `StatusClient.batch_update`."""
        return await self._run(batch_update(as_updates(updates), attempts(self.options, timeout)))

    async def heartbeat(self, trace_id: str, *, step_id: str = "", timeout: float | None = None) -> Trace:
        """As `StatusClient.heartbeat`."""
        return await self._run(operations.heartbeat(self.options, trace_id, step_id=step_id, timeout=timeout))

    async def get_trace(
        self, trace_id: str, *, after_sequence: int = 0, max_events: int | None = None, timeout: float | None = None
    ) -> TraceHistory:
        """As `StatusClient.get_trace`."""
        return await self._run(
            operations.get_trace(
                self.options, trace_id, after_sequence=after_sequence, max_events=max_events, timeout=timeout
            )
        )

    async def get_by_path(
        self, s3_path: str, *, domain: str = "", domain_id: str = "", timeout: float | None = None
    ) -> PathMatch:
        """As `StatusClient.get_by_path`."""
        return await self._run(
            operations.get_by_path(self.options, s3_path, domain=domain, domain_id=domain_id, timeout=timeout)
        )

    def list_traces(
        self,
        *,
        domain: str = "",
        domain_id: str = "",
        user: str = "",
        component: str = "",
        status: TraceStatus | None = None,
        outcome: TraceEventStatus | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        updated_after: datetime | None = None,
        updated_before: datetime | None = None,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> AsyncIterator[Trace]:
        """As `StatusClient.list_traces`."""
        filters = {name: value for name, value in locals().items() if name not in ("self", "page_size", "timeout")}
        return self._pages(operations.list_request(filters, page_size), timeout)

    async def _pages(self, request: ListTracesRequest, timeout: float | None) -> AsyncIterator[Trace]:
        more = True
        while more:
            traces, more = await self._run(operations.list_page(self.options, request, timeout=timeout))
            for trace in traces:
                yield trace

    async def get_lineage(
        self,
        uri: str = "",
        *,
        trace_id: str = "",
        version: str = "",
        direction: LineageDirection,
        max_depth: int = 0,
        max_edges: int = 0,
        timeout: float | None = None,
    ) -> Lineage:
        """As `StatusClient.get_lineage`."""
        return await self._run(
            get_lineage(
                self.options,
                uri,
                trace_id=trace_id,
                version=version,
                direction=direction,
                max_depth=max_depth,
                max_edges=max_edges,
                timeout=timeout,
            )
        )

    async def record_run_events(
        self, run_events: Iterable[Any], /, *, timeout: float | None = None
    ) -> list[RunEventResult | None]:
        """As `StatusClient.record_run_events`."""
        return await self._run(record_run_events(self.options, run_events, timeout))

    async def wait(
        self,
        trace_id: str = "",
        *,
        s3_path: str = "",
        wait_for_trace: bool = False,
        new_only: bool = False,
        created_after: datetime | None = None,
        timeout: float | None = None,
        on_reconnect: Callable[[Reconnect], None] | None = None,
    ) -> Trace:
        """As `StatusClient.wait`."""
        target = Target(
            trace_id=trace_id,
            s3_path=s3_path,
            wait_for_trace=wait_for_trace,
            new_only=new_only,
            created_after=created_after,
        )
        if not target.is_registered_by_stream:
            return await self._run(
                wait(target, self.options, timeout=timeout, on_reconnect=on_reconnect, clock=time.monotonic)
            )
        following = self._following(target, timeout=timeout)
        async with AsyncFollow(following, self._connection, None, on_reconnect) as events:
            async for _ in events:
                pass
        return events.finished_trace

    def follow(
        self,
        trace_id: str = "",
        *,
        s3_path: str = "",
        after_sequence: int = 0,
        after_event_id: str = "",
        wait_for_trace: bool = False,
        new_only: bool = False,
        created_after: datetime | None = None,
        timeout: float | None = None,
        on_checkpoint: Callable[[Checkpoint], None] | None = None,
        on_reconnect: Callable[[Reconnect], None] | None = None,
    ) -> AsyncFollow:
        """As `StatusClient.follow`."""
        target = Target(
            trace_id=trace_id,
            s3_path=s3_path,
            wait_for_trace=wait_for_trace,
            new_only=new_only,
            created_after=created_after,
        )
        following = self._following(
            target, after_sequence=after_sequence, after_event_id=after_event_id, timeout=timeout
        )
        return AsyncFollow(following, self._connection, on_checkpoint, on_reconnect)

    async def _run(self, operation: Operation[T]) -> T:
        answer: Any = None
        error: StatusError | None = None
        try:
            while True:
                step = operation.send(answer) if error is None else operation.throw(error)
                answer = error = None
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    continue
                try:
                    answer = await self._connection.send(step)
                except StatusError as failure:
                    error = failure
        except StopIteration as stop:
            result: T = stop.value
            return result
