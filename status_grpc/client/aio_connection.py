"""The connections of one AsyncStatusClient: a channel for calls, one for streams."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, cast

import grpc.aio
from tracestatus.v1.status_service_pb2_grpc import StatusServiceStub

from status_grpc.client.channels import open_aio_channel, to_error
from status_grpc.client.following import Opening
from status_grpc.client.operations import Send
from status_grpc.client.options import ClientOptions
from status_grpc.domain.errors import Unavailable

if TYPE_CHECKING:
    from tracestatus.v1 import status_service_pb2 as pb
    from tracestatus.v1.status_service_pb2_grpc import StatusServiceAsyncStub


class AsyncStream:
    """One stream of a trace."""

    def __init__(self, call: Any, silence_timeout: float) -> None:
        self._call = call
        self._silence_timeout = silence_timeout

    async def read(self) -> pb.StreamTraceResponse | None:
        """Return the next message; None when the stream has ended with OK. Raises StatusError."""
        try:
            async with asyncio.timeout(self._silence_timeout):
                message = await self._call.read()
        except TimeoutError:
            raise Unavailable("the stream fell silent") from None
        except grpc.aio.AioRpcError as error:
            raise to_error(error) from None
        return None if message is grpc.aio.EOF else cast("pb.StreamTraceResponse", message)

    def cancel(self) -> None:
        """End the stream, if it has not ended."""
        self._call.cancel()


class AsyncConnection:
    """Opens channels when they are first needed, in the event loop that runs then."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._calls: grpc.aio.Channel | None = None
        self._streams: grpc.aio.Channel | None = None

    def stub(self) -> StatusServiceAsyncStub:
        """Return the stub for calls."""
        if self._calls is None:
            self._calls = open_aio_channel(self._options, streams=False)
            self._stub: StatusServiceAsyncStub = StatusServiceStub(self._calls)
        return self._stub

    async def send(self, step: Send) -> Any:
        """Make one attempt of a call. Raises StatusError."""
        method = getattr(self.stub(), step.method)
        try:
            return await method(step.request, timeout=step.timeout, metadata=await self._metadata())
        except grpc.aio.AioRpcError as error:
            raise to_error(error) from None

    async def open_stream(self, opening: Opening) -> AsyncStream:
        """Open a stream, which is given up when it says nothing for too long."""
        if self._streams is None:
            self._streams = open_aio_channel(self._options, streams=True)
        stub: StatusServiceAsyncStub = StatusServiceStub(self._streams)
        call = stub.StreamTrace(opening.request, timeout=opening.timeout, metadata=await self._metadata())
        return AsyncStream(call, opening.silence_timeout)

    async def _metadata(self) -> tuple[tuple[str, str], ...]:
        token = self._options.token
        if token is None:
            return ()
        current = token if isinstance(token, str) else token()
        if isinstance(current, Awaitable):
            current = await current
        return (("authorization", f"Bearer {current}"),)

    async def close(self) -> None:
        """Close the channels; what is under way ends."""
        channels, self._calls, self._streams = (self._calls, self._streams), None, None
        for channel in channels:
            if channel is not None:
                await channel.close()
