"""What both clients and both followers are made of, apart from how they wait."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from status_grpc.client.following import Following
from status_grpc.client.options import Token, client_options
from status_grpc.client.retrying import Reconnect
from status_grpc.client.values import Checkpoint
from status_grpc.client.waiting import Target
from status_grpc.domain.traces import Trace

ConnectionT = TypeVar("ConnectionT")


class ClientBase(ABC, Generic[ConnectionT]):
    """A client: its options and its connection."""

    def __init__(
        self,
        server: str | None = None,
        *,
        token: Token | None = None,
        token_file: str | None = None,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        plaintext: bool | None = None,
        timeout: float | None = None,
        connect_timeout: float | None = None,
        attempt_timeout: float | None = None,
        silence_timeout: float | None = None,
        outage_timeout: float | None = None,
    ) -> None:
        self.options = client_options({name: value for name, value in locals().items() if name != "self"})
        self._connection = self._connect()

    @abstractmethod
    def _connect(self) -> ConnectionT:
        """Return a new connection. This is where gRPC is loaded."""

    def _following(
        self, target: Target, *, after_sequence: int = 0, after_event_id: str = "", timeout: float | None = None
    ) -> Following:
        return Following(
            target,
            self.options,
            after_sequence=after_sequence,
            after_event_id=after_event_id,
            timeout=timeout,
            clock=time.monotonic,
        )


class FollowBase:
    """What a follower knows.

    `trace` is the state as the server last told it (complete once the iteration has ended), `checkpoint` the last
    checkpoint, `sequence` and `event_id` are where to resume.
    """

    def __init__(
        self,
        following: Following,
        on_checkpoint: Callable[[Checkpoint], None] | None,
        on_reconnect: Callable[[Reconnect], None] | None,
    ) -> None:
        self._following = following
        self._on_checkpoint = on_checkpoint
        self._on_reconnect = on_reconnect

    @property
    def trace_id(self) -> str:
        """The trace that is followed; empty while that is not known."""
        return self._following.trace_id

    @property
    def trace(self) -> Trace | None:
        """The trace as the server last told it."""
        return self._following.trace

    @property
    def finished_trace(self) -> Trace:
        """The trace, once the iteration has ended because it is done. Raises RuntimeError before."""
        return self._following.finished_trace()

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The last checkpoint."""
        return self._following.checkpoint

    @property
    def sequence(self) -> int:
        """The sequence of the last event."""
        return self._following.sequence

    @property
    def event_id(self) -> str:
        """The id of the last event."""
        return self._following.event_id
