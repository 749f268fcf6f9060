"""The methods of tracestatus.v1.StatusService: each decodes, calls the service, encodes. The edges carry the bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from datetime import UTC, datetime, timedelta

from tracestatus.v1 import status_service_pb2 as pb

from status_grpc.domain.errors import StatusError
from status_grpc.domain.events import TraceEvent
from status_grpc.domain.traces import Trace
from status_grpc.edge.requests import Requests, valid_updates
from status_grpc.service.following import Checkpoint, Following, FollowItem
from status_grpc.service.lineage import Lineage
from status_grpc.service.traces import PAGE_BYTES, Receipt, Traces
from status_grpc.wire.errors import fill_item_error
from status_grpc.wire.events import encode_event
from status_grpc.wire.framing import embedded
from status_grpc.wire.lineage import encode_edge, encode_lineage_trace
from status_grpc.wire.parsing import Unparsed
from status_grpc.wire.times import encode_time
from status_grpc.wire.tokens import make_page_token
from status_grpc.wire.traces import encode_trace, trace_message

# Field numbers of the responses that are put together from encoded parts.
_TRACE, _EVENT = 1, 2
_PAGE_TRACE, _PAGE_EVENTS, _PAGE_TOKEN = 1, 2, 3
_LISTED_TRACES, _LISTED_TOKEN = 1, 2
_EDGES, _EDGE_TRACES, _EDGES_TOKEN = 1, 2, 3
_STREAM_EVENT, _STREAM_CHECKPOINT = 1, 2

#: Key of TraceEvent.encodings: the StreamTraceResponse that tells it.
_STREAMED = "tracestatus.v1 streamed"

#: How many bytes the errors of a batch's answer may take before they are told in brief: it must fit a client's limit.
_MOST_ERROR_BYTES = 2 * 1024 * 1024

#: WaitTrace answers within this share of the time that the call's deadline leaves, so that the answer arrives in time.
_SHARE_OF_DEADLINE = 0.9
_LONGEST_WAIT = timedelta(minutes=15)


class StatusCalls:
    """Answers requests with encoded responses; raises the domain's errors. `caller` is whose limits count."""

    def __init__(self, traces: Traces, following: Following, lineage: Lineage, requests: Requests) -> None:
        self._traces = traces
        self._following = following
        self._lineage = lineage
        self._requests = requests

    async def create(self, request: pb.CreateRequest) -> bytes:
        """Start a trace; return a CreateResponse."""
        return await self._create(lambda: request, request.ByteSize())

    async def create_unparsed(self, request: Unparsed[pb.CreateRequest]) -> bytes:
        """Do as `create` does; the request is parsed when its turn comes."""
        return await self._create(request.message, request.size)

    async def _create(self, message: Callable[[], pb.CreateRequest], size: int) -> bytes:
        trace, event = await self._traces.create_unread(lambda: self._requests.create(message()), size=size)
        return embedded(_TRACE, encode_trace(trace)) + embedded(_EVENT, encode_event(event))

    async def update(self, request: pb.UpdateRequest) -> bytes:
        """Append an event; return an UpdateResponse."""
        return await self._update(lambda: request, request.ByteSize())

    async def update_unparsed(self, request: Unparsed[pb.UpdateRequest]) -> bytes:
        """Do as `update` does; the request is parsed when its turn comes."""
        return await self._update(request.message, request.size)

    async def _update(self, message: Callable[[], pb.UpdateRequest], size: int) -> bytes:
        trace, event = await self._traces.update_unread(lambda: self._requests.update(message()), size=size)
        return embedded(_TRACE, encode_trace(trace)) + embedded(_EVENT, encode_event(event))

    async def batch_update(self, request: pb.BatchUpdateRequest) -> bytes:
        """Append many events; return a BatchUpdateResponse."""
        items = self._requests.batch_update(request)
        receipts: Iterator[Receipt | StatusError] = iter(await self._traces.batch_update(valid_updates(items)))
        response = pb.BatchUpdateResponse()
        error_bytes = 0
        for asked, item in zip(request.requests, items, strict=True):
            result = item if isinstance(item, StatusError) else next(receipts)
            if isinstance(result, StatusError):
                entry = response.results.add(trace_event_id=asked.event.trace_event_id)
                fill_item_error(entry, result, brief=error_bytes > _MOST_ERROR_BYTES)
                error_bytes += entry.ByteSize()
            else:
                response.results.add(
                    trace_event_id=result.trace_event_id,
                    sequence=result.sequence,
                    record_time=encode_time(result.record_time),
                    recorded_before=result.recorded_before,
                )
        return response.SerializeToString()

    async def heartbeat(self, request: pb.HeartbeatRequest) -> bytes:
        """Note that a trace's producers are alive; return a HeartbeatResponse."""
        return _with_trace(await self._traces.heartbeat(self._requests.heartbeat(request)))

    async def get_trace(self, request: pb.GetTraceRequest) -> bytes:
        """Return a GetTraceResponse: a trace and a page of its events."""
        wanted = self._requests.get_trace(request)
        page = await self._traces.get_trace(wanted.trace_id, after=wanted.position, count=wanted.count)
        parts = [embedded(_PAGE_TRACE, encode_trace(page.trace))]
        parts += [embedded(_PAGE_EVENTS, encode_event(event)) for event in page.events]
        if not page.complete:
            token = make_page_token(wanted.query, [page.events[-1].sequence])
            parts.append(embedded(_PAGE_TOKEN, token.encode()))
        return b"".join(parts)

    async def get_by_path(self, request: pb.GetByPathRequest) -> bytes:
        """Return a GetByPathResponse: the traces of a path."""
        s3_path, domain, domain_id = self._requests.get_by_path(request)
        trace, trace_ids = await self._traces.get_by_path(s3_path, domain=domain, domain_id=domain_id)
        return pb.GetByPathResponse(trace=trace_message(trace), trace_ids=trace_ids).SerializeToString()

    async def list_traces(self, request: pb.ListTracesRequest) -> bytes:
        """Return a ListTracesResponse: a page of traces."""
        listing = self._requests.list_traces(request)
        traces, position = await self._traces.list_traces(listing.wanted, before=listing.before, count=listing.count)
        parts: list[bytes] = []
        size = 0
        for trace in traces:
            parts.append(embedded(_LISTED_TRACES, encode_trace(trace)))
            size += len(parts[-1])
            if size > PAGE_BYTES and trace is not traces[-1]:
                position = trace.create_time, trace.trace_id
                break
        if position is not None:
            token = make_page_token(listing.query, [position[0].isoformat(), position[1]])
            parts.append(embedded(_LISTED_TOKEN, token.encode()))
        return b"".join(parts)

    async def get_lineage(self, request: pb.GetLineageRequest) -> bytes:
        """Return a GetLineageResponse: a page of edges, and the traces they are about."""
        asked = self._requests.get_lineage(request)
        as_of = asked.as_of or datetime.now(UTC)
        page = await self._lineage.get(asked.wanted, as_of=as_of, skip=asked.skip, count=asked.count)
        traces = dict(page.traces)
        parts: list[bytes] = []
        if not asked.skip and (start := traces.pop(asked.wanted.trace_id, None)):
            parts.append(embedded(_EDGE_TRACES, encode_lineage_trace(start)))
        told, size = 0, 0
        for edge in page.edges:
            entry = embedded(_EDGES, encode_edge(edge))
            if trace := traces.pop(edge.trace_id, None):
                entry += embedded(_EDGE_TRACES, encode_lineage_trace(trace))
            parts.append(entry)
            told += 1
            size += len(entry)
            if size > PAGE_BYTES:
                break
        if page.complete and told == len(page.edges):
            parts.append(pb.GetLineageResponse(truncated=page.truncated).SerializeToString())
        else:
            token = make_page_token(asked.query, [as_of.isoformat(), asked.skip + told])
            parts.append(embedded(_EDGES_TOKEN, token.encode()))
        return b"".join(parts)

    async def wait_trace(self, request: pb.WaitTraceRequest, *, caller: str, remaining: float | None) -> bytes:
        """Return a WaitTraceResponse when the trace is done, or when the time is up.

        `remaining` is how many seconds the call's deadline leaves, None without one.
        """
        target, timeout = self._requests.wait_trace(request)
        seconds = min(timeout, _LONGEST_WAIT).total_seconds()
        if remaining is not None:
            seconds = min(seconds, remaining * _SHARE_OF_DEADLINE)
        until = asyncio.get_running_loop().time() + seconds
        trace = await self._following.wait(target, until=until, caller=caller)
        return b"" if trace is None else _with_trace(trace)

    def follow(self, request: pb.StreamTraceRequest, *, caller: str) -> AsyncGenerator[FollowItem, None]:
        """Return what StreamTrace tells, to be encoded by whoever asks."""
        target, cursor = self._requests.stream_trace(request)
        return self._following.follow(target, cursor, caller=caller)


