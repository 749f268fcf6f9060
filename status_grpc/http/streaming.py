"""Long answers to clients that do not read them: a write has its time, then the connection is cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import Any

import structlog
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from status_grpc.domain.errors import SlowReader
from status_grpc.edge.incidents import log_failed
from status_grpc.http.edge import caller
from status_grpc.http.hosting.protocol import ABORT

log = structlog.get_logger(__name__)

#: Proxies that gather an answer before they hand it on (nginx) are told not to.
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def bounded(send: Send, seconds: float) -> Send:
    """Return a `send` that raises SlowReader when the client takes so long to read what was sent before."""

    async def bounded_send(message: Message) -> None:
        try:
            async with asyncio.timeout(seconds):
                await send(message)
        except TimeoutError:
            raise SlowReader from None

    return bounded_send


class BoundedStream(StreamingResponse):
    """An answer in parts, to a client that reads them."""

    def __init__(self, parts: AsyncIterable[bytes], seconds: float, **kwargs: Any) -> None:
        super().__init__(parts, **kwargs)
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, or cut the connection once the client has not read for so many seconds."""
        try:
            await super().__call__(scope, receive, bounded(send, self._seconds))
        except SlowReader as error:
            log_failed(error, scope["path"], None, peer=caller.get())
            await cut(scope, receive)


async def cut(scope: Scope, receive: Receive) -> None:
    """Cut the connection, whose request has been read to its end."""
    abort = scope.get("state", {}).get(ABORT)
    if abort is not None:
        abort()
        while (await receive())["type"] != "http.disconnect":
            pass
