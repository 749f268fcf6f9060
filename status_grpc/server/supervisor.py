"""Several server processes on one port: starts them, replaces those that crash, and ends them together.

Each is started fresh, not forked: gRPC does not survive a fork. This process itself serves nothing and never starts
gRPC; it holds the ports, so that a second service by mistake finds them taken.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from typing import Any

import structlog

from status_grpc.domain.errors import Unavailable
from status_grpc.server.hangs import HangDetector
from status_grpc.server.logs import say_draining, say_listening
from status_grpc.server.opening import database_of, prepare
from status_grpc.server.ports import reserve
from status_grpc.server.settings import Settings, SettingsError, flag_of
from status_grpc.server.systemd import SystemdNotifier
from status_grpc.server.worker_process import WorkerProcess

log = structlog.get_logger(__name__)

#: The pause before a crashed worker is replaced, in seconds: it doubles with each crash, up to the second number. One
#: that has lived for a while is replaced as if it had never crashed.
_PAUSES = (0.2, 10.0)
_LIVED_SECONDS = 30.0
#: How many times in a row a replacement may fail to start.
_FAILED_STARTS = 10
#: How long after the time to drain a worker that is still there is killed, in seconds.
_PATIENCE_SECONDS = 5.0
#: How often the pulses of workers are compared with the time, in seconds.
_LOOK_SECONDS = 0.5
#: How long a worker has to say how many streams it is ending.
_ANSWER_SECONDS = 1.0


async def supervise(settings: Settings) -> None:
    """Serve with several workers until SIGTERM or SIGINT, then drain them all; a second signal ends them at once.

    Raises SettingsError, SchemaMismatch and Unavailable as a server does that cannot start, or when a worker that
    crashed cannot be replaced.
    """
    supervisor = _Supervisor(settings, SystemdNotifier())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop, number)
    try:
        await supervisor.run()
    finally:
        supervisor.kill()
        await supervisor.let_go()


class _Supervisor:
    def __init__(self, settings: Settings, notifier: SystemdNotifier) -> None:
        self._settings = settings
        self._notifier = notifier
        self._held: list[socket.socket] = []
        self._workers: dict[int, WorkerProcess] = {}
        self._hangs = HangDetector(settings.hang_seconds, look_seconds=_LOOK_SECONDS)
        self._stopping = asyncio.Event()

    def stop(self, number: int) -> None:
        """Drain; the second time, end at once."""
        if self._stopping.is_set():
            log.warning("told to stop again: ending at once")
            self.kill()
            os._exit(128 + number)
        self._stopping.set()
        self._notifier.stopping()
        for worker in self._workers.values():
            worker.stop()  # those that wait for the database, too

    def kill(self) -> None:
        """End whatever is left."""
        for worker in self._workers.values():
            worker.kill()
        for each in self._held:
            each.close()

    async def let_go(self) -> None:
        """Wait until those that were ended are gone, and close what led to them."""
        for worker in self._workers.values():
            await worker.close()

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
            group.create_task(self._watch())
            starting = [group.create_task(self._start(number)) for number in numbers]
            listening = [await each for each in starting]
            if self._stopping.is_set():
                return
            say_listening(listening[0])
            log.info("workers started", workers=len(listening))
            self._notifier.ready()
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
        # The settings hold secrets: not in the arguments, nor in the environment, where others see them.
        message = {"worker": number, "settings": self._settings_of(number)}
        worker = await WorkerProcess.start(message, lambda: self._hangs.pulsed(number, time.monotonic()))
        self._workers[number] = worker
        self._hangs.started(number, time.monotonic())
        if self._stopping.is_set():
            worker.kill()  # too late to begin
        first = await worker.first_message()
        if "listening" in first:
            listening: list[str] = first["listening"]
            return listening
        code = await worker.wait()
        self._hangs.forget(number)
        if self._stopping.is_set():
            return []
        sentence = first.get("failed") or f"worker {number} ended with exit code {code} before it was ready"
        if first.get("code") == 1:
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
        self._hangs.forget(number)
        return self._stopping.is_set()

    async def _watch(self) -> None:
        """Kill workers that hang, until it is time to stop; `_keep` replaces them."""
        self._hangs.hanging(time.monotonic())  # the look that the next one is compared with
        while not await self._told_to_stop_within(_LOOK_SECONDS):
            self._notifier.pulse()
            if not self._settings.hang_seconds:
                continue
            for number, silent in self._hangs.hanging(time.monotonic()).items():
                log.error("a worker hangs: killing it", worker=number, silent_seconds=round(silent, 1))
                self._hangs.forget(number)
                self._workers[number].kill()

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
        for worker in self._workers.values():
            worker.stop()
        ready = [worker for worker in self._workers.values() if worker.is_ready]
        streams = await asyncio.gather(*[worker.streams(_ANSWER_SECONDS) for worker in ready])
        say_draining(sum(streams), self._settings.drain_seconds)
        try:
            async with asyncio.timeout(self._settings.drain_seconds + _PATIENCE_SECONDS):
                await asyncio.gather(*[worker.wait() for worker in self._workers.values()])
        except TimeoutError:
            log.warning("workers did not end in time: killing them")
            self.kill()


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
