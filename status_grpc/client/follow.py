"""Follow: the iterator over a trace's events for threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from status_grpc.client.base import FollowBase
from status_grpc.client.following import Following
from status_grpc.client.retrying import Reconnect, report
from status_grpc.client.values import Checkpoint
from status_grpc.domain.errors import StatusError, Unavailable
from status_grpc.domain.events import TraceEvent

if TYPE_CHECKING:
    from status_grpc.client.connecting import Connection, Stream


class Follow(FollowBase):
    """The events of a trace, one after the other, until it is done. One thread reads it; any may `close` it.

    See `FollowBase` for what it knows.
    """

    def __init__(
        self,
        following: Following,
        connection: Connection,
        on_checkpoint: Callable[[Checkpoint], None] | None = None,
        on_reconnect: Callable[[Reconnect], None] | None = None,
    ) -> None:
        super().__init__(following, on_checkpoint, on_reconnect)
        self._connection = connection
        self._closed = threading.Event()
        self._stream: Stream | None = None
        self._pending: TraceEvent | None = None

    def start(self) -> Checkpoint:
        """Connect, if that is not done yet, and return the first checkpoint: from here on nothing is missed."""
        while self._following.checkpoint is None and self._pending is None and not self._closed.is_set():
            self._pending = self._advance()
        if self._following.checkpoint is None:
            raise Unavailable("the follower was closed")
        return self._following.checkpoint

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> TraceEvent:
        event, self._pending = self._pending, None
        while event is None:
            if self._closed.is_set():
                raise StopIteration
            event = self._advance()
        return event

    def close(self) -> None:
        """End the iteration."""
        self._closed.set()
        self._drop_stream()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _advance(self) -> TraceEvent | None:
        """Take one step: return an event if that is what came."""
        told: TraceEvent | Checkpoint | None = None
        try:
            if self._stream is None:
                self._stream = self._connection.open_stream(self._following.opening())
            message = self._stream.read()
            if message is not None:
                told = self._following.receive(message)
        except StatusError as error:
            self._stream_ended(error)
        else:
            if message is None:
                self._stream_ended(None)
        if isinstance(told, Checkpoint) and self._on_checkpoint is not None:
            self._on_checkpoint(told)
        return told if isinstance(told, TraceEvent) else None

    def _stream_ended(self, error: StatusError | None) -> None:
        self._drop_stream()
        if self._closed.is_set():
            return
        try:
            reconnect = self._following.ended(error)
        except StatusError:
            self.close()
            raise
        if reconnect is None:
            self.close()
            return
        report(reconnect, self._on_reconnect, self._following.server)
        self._closed.wait(reconnect.delay)

    def _drop_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()
