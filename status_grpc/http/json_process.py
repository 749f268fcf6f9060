"""Reads large JSON bodies in a process of their own: `python -m status_grpc.http.json_process`.

A JSON parser holds the interpreter, 65 ms for 3.7 MB, and a thread does not change that. The process is started with
the first large body. It ends when its input does, and so never outlives the server.

Both pipes carry pickles, each after its length in four bytes. Only this program is at either end.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import struct
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any, BinaryIO, TypeVar

import structlog

from status_grpc.domain.errors import FieldViolation, InvalidArgument, Overloaded, Unavailable

T = TypeVar("T")

#: Smaller bodies are read in the event loop, in bytes. They take less than a millisecond.
MOST_BYTES_IN_LOOP = 32 * 1024
#: How many bodies may be read or wait at once. A body of 4 MB takes up to seconds.
MOST_BODIES = 8
#: How long one body may take, in seconds. The largest take 2 s on a busy machine.
_MOST_SECONDS = 20.0
_RETRY_AFTER = timedelta(seconds=2)
#: The process ends after so many seconds without a body, and after so many bodies, which bounds its memory.
_IDLE_SECONDS = 300.0
_MOST_TASKS = 200
#: What the process may have mapped, in bytes. A body of 4 MB makes some 100 MB of objects.
_MOST_MEMORY = 1024 * 1024 * 1024
#: It leaves the processor to the server.
_NICENESS = 10
_LENGTH = struct.Struct("!I")
_DONE, _REFUSED, _FAILED = range(3)

log = structlog.get_logger(__name__)


class JsonProcess:
    """The process as the server sees it. One body is read at a time, in the order of arrival."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._tasks = 0
        self._bodies = 0
        self._turn = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None

    async def read(self, function: Callable[..., T], body: bytes, *arguments: Any) -> T:
        """Return what a function of a module makes of the body, here or in the process.

        Raises InvalidArgument as the function does, Overloaded if too many large bodies wait, and Unavailable if the
        process ended.
        """
        if len(body) <= MOST_BYTES_IN_LOOP:
            return function(body, *arguments)
        if self._bodies >= MOST_BODIES:
            raise Overloaded("too many large JSON bodies are being read; try again later", retry_after=_RETRY_AFTER)
        self._bodies += 1
        try:
            async with self._turn:
                # A cancelled request must not leave half of an answer in the pipe.
                reading = asyncio.ensure_future(self._ask(function, body, arguments))
                try:
                    kind, value = await asyncio.shield(reading)
                except asyncio.CancelledError:
                    self._kill()
                    await asyncio.gather(reading, return_exceptions=True)
                    raise
        finally:
            self._bodies -= 1
        if kind == _REFUSED:
            raise InvalidArgument(value)
        if kind == _FAILED:
            raise RuntimeError(f"a JSON body could not be read: {value}")
        result: T = value
        return result

    async def close(self) -> None:
        """End the process."""
        process = self._process
        self._kill()
        if process is not None:
            await process.wait()

    async def _ask(self, function: Callable[..., Any], body: bytes, arguments: tuple[Any, ...]) -> tuple[int, Any]:
        if self._idle is not None:
            self._idle.cancel()
        if self._process is not None and self._process.returncode is not None:
            self._kill()  # it has ended by itself
        process = self._process or await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_MOST_SECONDS):
                process.stdin.write(_framed((function, body, arguments)))
                await process.stdin.drain()
                (size,) = _LENGTH.unpack(await process.stdout.readexactly(_LENGTH.size))
                answer: tuple[int, Any] = pickle.loads(await process.stdout.readexactly(size))  # noqa: S301 - our own
        except TimeoutError:
            self._kill()
            return _REFUSED, (FieldViolation("body", f"takes more than {_MOST_SECONDS:g} s to read"),)
        except (OSError, RuntimeError, asyncio.IncompleteReadError) as error:  # uvloop raises the second
            log.warning("the JSON process ended", exit_code=process.returncode, cause=type(error).__name__)
            self._kill()
            raise Unavailable("a large JSON body could not be read; try again", retry_after=_RETRY_AFTER) from error
        self._tasks += 1
        if self._tasks >= _MOST_TASKS:
            self._kill()
        else:
            self._idle = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._kill)
        return answer

    async def _start(self) -> asyncio.subprocess.Process:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # the folder that the server runs in is not searched
            "-m",
            "status_grpc.http.json_process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # What a terminal sends to the server is not for it.
            start_new_session=True,
        )
        self._tasks = 0
        log.debug("JSON process started", pid=self._process.pid)
        return self._process

    def _kill(self) -> None:
        process, self._process = self._process, None
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if process is not None and process.returncode is None:
            process.kill()


def _framed(value: Any) -> bytes:
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)) + data


def main() -> None:
    """Answer requests until the input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # systemd sends it to all processes of a service
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICENESS)
    _limit_memory()
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while (request := _next(source)) is not None:
        function, body, arguments = request
        try:
            answer = _framed((_DONE, function(body, *arguments)))
        except InvalidArgument as error:
            answer = _framed((_REFUSED, error.violations))
        except MemoryError:
            answer = _framed((_REFUSED, (FieldViolation("body", "takes too much memory to read"),)))
        except Exception as failure:
            answer = _framed((_FAILED, type(failure).__name__))
        target.write(answer)
        target.flush()


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))


def _next(source: BinaryIO) -> Any:
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    return pickle.loads(source.read(_LENGTH.unpack(head)[0]))  # noqa: S301 - from the server that started this


if __name__ == "__main__":
    main()
