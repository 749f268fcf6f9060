"""Independent callers, which do not wait for each other's answers."""

import asyncio
import random
import time
from dataclasses import dataclass

from benchmarks.http2 import Connection, Exchange, grpc_message, request_headers
from benchmarks.load.base import Outcome, Trail
from benchmarks.processes import Line

_PREFIX = 5


@dataclass(frozen=True)
class Arrivals:
    """Calls of one method that arrive as a Poisson process."""

    address: str
    path: str
    bodies: tuple[bytes, ...]  # encoded requests, without gRPC's prefix
    rate: float  # calls per second, on average
    calls: int
    seed: int  # decides when each call arrives


class _Call(Exchange):
    __slots__ = ("_answered", "_started", "_trail", "done")

    def __init__(self, trail: Trail) -> None:
        self._trail, self._answered, self._started = trail, False, time.monotonic()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def received(self, chunk: bytes) -> None:
        # A call that fails answers with an empty message: its prefix of five bytes alone.
        self._answered = self._answered or len(chunk) > _PREFIX

    def ended(self, closed: bool) -> None:
        self._trail.starts.append(self._started)
        self._trail.durations.append(time.monotonic() - self._started)
        self._trail.failed += not (self._answered and closed)
        self.done.set_result(None)


async def arrive(_line: Line, job: Arrivals) -> Outcome:
    """Make the calls, in a worker. Each is timed from when it is sent."""
    headers = request_headers(job.address, job.path)
    messages = [grpc_message(body) for body in job.bodies]
    connections = [await Connection.open(job.address) for _ in job.bodies]
    trail = Trail([], [])
    when = random.Random(job.seed)
    cpu, due = time.process_time(), time.monotonic()
    calls = []
    for number in range(job.calls):
        due += when.expovariate(job.rate)
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        call = _Call(trail)
        calls.append(call.done)
        turn = number % len(connections)
        connections[turn].begin(headers, messages[turn], call)
        connections[turn].flush()
    await asyncio.gather(*calls)
    cpu = time.process_time() - cpu
    for connection in connections:
        connection.close()
    return Outcome([trail], cpu)
