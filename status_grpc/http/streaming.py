"""Long answers to clients that do not read them: a write has its time, then the connection is cut."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Scope, Send

from status_grpc.domain.errors import SlowReader

#: The key of an ASGI scope's state under which the connection's `abort` is: closing would wait for the client to read.
ABORT = "abort_connection"

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


async def cut(scope: Scope, receive: Receive) -> None:
    """Cut the connection, whose request has been read to its end."""
    abort = scope.get("state", {}).get(ABORT)
    if abort is not None:
        abort()
        while (await receive())["type"] != "http.disconnect":
            pass
