"""A TCP proxy between a server and PostgreSQL that sees commits go by, and may hold, or lose, one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

#: A simple query, as the protocol of PostgreSQL has it.
_COMMIT = b"COMMIT\0"


#: Is given the way to pass a commit on; returns whether the connection lives on.
_Plan = Callable[[Callable[[], Awaitable[None]]], Awaitable[bool]]


class Proxy:
    """Passes everything on, until it is told what to do with the next commit."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._plan: _Plan | None = None
        self.port = 0

    async def start(self) -> Proxy:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def lose_commit(self, *, forwarded: bool) -> None:
        """Wait for the next commit and cut its connection: before it reaches the database, or before it is answered."""
        lost = asyncio.Event()

        async def plan(forward: Callable[[], Awaitable[None]]) -> bool:
            if forwarded:
                await forward()
            lost.set()
            return False

        self._plan = plan
        await lost.wait()

    async def hold_commit(self, then: Callable[[], None], until: asyncio.Event) -> None:
        """Wait for the next commit and keep it from the database until the event is set; `then` is called at once."""
        held = asyncio.Event()

        async def plan(forward: Callable[[], Awaitable[None]]) -> bool:
            then()
            held.set()
            await until.wait()
            await forward()
            return True

        self._plan = plan
        await held.wait()

    async def close(self) -> None:
        """Cut everything."""
        assert self._server is not None
        self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            below, above = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        passing = [
            asyncio.create_task(self._pass_requests(reader, above)),
            asyncio.create_task(_pass(below, writer)),
        ]
        try:
            # Answers are passed on by a task of their own, which a lost commit ends.
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # asyncio reports connections whose task is cancelled
        finally:
            for each in passing:
                each.cancel()
            await asyncio.gather(*passing, return_exceptions=True)
            for end in (above, writer):
                end.transport.abort()
            self._connections.discard(task)

    async def _pass_requests(self, reader: asyncio.StreamReader, above: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):

                async def forward(data: bytes = data) -> None:
                    above.write(data)
                    await above.drain()

                plan = self._plan if _COMMIT in data else None
                if plan is None:
                    await forward()
                    continue
                self._plan = None
                if not await plan(forward):
                    return


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
