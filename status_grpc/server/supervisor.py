"""Several server processes on one port: starts them, replaces those that crash, and ends them together.

Each is started fresh, not forked: gRPC does not survive a fork. This process itself serves nothing and never starts
gRPC; it holds the ports, so that a second service by mistake finds them taken.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from typing import Any

import orjson
import structlog

from status_grpc.domain.errors import Unavailable
from status_grpc.server.logs import say_draining, say_listening
from status_grpc.server.opening import database_of, prepare
from status_grpc.server.ports import reserve
from status_grpc.server.settings import Settings, SettingsError, flag_of

log = structlog.get_logger(__name__)

#: The pause before a crashed worker is replaced, in seconds: it doubles with each crash, up to the second number. One
#: that has lived for a while is replaced as if it had never crashed.
_PAUSES = (0.2, 10.0)
_LIVED_SECONDS = 30.0
#: How many times in a row a replacement may fail to start.
_FAILED_STARTS = 10
#: How long after the time to drain a worker that is still there is killed, in seconds.
_PATIENCE_SECONDS = 5.0
#: How long a worker has to say how many streams it is ending.
_ANSWER_SECONDS = 1.0


async def supervise(settings: Settings) -> None:
    """Serve with several workers until SIGTERM or SIGINT, then drain them all; a second signal ends them at once.

    Raises SettingsError, SchemaMismatch and Unavailable as a server does that cannot start, or when a worker that
    crashed cannot be replaced.
    """
    supervisor = _Supervisor(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop, number)
    try:
        await supervisor.run()
    finally:
        supervisor.kill()
        await supervisor.let_go()


class _Supervisor:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._held: list[socket.socket] = []
        self._workers: dict[int, asyncio.subprocess.Process] = {}
        #: The workers that have reported that they listen.
        self._ready: set[asyncio.subprocess.Process] = set()
        self._stopping = asyncio.Event()

    def stop(self, number: int) -> None:
        """Drain; the second time, end at once."""
        if self._stopping.is_set():
            log.warning("told to stop again: ending at once")
            self.kill()
            os._exit(128 + number)
        self._stopping.set()
        for process in self._workers.values():
            self._tell_to_stop(process)  # those that wait for the database, too

    @staticmethod
    def _tell_to_stop(process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        process.stdin.close()

    def kill(self) -> None:
        """End whatever is left."""
        for process in self._workers.values():
            if process.returncode is None:
                process.kill()
        for each in self._held:
            each.close()

    async def let_go(self) -> None:
        """Wait until those that were ended are gone, and close what led to them."""
        for process in self._workers.values():
            self._tell_to_stop(process)
            await process.communicate()

    async def run(self) -> None:
        # Once, before any worker looks at it.
        await _prepare_database(self._settings)
        self._settings = self._with_ports()
        try:
            await self._run_workers(range(1, self._settings.workers + 1))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        log.info("stopped")

    async def _run_workers(self, numbers: range) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._drain())
            starting = [group.create_task(self._start(number)) for number in numbers]
            listening = [await each for each in starting]
            if self._stopping.is_set():
                return
            say_listening(listening[0])
            log.info("workers started", workers=len(listening))
            for number in numbers:
                group.create_task(self._keep(number))

    def _with_ports(self) -> Settings:
        """Reserve the ports; return the settings with their numbers."""
        changes: dict[str, Any] = {}
        for name in ("listen", "http"):
            address = getattr(self._settings, name)
            if address is not None:
                changes[name], held = reserve(flag_of(name), address)
                self._held += held
        return self._settings.model_copy(update=changes)

    async def _start(self, number: int) -> list[str]:
        """Start a worker; return what it listens on once it is ready, nothing if it is told to stop before."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "status_grpc.server.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # What a terminal sends to this process is not for them.
            start_new_session=True,
        )
        self._workers[number] = process
        if self._stopping.is_set():
            process.kill()  # too late to begin
        assert process.stdin is not None
        assert process.stdout is not None
        # The settings hold secrets: not in the arguments, nor in the environment, where others see them.
        told = {"worker": number, "settings": self._settings_of(number)}
        process.stdin.write(orjson.dumps(told) + b"\n")
        line = await process.stdout.readline()
        said = orjson.loads(line) if line else {}
        if "listening" in said:
            self._ready.add(process)
            listening: list[str] = said["listening"]
            return listening
        code = await process.wait()
        if self._stopping.is_set():
            return []
        sentence = said.get("failed") or f"worker {number} ended with exit code {code} before it was ready"
        if said.get("code") == 1:
            raise Unavailable(sentence)
        raise SettingsError(sentence)

    def _settings_of(self, number: int) -> dict[str, Any]:
        settings = self._settings
        if settings.metrics is not None:
            host, _, port = settings.metrics.rpartition(":")
            if int(port):
                settings = settings.model_copy(update={"metrics": f"{host}:{int(port) + number - 1}"})
        return settings.model_dump(mode="json")

    async def _keep(self, number: int) -> None:
        """Replace a worker whenever it ends, until it is time to stop."""
        pause, failed_starts = _PAUSES[0], 0
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not await self._ended(number):
            if loop.time() - began > _LIVED_SECONDS:
                pause = _PAUSES[0]
            log.error("a worker ended: replacing it", worker=number, exit_code=self._workers[number].returncode)
            if await self._told_to_stop_within(pause):
                return
            pause = min(pause * 2, _PAUSES[1])
            began = loop.time()
            try:
                await self._start(number)
                failed_starts = 0
                log.info("a worker was replaced", worker=number)
            except (SettingsError, Unavailable) as error:
                failed_starts += 1
                log.error("a worker could not be replaced", worker=number, cause=str(error))
                if failed_starts >= _FAILED_STARTS and not self._stopping.is_set():
                    raise

    async def _ended(self, number: int) -> bool:
        """Wait until the worker has ended; return whether it was told to."""
        await self._workers[number].wait()
        self._ready.discard(self._workers[number])
        return self._stopping.is_set()

    async def _told_to_stop_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    async def _drain(self) -> None:
        """When it is time to stop, tell all workers, and see to it that they do."""
        await self._stopping.wait()
        log.info("draining")
        for process in self._workers.values():
            self._tell_to_stop(process)
        streams = await asyncio.gather(*[_streams_of(each) for each in self._workers.values() if each in self._ready])
        say_draining(sum(streams), self._settings.drain_seconds)
        try:
            async with asyncio.timeout(self._settings.drain_seconds + _PATIENCE_SECONDS):
                await asyncio.gather(*[process.wait() for process in self._workers.values()])
        except TimeoutError:
            log.warning("workers did not end in time: killing them")
            self.kill()


async def _streams_of(worker: asyncio.subprocess.Process) -> int:
    """Return the number of streams that a draining worker ends, 0 without an answer."""
    assert worker.stdout is not None
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            line = await worker.stdout.readline()
    except TimeoutError:
        return 0
    return int(orjson.loads(line).get("draining", 0)) if line else 0


async def _prepare_database(settings: Settings) -> None:
    """Bring the database to the schema of this release, or see that it has it."""
    database = database_of(settings)
    try:
        await prepare(database)
    except Unavailable:
        if database.upgrades_at_start:
            raise
        # The workers listen while they wait for it.
    finally:
        await database.close()
