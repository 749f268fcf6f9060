"""grpc.health.v1: alive is one thing, ready another. A database that is away makes the server not ready, never dead."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from grpc_health.v1 import health, health_pb2

from status_grpc.domain.errors import StatusError
from status_grpc.rpc.handlers import SERVICE_NAME

log = structlog.get_logger(__name__)

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

LIVENESS = "liveness"
READINESS = "readiness"
#: The names that say whether calls can be served; the empty one is the server as a whole.
_READY_NAMES = ("", READINESS, SERVICE_NAME)


class Health:
    """Answers health checks, and asks the database now and then whether it is there."""

    def __init__(self, ping: Callable[[], Awaitable[None]], *, every_seconds: float) -> None:
        self.servicer = health.aio.HealthServicer()
        self._ping = ping
        self._every_seconds = every_seconds
        self._ready: bool | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether calls can be served."""
        return bool(self._ready)

    async def start(self) -> None:
        """Say that the server is alive, find out whether it is ready, and keep finding out."""
        await self.servicer.set(LIVENESS, _SERVING)
        await self.look()
        self._task = asyncio.create_task(self._run(), name="health")

    async def drain(self) -> None:
        """Say that the server is not ready any more, and stay with that."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._set_ready(False)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_seconds)
            await self.look()

    async def look(self) -> None:
        """Find out now whether the server is ready."""
        try:
            async with asyncio.timeout(self._every_seconds * 2):
                await self._ping()
        except (StatusError, TimeoutError):
            await self._set_ready(False)
        except Exception:
            log.exception("the health check failed")
            await self._set_ready(False)
        else:
            await self._set_ready(True)

    async def _set_ready(self, ready: bool) -> None:
        if ready is self._ready:
            return
        self._ready = ready
        for name in _READY_NAMES:
            await self.servicer.set(name, _SERVING if ready else _NOT_SERVING)
