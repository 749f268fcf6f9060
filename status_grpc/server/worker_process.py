"""A worker process, as its supervisor sees it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import orjson


class WorkerProcess:
    """Starts a worker, reads its messages, and ends it.

    The worker sends one JSON object a line: `listening` or `failed` once, `pulse` every second from then on, and
    `draining` with the number of its streams.
    """

    def __init__(self, process: asyncio.subprocess.Process, on_pulse: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self._process = process
        self._on_pulse = on_pulse
        self._first: asyncio.Future[dict[str, Any]] = loop.create_future()
        self._draining: asyncio.Future[int] = loop.create_future()
        self._reading = asyncio.create_task(self._read(), name="worker-messages")
        #: Whether it has reported that it listens.
        self.is_ready = False

    @classmethod
    async def start(cls, message: dict[str, Any], on_pulse: Callable[[], None]) -> WorkerProcess:
        """Start a process and send it its first message, which is not visible to other processes."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "status_grpc.server.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # What a terminal sends to this process is not for the worker.
            start_new_session=True,
        )
        assert process.stdin is not None
        process.stdin.write(orjson.dumps(message) + b"\n")
        return cls(process, on_pulse)

    @property
    def returncode(self) -> int | None:
        """The exit code. None: it runs."""
        return self._process.returncode

    async def first_message(self) -> dict[str, Any]:
        """Return the message about its start. Empty: it ended without one."""
        message = await self._first
        self.is_ready = "listening" in message
        return message

    async def streams(self, timeout: float) -> int:  # noqa: ASYNC109 - a default answer, not an error
        """Return the number of streams that it ends while draining. 0 without an answer within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(self._draining)
        except TimeoutError:
            return 0

    def stop(self) -> None:
        """Ask it to drain."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def kill(self) -> None:
        """End it at once, unless it has ended."""
        if self._process.returncode is None:
            self._process.kill()

    async def wait(self) -> int:
        """Return the exit code once it has ended."""
        code = await self._process.wait()
        self.is_ready = False
        return code

    async def close(self) -> None:
        """Wait for the end, and close the pipes."""
        self.stop()
        await self._reading
        await self._process.wait()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            message = orjson.loads(line)
            if "pulse" in message:
                self._on_pulse()
            elif "draining" in message:
                self._draining.set_result(int(message["draining"]))
            elif not self._first.done():
                self._first.set_result(message)
        if not self._first.done():
            self._first.set_result({})
        if not self._draining.done():
            self._draining.set_result(0)
