"""Writing the messages of one stream, to clients that may not read them."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from status_grpc.domain.errors import SlowReader


class BoundedWriter:
    """Writes messages, each within a bounded time.

    One timer serves many writes: it looks whether the write under way has taken too long, and again when that would be
    the case. A timer for each write would cost a fifth of what a message to a follower does.
    """

    __slots__ = ("_context", "_expired", "_loop", "_seconds", "_task", "_timer", "_writing_since")

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any], seconds: float) -> None:
        """Write to a call, from the task that makes this."""
        self._context = context
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._timer: asyncio.TimerHandle | None = None
        self._writing_since: float | None = None
        self._expired = False

    async def write(self, message: bytes) -> None:
        """Write one message. Raises SlowReader when the client takes too long to read it."""
        self._writing_since = began = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_at(began + self._seconds, self._look)
        try:
            await self._context.write(message)
        except BaseException:  # gRPC raises an error of its own when a write is cancelled
            if self._expired and not self._task.uncancel():
                raise SlowReader from None
            raise
        finally:
            self._writing_since = None

    def close(self) -> None:
        """Let go of the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

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
