"""StatusClient: the client for threads. It only sends, sleeps and hands over; what to do is decided elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from status_grpc.client import operations
from status_grpc.client.base import ClientBase
from status_grpc.client.batches import as_updates, batch_update
from status_grpc.client.connecting import Connection, connect
from status_grpc.client.follow import Follow
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
    from tracestatus.v1.status_service_pb2_grpc import StatusServiceStub

T = TypeVar("T")


class StatusClient(ClientBase[Connection]):
    """A client of the status service, to be shared by as many threads as there are.

    It connects when the first call is made. `server` is "host:port"; every option may also come from the environment
    (see `ClientOptions`; STATUS_GRPC_SERVER, STATUS_GRPC_TOKEN ...). Times are in seconds.

    Every call is repeated, within its `timeout` (30 s unless set), until it is answered: the client chooses the event's
    id, so that nothing is recorded twice. All errors are `status_grpc.StatusError`s.
    """

    def _connect(self) -> Connection:
        return connect(self.options)

    @property
    def stub(self) -> StatusServiceStub:
        """The raw stub, for protobuf messages; its calls are not repeated and carry no token. There is none by HTTP."""
        return self._connection.stub()

    def close(self) -> None:
        """Close the connections; calls and streams under way, and later ones, end with RuntimeError."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def create(
        self,
        draft: EventDraft | None = None,
        /,
        *,
        expire_time: datetime | None = None,
        timeout: float | None = None,
        **fields: Unpack[EventFields],
    ) -> Written:
        """Start a trace with an event: `draft`, the fields, or the draft with these fields changed.

        domain, domain_id and component are required; the server mints the trace id unless trace_id is given.
        Raises InvalidArgument; AlreadyExists when the trace id is taken.
        """
        draft = complete_draft(draft, fields)
        return self._run(operations.create(self.options, draft, expire_time=expire_time, timeout=timeout))

    def update(
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
        """Append an event to its trace; trace_id and component are required, FINISHED needs a trace_event_status.

        Raises TraceNotFound, InvalidArgument, SequenceMismatch when expected_sequence is not the trace's last, and
        TraceNotDone when new_run is asked of a trace that has not ended.
        """
        change = Update(complete_draft(draft, fields), expected_sequence, new_run, expire_time)
        return self._run(operations.update(self.options, change, timeout=timeout))

    def batch_update(
        self, updates: Iterable[EventDraft | Update], /, *, timeout: float | None = None
    ) -> list[UpdateResult]:
        """Append many events of any traces; returns one result per event, in their order, each with its own error.

        Raises an error only when no answer came: what was recorded until then is unknown, unless each draft has a
        trace_event_id of yours, so that it can be sent again.
        """
        return self._run(batch_update(as_updates(updates), attempts(self.options, timeout)))

    def heartbeat(self, trace_id: str, *, step_id: str = "", timeout: float | None = None) -> Trace:
        """Say that the producers of a trace are still alive; records no event. Raises TraceNotFound."""
        return self._run(operations.heartbeat(self.options, trace_id, step_id=step_id, timeout=timeout))

    def get_trace(
        self, trace_id: str, *, after_sequence: int = 0, max_events: int | None = None, timeout: float | None = None
    ) -> TraceHistory:
        """Read a trace and its events with a greater sequence, all of them or the first `max_events`.

        Raises TraceNotFound.
        """
        return self._run(
            operations.get_trace(
                self.options, trace_id, after_sequence=after_sequence, max_events=max_events, timeout=timeout
            )
        )

    def get_by_path(
        self, s3_path: str, *, domain: str = "", domain_id: str = "", timeout: float | None = None
    ) -> PathMatch:
        """Find the traces of which an event carried this exact path. Raises PathNotFound, which is a TraceNotFound."""
        return self._run(
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
    ) -> Iterator[Trace]:
        """Iterate over the traces that match, newest created first; pages are read as they are needed.

        `timeout` is for each page. `page_size` 0 leaves it to the server.
        """
        filters = {name: value for name, value in locals().items() if name not in ("self", "page_size", "timeout")}
        return self._pages(operations.list_request(filters, page_size), timeout)

    def _pages(self, request: ListTracesRequest, timeout: float | None) -> Iterator[Trace]:
        more = True
        while more:
            traces, more = self._run(operations.list_page(self.options, request, timeout=timeout))
            yield from traces

    def get_lineage(
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
        """Tell where a dataset comes from, or what became of it; or what a trace has read, or made.

        Begins with `uri` (the exact text that events named it by; of this `version`, or of any) or with `trace_id`.
        `max_depth` is how many edges away from there (0: 100, at most 200), `max_edges` how many in all (0: 1,000, at
        most 10,000). A dataset that no event has named has no edges. Raises TraceNotFound.
        """
        return self._run(
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

    def record_run_events(
        self, run_events: Iterable[Any], /, *, timeout: float | None = None
    ) -> list[RunEventResult | None]:
        """Record OpenLineage RunEvents (parsed JSON objects), which may come late, twice and in any order.

        A run is a trace, or a step of the trace of its parent (docs/lineage.md); what there is no trace for creates it.
        Returns one result per RunEvent, each with its own error (InvalidArgument names its fields), and None for a
        DatasetEvent or JobEvent, which is about no run. `left_out` of a result names what was not recorded as it came.

        Events are recorded in chunks of about 1 MiB. `timeout` is for each chunk, in seconds, and grows with its size.
        Raises an error when no answer came for a chunk: the chunks before it are recorded. Send all again: nothing is
        recorded twice.
        """
        return self._run(record_run_events(self.options, run_events, timeout))

    def wait(
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
        """Wait until the trace is done and return it, whatever its outcome; see `follow` for which trace that is.

        While the server cannot be reached, it is tried again for `outage_timeout` (5 minutes unless set). Each failure
        is handed to `on_reconnect`; without one, the first failure of an outage is logged as a warning.

        Raises DeadlineExceeded when it is not done within `timeout` (None: however long it takes), TraceNotFound.
        """
        target = Target(
            trace_id=trace_id,
            s3_path=s3_path,
            wait_for_trace=wait_for_trace,
            new_only=new_only,
            created_after=created_after,
        )
        if not target.is_registered_by_stream:
            return self._run(
                wait(target, self.options, timeout=timeout, on_reconnect=on_reconnect, clock=time.monotonic)
            )
        with Follow(self._following(target, timeout=timeout), self._connection, None, on_reconnect) as events:
            for _ in events:
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
    ) -> Follow:
        """Iterate over the events of a trace until it is done: each once, in order, whatever breaks in between.

        What is followed is `trace_id`, or the newest trace created with `s3_path`; of these `new_only` takes only one
        created after the stream was registered (`start()` the iterator before you upload), `created_after` only one
        created after that time. With `wait_for_trace` it need not exist yet. To resume an earlier follow, give the
        sequence and the id of the last event it saw.

        An outage of the server, also at the start, is tolerated as in `wait`.

        Raises DeadlineExceeded when the trace is not done within `timeout` (None: however long it takes),
        TraceNotFound, HistoryChanged and CursorAhead when the history is another than before.
        """
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
        return Follow(following, self._connection, on_checkpoint, on_reconnect)

    def _run(self, operation: Operation[T]) -> T:
        answer: Any = None
        error: StatusError | None = None
        try:
            while True:
                step = operation.send(answer) if error is None else operation.throw(error)
                answer = error = None
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    continue
                try:
                    answer = self._connection.send(step)
                except StatusError as failure:
                    error = failure
        except StopIteration as stop:
            result: T = stop.value
            return result
