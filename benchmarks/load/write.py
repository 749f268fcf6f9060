"""The writer that followers hear, and the bystander who writes to another trace meanwhile."""

import asyncio
import time
from dataclasses import dataclass, field

from tracestatus.v1 import status_service_pb2 as service_pb2

from benchmarks.http2 import Connection, Exchange, grpc_message, request_headers
from benchmarks.payloads import UPDATE, update
from benchmarks.processes import Line

WRITTEN = "every event is acknowledged"
BYSTANDER_PAUSE = 0.01


@dataclass(frozen=True)
class WriteJob:
    """So many Updates of some traces in turn, so many at a time; with an interval, one at each of its ticks."""

    address: str
    trace_ids: tuple[str, ...]
    bystander_trace_id: str
    events: int
    concurrency: int = 1
    interval: float = 0


@dataclass
class Written:
    """When each event (trace, sequence) was sent and acknowledged; how long each of the bystander's writes took."""

    sent: dict[tuple[str, int], float] = field(default_factory=dict)
    acknowledged: dict[tuple[str, int], float] = field(default_factory=dict)
    bystander: list[float] = field(default_factory=list)


class _Answer(Exchange):
    __slots__ = ("_chunks", "message")

    def __init__(self) -> None:
        self._chunks = bytearray()
        self.message: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def received(self, chunk: bytes) -> None:
        self._chunks += chunk

    def ended(self, closed: bool) -> None:
        if self.message.done():
            return
        if closed and self._chunks:
            self.message.set_result(bytes(self._chunks[5:]))
        else:
            self.message.set_exception(RuntimeError("an Update failed"))


class _Updates:
    """Sends one trace's Updates."""

    def __init__(self, connection: Connection, address: str, trace_id: str) -> None:
        self._connection = connection
        self._headers = request_headers(address, UPDATE)
        self._body = grpc_message(update(trace_id).SerializeToString())

    async def send(self) -> int:
        """Send an event; its sequence."""
        answer = _Answer()
        self._connection.begin(self._headers, self._body, answer)
        self._connection.flush()
        return service_pb2.UpdateResponse.FromString(await answer.message).event.sequence


async def write(line: Line, job: WriteJob) -> Written:
    """Run in a worker: write the events, then go on as the bystander until told to stop."""
    connections = [await Connection.open(job.address) for _ in range(2)]
    written = Written()
    updates = {trace_id: _Updates(connections[0], job.address, trace_id) for trace_id in job.trace_ids}
    bystander = asyncio.create_task(
        _stand_by(_Updates(connections[1], job.address, job.bystander_trace_id), written, line)
    )
    left = iter(range(job.events))
    begin = time.monotonic()

    async def writer() -> None:
        for n in left:  # shared by the writers
            if job.interval:
                await asyncio.sleep(max(0.0, begin + n * job.interval - time.monotonic()))
            trace_id = job.trace_ids[n % len(job.trace_ids)]
            sent = time.monotonic()
            event = trace_id, await updates[trace_id].send()
            written.sent[event], written.acknowledged[event] = sent, time.monotonic()

    await asyncio.gather(*(writer() for _ in range(job.concurrency)))
    line.tell(WRITTEN)
    await bystander
    for connection in connections:
        connection.close()
    return written


async def _stand_by(updates: _Updates, written: Written, line: Line) -> None:
    while not line.told():
        sent = time.monotonic()
        await updates.send()
        written.bystander.append(time.monotonic() - sent)
        await asyncio.sleep(BYSTANDER_PAUSE)
