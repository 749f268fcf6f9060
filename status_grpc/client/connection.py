"""Channels of one StatusClient, and the watchdog of its streams."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
from tracestatus.v1.status_service_pb2_grpc import StatusServiceStub

from status_grpc.client.channels import ChannelState, open_channel, to_error
from status_grpc.client.following import Opening
from status_grpc.client.forks import calling, grpc_is_usable, renew_after_fork
from status_grpc.client.operations import Send
from status_grpc.client.options import ClientOptions
from status_grpc.client.relay import Relay
from status_grpc.client.stream_pool import StreamPool
from status_grpc.client.tokens import Metadata, metadata
from status_grpc.client.watchdog import Watchdog
from status_grpc.domain.errors import Unavailable

if TYPE_CHECKING:
    from tracestatus.v1 import status_service_pb2 as pb

#: What belonged to the parent of a forked process. It is kept: to free it would be to use gRPC.
_of_the_parent: list[object] = []


class OpenChannel(ChannelState):
    """A channel and its stub. It closes when nobody refers to it any more."""

    def __init__(self, options: ClientOptions, *, streams: bool) -> None:
        super().__init__()
        self.channel = open_channel(options, streams=streams)
        self.stub = StatusServiceStub(self.channel)


class Stream:
    """One stream of a trace."""

    def __init__(self, connection: Connection, channel: OpenChannel, call: Any, watchdog: Watchdog, timeout: float):
        self._connection = connection
        self._channel = channel
        self._call = call
        self._watchdog = watchdog
        self._watch = watchdog.watch(call, timeout)
        self._counted = True

    def read(self) -> pb.StreamTraceResponse | None:
        """Return the next message; None when the stream has ended with OK. Raises StatusError."""
        try:
            with self._watch:
                message: pb.StreamTraceResponse | None = next(self._call, None)
        except grpc.RpcError as error:
            self._give_back()
            if self._watch.expired:
                self._connection.discard(self._channel)
                raise Unavailable("the stream fell silent") from None
            raise to_error(error) from None
        if message is None:
            self._give_back()
        return message

    def cancel(self) -> None:
        """End the stream, if it has not ended."""
        self._watchdog.forget(self._watch)
        self._call.cancel()
        self._give_back()

    def _give_back(self) -> None:
        if self._counted:
            self._counted = False
            self._connection.stream_ended(self._channel)


class Connection:
    """Opens channels when they are first needed, and anew after a fork, a freeze or a silence. Safe for threads."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._closed = False
        self._relay = Relay(options)
        self._begin()
        renew_after_fork(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._calls: OpenChannel | None = None
        self._streams = StreamPool[OpenChannel]()
        self._watchdog = Watchdog()

    def after_fork(self) -> None:
        """Forget what belongs to the parent."""
        _of_the_parent.append((self._calls, self._streams))
        self._begin()

    def stub(self) -> StatusServiceStub:
        """Return the stub for calls."""
        return self._channel_for_calls().stub

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the client is closed")

    def send(self, step: Send) -> Any:
        """Make one attempt of a call. Raises StatusError; RuntimeError once the client is closed."""
        self._check_open()
        if grpc_is_usable():
            return self.attempt(step, metadata(self._options))
        return self._relay.send(step, metadata(self._options))

    def attempt(self, step: Send, metadata: Metadata) -> Any:
        """Make one attempt of a call by gRPC in this process. Raises StatusError."""
        begun_at = time.monotonic()
        # A wait takes as long as a stream, and so many of them must not keep calls waiting either.
        waits = step.method == "WaitTrace"
        channel = self._channel_for_stream() if waits else self._channel_for_calls()
        try:
            with calling():
                answer = getattr(channel.stub, step.method)(step.request, timeout=step.timeout, metadata=metadata)
        except grpc.RpcError as failure:
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

    def open_stream(self, opening: Opening) -> Stream:
        """Open a stream, which is cancelled when it says nothing for too long. Raises as `send` does."""
        self._check_open()
        channel = self._channel_for_stream()
        call = channel.stub.StreamTrace(opening.request, timeout=opening.timeout, metadata=metadata(self._options))
        return Stream(self, channel, call, self._watchdog, opening.silence_timeout)

    def _channel_for_stream(self) -> OpenChannel:
        """Return a channel that counts one more stream, until `stream_ended`."""
        with self._lock:
            channel = self._streams.take()
            if channel is None:
                channel = OpenChannel(self._options, streams=True)
                self._streams.add(channel)
            return channel

    def _channel_for_calls(self) -> OpenChannel:
        with self._lock:
            if self._calls is None or self._calls.is_stale:
                self._calls = OpenChannel(self._options, streams=False)
            self._calls.use()
            return self._calls

    def discard(self, channel: OpenChannel) -> None:
        """Use this channel for nothing new."""
        with self._lock:
            if self._calls is channel:
                self._calls = None
            self._streams.discard(channel)

    def stream_ended(self, channel: OpenChannel) -> None:
        """Note that a stream on this channel has ended."""
        with self._lock:
            unused = self._streams.give_back(channel)
        if unused is not None:
            unused.channel.close()

    def close(self) -> None:
        """Close the channels; what is under way ends."""
        self._closed = True
        with self._lock:
            channels = self._streams.clear()
            if self._calls is not None:
                channels.append(self._calls)
                self._calls = None
        for channel in channels:
            channel.channel.close()
        self._relay.close()
