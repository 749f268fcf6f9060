"""The connections of one AsyncStatusClient whose server is a URL: those of HttpConnection, in threads.

The standard library has no asynchronous HTTP. A stream has a thread of its own, so that many of them delay nobody.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn

from status_grpc.client.forks import renew_after_fork
from status_grpc.client.http_connection import HttpConnection, HttpStream
from status_grpc.client.operations import Send
from status_grpc.client.options import ClientOptions
from status_grpc.client.tokens import async_metadata
from status_grpc.domain.errors import Unavailable

if TYPE_CHECKING:
    from tracestatus.v1 import status_service_pb2 as pb

    from status_grpc.client.following import Opening

#: How many calls are made at once; more wait their turn.
_MOST_CALLS_AT_ONCE = 32


class AsyncHttpStream:
    """One stream of a trace."""

    def __init__(self, stream: HttpStream) -> None:
        self._stream = stream
        self._thread = ThreadPoolExecutor(1, "status-grpc-stream")
        self._cancelled = False

    async def read(self) -> pb.StreamTraceResponse | None:
        """Return the next message; None when the stream has ended with OK. Raises StatusError."""
        if self._cancelled:
            raise Unavailable("the stream was cancelled")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._stream.read)
        except asyncio.CancelledError:
            self.cancel()  # the thread would go on, and take a message that nobody gets
            raise

    def cancel(self) -> None:
        """End the stream, if it has not ended."""
        self._cancelled = True
        self._stream.cancel()
        self._thread.shutdown(wait=False)


class AsyncHttpConnection:
    """Opens connections when they are first needed, and anew after a fork, a freeze or a failure."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._connection = HttpConnection(options)
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin with threads of this process."""
        self._threads = ThreadPoolExecutor(_MOST_CALLS_AT_ONCE, "status-grpc-call")

    def stub(self) -> NoReturn:
        """Raise RuntimeError: stubs are gRPC's."""
        self._connection.stub()

    async def send(self, step: Send) -> Any:
        """Make one attempt of a call. Raises StatusError; RuntimeError once the client is closed."""
        self._connection.check_open()
        metadata = await async_metadata(self._options)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._connection.attempt, step, metadata)

    async def open_stream(self, opening: Opening) -> AsyncHttpStream:
        """Return a stream, which ends when it says nothing for too long. Raises as `send` does."""
        return AsyncHttpStream(self._connection.open_stream(opening, await async_metadata(self._options)))

    async def close(self) -> None:
        """Close the connections; what is under way ends."""
        self._connection.close()
        self._threads.shutdown(wait=False)
