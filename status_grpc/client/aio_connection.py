"""Channels of one AsyncStatusClient, apart for calls and for streams."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

import grpc.aio
from tracestatus.v1.status_service_pb2_grpc import StatusServiceStub

from status_grpc.client.channels import ChannelState, open_aio_channel, to_error
from status_grpc.client.following import Opening
from status_grpc.client.forks import grpc_is_usable, renew_after_fork
from status_grpc.client.operations import Send
from status_grpc.client.options import ClientOptions
from status_grpc.client.relay import Relay
from status_grpc.client.stream_pool import StreamPool
from status_grpc.client.tokens import async_metadata
from status_grpc.domain.errors import Unavailable

if TYPE_CHECKING:
    from tracestatus.v1 import status_service_pb2 as pb
    from tracestatus.v1.status_service_pb2_grpc import StatusServiceAsyncStub

#: What belonged to the parent of a forked process. It is kept: to free it would be to use gRPC.
_of_the_parent: list[object] = []


class OpenAioChannel(ChannelState):
    """A channel of one event loop and its stub. It closes when nobody refers to it any more."""

    def __init__(self, options: ClientOptions, *, streams: bool) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self.channel = open_aio_channel(options, streams=streams)
        self.stub: StatusServiceAsyncStub = StatusServiceStub(self.channel)


class AsyncStream:
    """One stream of a trace."""

    def __init__(self, connection: AsyncConnection, channel: OpenAioChannel, call: Any, timeout: float) -> None:
        self._connection = connection
        self._channel = channel
        self._call = call
        self._timeout = timeout
        self._counted = True

    async def read(self) -> pb.StreamTraceResponse | None:
        """Return the next message; None when the stream has ended with OK. Raises StatusError."""
        try:
            async with asyncio.timeout(self._timeout):
                message = await self._call.read()
        except TimeoutError:
            self._connection.discard(self._channel)
            raise Unavailable("the stream fell silent") from None
        except grpc.aio.AioRpcError as error:
            self._give_back()
            raise to_error(error) from None
        if message is grpc.aio.EOF:
            self._give_back()
            return None
        return cast("pb.StreamTraceResponse", message)

    def cancel(self) -> None:
        """End the stream, if it has not ended."""
        self._call.cancel()
        self._give_back()

    def _give_back(self) -> None:
        if self._counted:
            self._counted = False
            self._connection.stream_ended(self._channel)


class AsyncConnection:
    """Opens channels when they are first needed, and anew in another loop, after a fork, a freeze or a silence."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._closed = False
        self._relay = Relay(options)
        self._calls: OpenAioChannel | None = None
        self._streams = StreamPool[OpenAioChannel]()
        self._loop: asyncio.AbstractEventLoop | None = None
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget what belongs to the parent."""
        _of_the_parent.append((self._calls, self._streams))
        self._calls = None
        self._streams = StreamPool()

    def stub(self) -> StatusServiceAsyncStub:
        """Return the stub for calls."""
        return self._channel_for_calls().stub

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the client is closed")

    async def send(self, step: Send) -> Any:
        """Make one attempt of a call. Raises StatusError; RuntimeError once the client is closed."""
        self._check_open()
        metadata = await async_metadata(self._options)
        if not grpc_is_usable():
            return await asyncio.to_thread(self._relay.send, step, metadata)
        # A wait takes as long as a stream, and so many of them must not keep calls waiting either.
        waits = step.method == "WaitTrace"
        channel = self._channel_for_stream() if waits else self._channel_for_calls()
        begun_at = time.monotonic()
        try:
            answer = await getattr(channel.stub, step.method)(step.request, timeout=step.timeout, metadata=metadata)
        except grpc.aio.AioRpcError as failure:
            self._check_open()
            error = to_error(failure)
            if channel.seems_dead(error, begun_at):
                self.discard(channel)
            raise error from None
        finally:
            if waits:
                self.stream_ended(channel)
        channel.answered()
        return answer

    async def open_stream(self, opening: Opening) -> AsyncStream:
        """Open a stream, which is given up when it says nothing for too long. Raises as `send` does."""
        self._check_open()
        metadata = await async_metadata(self._options)
        channel = self._channel_for_stream()
        call = channel.stub.StreamTrace(opening.request, timeout=opening.timeout, metadata=metadata)
        return AsyncStream(self, channel, call, opening.silence_timeout)

    def _channel_for_stream(self) -> OpenAioChannel:
        """Return a channel that counts one more stream, until `stream_ended`."""
        if self._loop is not asyncio.get_running_loop():
            self._loop, self._streams = asyncio.get_running_loop(), StreamPool()
        channel = self._streams.take()
        if channel is None:
            channel = OpenAioChannel(self._options, streams=True)
            self._streams.add(channel)
        return channel

    def _channel_for_calls(self) -> OpenAioChannel:
        calls = self._calls
        if calls is None or calls.is_stale or calls.loop is not asyncio.get_running_loop():
            calls = self._calls = OpenAioChannel(self._options, streams=False)
        calls.use()
        return calls

    def discard(self, channel: OpenAioChannel) -> None:
        """Use this channel for nothing new."""
        if self._calls is channel:
            self._calls = None
        self._streams.discard(channel)

    def stream_ended(self, channel: OpenAioChannel) -> None:
        """Note that a stream on this channel has ended."""
        # A channel without references closes itself.
        self._streams.give_back(channel)

    async def close(self) -> None:
        """Close the channels; what is under way ends."""
        self._closed = True
        channels = self._streams.clear()
        if self._calls is not None:
            channels.append(self._calls)
            self._calls = None
        for channel in channels:
            await channel.channel.close()
        await asyncio.to_thread(self._relay.close)