def encode_item(item: FollowItem) -> Iterator[bytes]:
    """Yield the StreamTraceResponses that tell it."""
    if isinstance(item, Checkpoint):
        yield embedded(_STREAM_CHECKPOINT, checkpoint_message(item).SerializeToString())
    else:
        for event in item:
            yield _streamed(event)


def _streamed(event: TraceEvent) -> bytes:
    """Return the StreamTraceResponse that tells an event, made once however many follow."""
    message: bytes | None = event.encodings.get(_STREAMED)
    if message is None:
        message = event.encodings[_STREAMED] = embedded(_STREAM_EVENT, encode_event(event))
    return message


def _with_trace(trace: Trace) -> bytes:
    return embedded(_TRACE, encode_trace(trace))


def checkpoint_message(checkpoint: Checkpoint) -> pb.Checkpoint:
    """Return the checkpoint as a message."""
    message = pb.Checkpoint(
        trace_id=checkpoint.trace_id,
        sequence=checkpoint.sequence,
        caught_up=checkpoint.caught_up,
        done=checkpoint.done,
        server_time=encode_time(checkpoint.server_time),
    )
    if checkpoint.read_time is not None:
        message.read_time.CopyFrom(encode_time(checkpoint.read_time))
    if checkpoint.last_heard_time is not None:
        message.last_heard_time.CopyFrom(encode_time(checkpoint.last_heard_time))
    if checkpoint.trace is not None:
        message.trace.CopyFrom(trace_message(checkpoint.trace))
    return message
