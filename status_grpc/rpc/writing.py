"""Writing the messages of one stream, to clients that may not read them."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from status_grpc.domain.errors import SlowReader


class BoundedWrites:
    """Around the writes of a stream, each of which may take a bounded time; `begins` is called before each.

    Leaving it raises SlowReader when the client took too long to read one.

    One timer serves many writes: it looks whether the write under way has taken too long, and again when that would be
    the case. A timer for each write would cost a fifth of what a message to a follower does, and a coroutine around
    each another tenth.
    """

    __slots__ = ("_expired", "_loop", "_seconds", "_task", "_timer", "_writing_since")

    def __init__(self, seconds: float) -> None:
        """Bound the writes of the task that makes this."""
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._timer: asyncio.TimerHandle | None = None
        self._writing_since: float | None = None
        self._expired = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # gRPC raises an error of its own when a write is cancelled.
        if self._expired and not self._task.uncancel():
            raise SlowReader from None

    def begins(self) -> None:
        """Note that a write begins now, and that the one before it has ended."""
        self._writing_since = began = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_at(began + self._seconds, self._look)

    def ended(self) -> None:
        """Note that no write is under way until the next one begins."""
        self._writing_since = None

    def _look(self) -> None:
        self._timer = None
        if self._writing_since is None:
            return
        due = self._writing_since + self._seconds
        if self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._look)
        else:
            self._expired = True
            self._task.cancel()
