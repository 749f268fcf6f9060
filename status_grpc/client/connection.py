"""The connections of one StatusClient: a channel for calls, one for streams, and who watches over the streams."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

import grpc
from tracestatus.v1.status_service_pb2_grpc import StatusServiceStub

from status_grpc.client.channels import open_channel, to_error
from status_grpc.client.following import Opening
from status_grpc.client.operations import Send
from status_grpc.client.options import ClientOptions
from status_grpc.client.watchdog import Watchdog
from status_grpc.domain.errors import Unavailable

if TYPE_CHECKING:
    from tracestatus.v1 import status_service_pb2 as pb


class Stream:
    """One stream of a trace."""

    def __init__(self, call: Any, watchdog: Watchdog, silence_timeout: float) -> None:
        self._call = call
        self._watchdog = watchdog
        self._watch = watchdog.watch(call, silence_timeout)

    def read(self) -> pb.StreamTraceResponse | None:
        """Return the next message; None when the stream has ended with OK. Raises StatusError."""
        try:
            with self._watch:
                message: pb.StreamTraceResponse | None = next(self._call, None)
        except grpc.RpcError as error:
            if self._watch.expired:
                raise Unavailable("the stream fell silent") from None
            raise to_error(error) from None
        return message

    def cancel(self) -> None:
        """End the stream, if it has not ended."""
        self._watchdog.forget(self._watch)
        self._call.cancel()


class Connection:
    """Opens channels when they are first needed. Safe for many threads."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._calls: grpc.Channel | None = None
        self._streams: grpc.Channel | None = None
        self._watchdog = Watchdog()

    def stub(self) -> StatusServiceStub:
        """Return the stub for calls."""
        with self._lock:
            if self._calls is None:
                self._calls = open_channel(self._options, streams=False)
                self._stub = StatusServiceStub(self._calls)
            return self._stub

    def send(self, step: Send) -> Any:
        """Make one attempt of a call. Raises StatusError."""
        method = getattr(self.stub(), step.method)
        try:
            return method(step.request, timeout=step.timeout, metadata=self._metadata())
        except grpc.RpcError as error:
            raise to_error(error) from None

    def open_stream(self, opening: Opening) -> Stream:
        """Open a stream, which is cancelled when it says nothing for too long."""
        with self._lock:
            if self._streams is None:
                self._streams = open_channel(self._options, streams=True)
            stub = StatusServiceStub(self._streams)
        call = stub.StreamTrace(opening.request, timeout=opening.timeout, metadata=self._metadata())
        return Stream(call, self._watchdog, opening.silence_timeout)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        token = self._options.token
        if token is None:
            return ()
        current = token if isinstance(token, str) else cast(str, token())
        return (("authorization", f"Bearer {current}"),)

    def close(self) -> None:
        """Close the channels; what is under way ends."""
        with self._lock:
            channels, self._calls, self._streams = (self._calls, self._streams), None, None
        for channel in channels:
            if channel is not None:
                channel.close()
