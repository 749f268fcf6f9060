"""StatusService over gRPC: carries requests to the calls and their responses back. Errors are translated around it."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import grpc
from tracestatus.v1 import status_service_pb2 as pb

from status_grpc.edge.calls import StatusCalls, encode_item
from status_grpc.rpc.writing import BoundedWrites
from status_grpc.wire.parsing import Unparsed

Context = grpc.aio.ServicerContext[Any, Any]


class StatusServicer:
    """The methods of tracestatus.v1.StatusService. They return encoded responses."""

    def __init__(self, calls: StatusCalls, *, write_timeout_seconds: float) -> None:
        self._calls = calls
        self._write_timeout_seconds = write_timeout_seconds

    async def Create(self, request: Unparsed[pb.CreateRequest], context: Context) -> bytes:
        """Start a trace."""
        return await self._calls.create_unparsed(request)

    async def Update(self, request: Unparsed[pb.UpdateRequest], context: Context) -> bytes:
        """Append an event."""
        return await self._calls.update_unparsed(request)

    async def BatchUpdate(self, request: pb.BatchUpdateRequest, context: Context) -> bytes:
        """Append many events."""
        return await self._calls.batch_update(request)

    async def Heartbeat(self, request: pb.HeartbeatRequest, context: Context) -> bytes:
        """Note that a trace's producers are alive."""
        return await self._calls.heartbeat(request)

    async def GetTrace(self, request: pb.GetTraceRequest, context: Context) -> bytes:
        """Return a trace and a page of its events."""
        return await self._calls.get_trace(request)

    async def GetByPath(self, request: pb.GetByPathRequest, context: Context) -> bytes:
        """Return the traces of a path."""
        return await self._calls.get_by_path(request)

    async def ListTraces(self, request: pb.ListTracesRequest, context: Context) -> bytes:
        """Return a page of traces."""
        return await self._calls.list_traces(request)

    async def GetLineage(self, request: pb.GetLineageRequest, context: Context) -> bytes:
        """Return a page of the lineage of a dataset or a trace."""
        return await self._calls.get_lineage(request)

    async def WaitTrace(self, request: pb.WaitTraceRequest, context: Context) -> bytes:
        """Answer when a trace is done, or when the time is up."""
        return await self._calls.wait_trace(request, caller=caller_of(context), remaining=context.time_remaining())

    async def StreamTrace(self, request: pb.StreamTraceRequest, context: Context) -> None:
        """Send a trace's events until it is done."""
        # Closed before anything else happens: an abort towards a client that does not read would wait for it.
        async with aclosing(self._calls.follow(request, caller=caller_of(context))) as items:
            with BoundedWrites(self._write_timeout_seconds) as write:
                async for item in items:
                    for message in encode_item(item):
                        write.begins()
                        await context.write(message)
                    write.ended()


def caller_of(context: Context) -> str:
    """Return who calls, as far as limits are concerned: the peer without its port."""
    return context.peer().rpartition(":")[0]
