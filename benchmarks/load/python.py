"""The load generator for machines without h2load: two processes with prepared frames (see `benchmarks.http2`)."""

import asyncio
import time
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

from benchmarks.http2 import Connection, Exchange, grpc_message, request_headers
from benchmarks.load.base import Driver, Job, Outcome, Trail
from benchmarks.processes import Line, Worker

WORKERS = 2


class PythonDriver(Driver):
    """Shares a job's connections out among worker processes."""

    name = "python"

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._workers: list[Worker] = []

    def __enter__(self) -> Self:
        self._workers = [self._stack.enter_context(Worker()) for _ in range(WORKERS)]
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    def run(self, job: Job) -> Outcome:
        shares = [job.bodies[n :: len(self._workers)] for n in range(len(self._workers))]
        busy = [(worker, share) for worker, share in zip(self._workers, shares, strict=True) if share]
        begin = time.monotonic() + 0.1  # time enough to connect: all begin together
        for worker, share in busy:
            part = replace(job, bodies=share, concurrency=job.streams * len(share), calls=job.calls_each * len(share))
            worker.start(generate, part, begin)
        parts: list[Outcome] = [worker.result() for worker, _ in busy]
        return Outcome([trail for part in parts for trail in part.trails], sum(part.generator_cpu for part in parts))


_PREFIX = 5


class _Caller:
    """Keeps a connection's calls in flight until all were made."""

    def __init__(self, connection: Connection, headers: bytes, body: bytes, calls: int) -> None:
        self._connection, self._headers, self._body = connection, headers, grpc_message(body)
        self._to_start = self._to_end = calls
        self.trail = Trail([], [])
        self.done = asyncio.get_running_loop().create_future()

    def begin(self, streams: int) -> None:
        for _ in range(min(streams, self._to_start)):
            self._call()
        self._connection.flush()

    def _call(self) -> None:
        self._to_start -= 1
        self._connection.begin(self._headers, self._body, _Call(self))

    def ended(self, started: float, answered: bool) -> None:
        self.trail.starts.append(started)
        self.trail.durations.append(time.monotonic() - started)
        self.trail.failed += not answered
        self._to_end -= 1
        if self._to_start:
            self._call()  # flushed when all that was received together has been looked at
        elif not self._to_end and not self.done.done():
            self.done.set_result(None)


class _Call(Exchange):
    __slots__ = ("_answered", "_caller", "_started")

    def __init__(self, caller: _Caller) -> None:
        self._caller, self._answered, self._started = caller, False, time.monotonic()

    def received(self, chunk: bytes) -> None:
        # A call that fails answers with an empty message: its prefix of five bytes alone.
        self._answered = self._answered or len(chunk) > _PREFIX

    def ended(self, closed: bool) -> None:
        self._caller.ended(self._started, self._answered and closed)


async def generate(_line: Line, job: Job, begin: float) -> Outcome:
    """Run in a worker: a share of a job."""
    headers = request_headers(job.address, job.path)
    connections = [await Connection.open(job.address) for _ in job.bodies]
    callers = [
        _Caller(connection, headers, body, job.calls_each)
        for connection, body in zip(connections, job.bodies, strict=True)
    ]
    await asyncio.sleep(max(0.0, begin - time.monotonic()))
    cpu = time.process_time()
    for caller in callers:
        caller.begin(job.streams)
    await asyncio.gather(*(caller.done for caller in callers))
    cpu = time.process_time() - cpu
    for connection in connections:
        connection.close()
    return Outcome([caller.trail for caller in callers], cpu)
