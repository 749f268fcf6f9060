"""Followers, as many as it takes in one process: each notes what it received and when."""

import asyncio
import time
from dataclasses import dataclass, field

from tracestatus.v1 import status_service_pb2 as service_pb2

from benchmarks.http2 import Connection, Exchange, grpc_message, request_headers
from benchmarks.payloads import STREAM
from benchmarks.processes import Line

READY = "every follower has caught up"
STREAMS_PER_CONNECTION = 50


@dataclass(frozen=True)
class FollowJob:
    """So many followers of some traces in turn, who give up after so many seconds."""

    address: str
    trace_ids: tuple[str, ...]
    followers: int
    patience: float


@dataclass
class Followed:
    """What one follower saw of its trace."""

    trace_id: str
    sequences: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    done: bool = False  # the last message was the checkpoint that says so


class _Follower(Exchange):
    """Reads messages as they come, and looks into them when there is time: only the first ones at once."""

    __slots__ = ("_rest", "caught_up", "ended_at", "received_at", "trace_id", "whole")

    def __init__(self, trace_id: str) -> None:
        self.trace_id = trace_id
        self._rest = b""
        self.whole: list[bytes] = []
        self.received_at: list[float] = []
        self.caught_up = asyncio.Event()
        self.ended_at = asyncio.Event()

    def received(self, chunk: bytes) -> None:
        now = time.monotonic()
        chunk = self._rest + chunk if self._rest else chunk
        at, size = 0, len(chunk)
        while size - at >= 5:
            end = at + 5 + int.from_bytes(chunk[at + 1 : at + 5], "big")
            if end > size:
                break
            self.whole.append(chunk[at + 5 : end])
            self.received_at.append(now)
            at = end
        self._rest = chunk[at:]
        if not self.caught_up.is_set():
            messages = map(service_pb2.StreamTraceResponse.FromString, self.whole)
            if any(message.checkpoint.caught_up for message in messages):
                self.caught_up.set()

    def ended(self, closed: bool) -> None:
        self.ended_at.set()

    def followed(self, known: dict[bytes, service_pb2.StreamTraceResponse]) -> Followed:
        seen = Followed(self.trace_id)
        for at, raw in zip(self.received_at, self.whole, strict=True):
            message = known.get(raw)
            if message is None:
                message = known[raw] = service_pb2.StreamTraceResponse.FromString(raw)
            if message.HasField("event"):
                seen.sequences.append(message.event.sequence)
                seen.times.append(at)
            seen.done = message.checkpoint.done
        return seen


async def follow(line: Line, job: FollowJob) -> list[Followed]:
    """Run in a worker: follow from the beginning to the end."""
    headers = request_headers(job.address, STREAM)
    followers = [_Follower(job.trace_ids[n % len(job.trace_ids)]) for n in range(job.followers)]
    connections = []
    for first in range(0, job.followers, STREAMS_PER_CONNECTION):
        connection = await Connection.open(job.address)
        connections.append(connection)
        for follower in followers[first : first + STREAMS_PER_CONNECTION]:
            request = service_pb2.StreamTraceRequest(trace_id=follower.trace_id)
            connection.begin(headers, grpc_message(request.SerializeToString()), follower)
        connection.flush()
    await _all([follower.caught_up for follower in followers], job.patience, "caught up")
    line.tell(READY)
    try:
        await _all([follower.ended_at for follower in followers], job.patience, "ended")
    except TimeoutError:
        pass  # those who did not see the end are counted
    for connection in connections:
        connection.close()
    known: dict[bytes, service_pb2.StreamTraceResponse] = {}
    return [follower.followed(known) for follower in followers]


async def _all(events: list[asyncio.Event], patience: float, what: str) -> None:
    try:
        async with asyncio.timeout(patience):
            for event in events:
                await event.wait()
    except TimeoutError:
        reached = sum(event.is_set() for event in events)
        raise TimeoutError(f"{reached} of {len(events)} followers {what} within {patience:.0f} s") from None
