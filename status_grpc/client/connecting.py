"""Connections by the kind of their server: gRPC, or HTTP for a URL. What they need is loaded here, and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from status_grpc.client.options import ClientOptions

if TYPE_CHECKING:
    from tracestatus.v1 import status_service_pb2 as pb
    from tracestatus.v1.status_service_pb2_grpc import StatusServiceAsyncStub, StatusServiceStub

    from status_grpc.client.following import Opening
    from status_grpc.client.operations import Send


class Stream(Protocol):
    """A stream of a trace."""

    def read(self) -> pb.StreamTraceResponse | None:
        """Return the next message; None when the stream has ended with OK. Raises StatusError."""

    def cancel(self) -> None:
        """End the stream, if it has not ended."""


class Connection(Protocol):
    """What a StatusClient calls with. Safe for threads."""

    def stub(self) -> StatusServiceStub:
        """Return the stub for calls. Raises RuntimeError where there is none."""

    def send(self, step: Send) -> Any:
        """Make one attempt of a call. Raises StatusError; RuntimeError once the client is closed."""

    def open_stream(self, opening: Opening) -> Stream:
        """Open a stream, which ends when it says nothing for too long. Raises as `send` does."""

    def close(self) -> None:
        """Close what is open; what is under way ends."""


class AsyncStream(Protocol):
    """A stream of a trace."""

    async def read(self) -> pb.StreamTraceResponse | None:
        """Return the next message; None when the stream has ended with OK. Raises StatusError."""

    def cancel(self) -> None:
        """End the stream, if it has not ended."""


class AsyncConnection(Protocol):
    """What an AsyncStatusClient calls with, as `Connection`."""

    def stub(self) -> StatusServiceAsyncStub:
        """Return the stub for calls. Raises RuntimeError where there is none."""

    async def send(self, step: Send) -> Any:
        """Make one attempt of a call. Raises StatusError; RuntimeError once the client is closed."""

    async def open_stream(self, opening: Opening) -> AsyncStream:
        """Open a stream, which ends when it says nothing for too long. Raises as `send` does."""

    async def close(self) -> None:
        """Close what is open; what is under way ends."""


def connect(options: ClientOptions) -> Connection:
    """Return a connection; it connects when it is used."""
    if options.is_url:
        from status_grpc.client.http_connection import HttpConnection

        return HttpConnection(options)
    from status_grpc.client.connection import Connection

    return Connection(options)


def connect_async(options: ClientOptions) -> AsyncConnection:
    """As `connect`, for coroutines."""
    if options.is_url:
        from status_grpc.client.aio_http_connection import AsyncHttpConnection

        return AsyncHttpConnection(options)
    from status_grpc.client.aio_connection import AsyncConnection

    return AsyncConnection(options)
