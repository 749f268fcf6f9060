"""Clients and followers that go on through faults, and keep a record of what they were told."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from calls import (
    CHANNEL_OPTIONS,
    CONTINUE,
    FAILED,
    FINISHED,
    OK,
    Code,
    Stub,
    all_events,
    first_event,
    next_event,
    read_refusal,
    unique,
)
from server_process import Server
from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1 import trace_pb2

#: How long to wait for what must come, in seconds; only what never comes takes so long.
PATIENCE = 90.0
#: How long one attempt of a call may take before it is made again, of another replica maybe.
_ATTEMPT_SECONDS = 4.0
#: How long a follower hears nothing before it asks another replica; checkpoints come every half a second.
_QUIET_SECONDS = 5.0
#: How long a step works before it reports, at most: what they write is not to be more than what can be looked through.
_WORK_SECONDS = 0.1
#: What clients try again.
_PASSING = {Code.UNAVAILABLE, Code.CANCELLED, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED}
_PASSING_NUMBERS = {code.value[0] for code in _PASSING}
#: How many calls are made a second time although they were answered.
_REPEATED = 0.25


@dataclass
class Records:
    """What the clients know: the truth that the database is held against."""

    #: Trace id -> event id -> sequence, of all that was acknowledged.
    acknowledged: dict[str, dict[str, int]] = field(default_factory=dict)
    #: Trace id -> the id of the event that ended it, and the outcome.
    ends: dict[str, tuple[str, int]] = field(default_factory=dict)
    #: Calls that were made again and answered otherwise than the first time.
    answered_otherwise: int = 0
    #: How calls failed before they were acknowledged.
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """How many writes were acknowledged."""
        return sum(map(len, self.acknowledged.values()))

    def acknowledge(self, trace_id: str, event_id: str, sequence: int) -> None:
        """Note that a write was acknowledged; it may have been before."""
        known = self.acknowledged.setdefault(trace_id, {}).setdefault(event_id, sequence)
        self.answered_otherwise += known != sequence


class Replicas:
    """One client's connections to all replicas: each call goes to any of them, or to one after the other."""

    def __init__(self, servers: Sequence[Server], *, in_turn: bool = False) -> None:
        self._channels = [grpc.aio.insecure_channel(server.address, options=CHANNEL_OPTIONS) for server in servers]
        self.stubs = [Stub(channel) for channel in self._channels]
        self._turns = itertools.cycle(self.stubs) if in_turn else None

    def any(self) -> Stub:
        """Return the stub of one of them."""
        return random.choice(self.stubs) if self._turns is None else next(self._turns)

    async def call(self, method: str, request: Any, failures: Counter[str]) -> Any:
        """Make the call until it is answered, as a client does: the same request again, of any replica."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    answer = await getattr(self.any(), method)(request, timeout=_ATTEMPT_SECONDS)
                except grpc.aio.AioRpcError as error:
                    if error.code() not in _PASSING:
                        raise
                    failures[error.code().name] += 1
                    await asyncio.sleep(read_refusal(error).retry_seconds or 0.05)
                    continue
                if method != "BatchUpdate" or not _failed_in_passing(answer):
                    return answer
                failures["in a batch"] += 1
                await asyncio.sleep(0.1)

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            await channel.close()


def _failed_in_passing(answer: pb.BatchUpdateResponse) -> bool:
    errors = [result.error for result in answer.results if result.HasField("error")]
    assert all(error.code in _PASSING_NUMBERS for error in errors), errors
    return bool(errors)


class Client:
    """Runs one pipeline after another: creates a trace, reports to it and to those that all share, and ends it."""

    def __init__(
        self, replicas: Replicas, records: Records, shared: Sequence[str], follow: Callable[[str], None]
    ) -> None:
        self._replicas = replicas
        self._records = records
        self._shared = shared
        self._follow = follow

    async def run(self, enough: asyncio.Event) -> None:
        """Go on until it is enough; what was begun is brought to its end."""
        while not enough.is_set():
            await self._pipeline(enough)

    async def _pipeline(self, enough: asyncio.Event) -> None:
        trace_id = unique("trace")
        event = first_event(trace_event_id=unique("event"))
        self._follow(trace_id)
        await self._write(
            "Create", pb.CreateRequest(event=event, trace_id=trace_id), [(trace_id, event.trace_event_id)]
        )
        for _ in range(random.randint(2, 6)):
            if enough.is_set():
                break
            await random.choice([self._report, self._report_many])(trace_id)
            await asyncio.sleep(random.random() * _WORK_SECONDS)
        outcome = random.choice([OK, FAILED])
        await self.end(trace_id, outcome)

    async def end(self, trace_id: str, outcome: Any) -> None:
        """End the trace."""
        event_id = unique("end")
        end = self._event(trace_id, event_id, trace_status=FINISHED, trace_event_status=outcome)
        await self._write("Update", pb.UpdateRequest(event=end), [(trace_id, event_id)])
        self._records.ends[trace_id] = event_id, outcome

    def _event(self, trace_id: str, event_id: str, **fields: Any) -> trace_pb2.TraceEvent:
        return next_event(trace_id, trace_event_id=event_id, **{"trace_status": CONTINUE} | fields)

    async def _report(self, trace_id: str) -> None:
        target, event_id = random.choice([trace_id, *self._shared]), unique("event")
        await self._write("Update", pb.UpdateRequest(event=self._event(target, event_id)), [(target, event_id)])

    async def _report_many(self, trace_id: str) -> None:
        await self.report_to([random.choice([trace_id, *self._shared]) for _ in range(8)])

    async def report_to(self, trace_ids: Sequence[str]) -> None:
        """Append to these traces in one call."""
        asked = [(trace_id, unique("event")) for trace_id in trace_ids]
        request = pb.BatchUpdateRequest(requests=[pb.UpdateRequest(event=self._event(*each)) for each in asked])
        await self._write("BatchUpdate", request, asked)

    async def _write(self, method: str, request: Any, asked: Sequence[tuple[str, str]]) -> None:
        for _ in range(2 if random.random() < _REPEATED else 1):
            answer = await self._replicas.call(method, request, self._records.failures)
            recorded = answer.results if method == "BatchUpdate" else [answer.event]
            for (trace_id, event_id), result in zip(asked, recorded, strict=True):
                assert result.trace_event_id == event_id
                self._records.acknowledge(trace_id, event_id, result.sequence)


class Follower:
    """Follows a trace to its end over broken streams, of any replica, and believes what it is told."""

    def __init__(self, replicas: Replicas, trace_id: str) -> None:
        self.trace_id = trace_id
        #: Sequence and id of the events it was given.
        self.seen: list[tuple[int, str]] = []
        #: The last checkpoint, once the stream has ended with OK.
        self.end: pb.Checkpoint | None = None
        #: Why streams ended before.
        self.breaks: Counter[str] = Counter()
        #: How often it was told that the history it has is no more.
        self.restarts = 0
        #: Cleared, it does not read what is sent to it.
        self.reads = asyncio.Event()
        self.reads.set()
        self._replicas = replicas

    async def run(self) -> None:
        """Follow until a stream ends with OK."""
        while self.end is None:
            sequence, event_id = self.seen[-1] if self.seen else (0, "")
            call = self._replicas.any().StreamTrace(
                pb.StreamTraceRequest(
                    trace_id=self.trace_id, after_sequence=sequence, after_event_id=event_id, wait_for_trace=True
                )
            )
            try:
                await self._read(call)
            except TimeoutError:
                self.breaks["quiet"] += 1
            except grpc.aio.AioRpcError as error:
                await self._broken(error)
            finally:
                call.cancel()

    async def _read(self, call: Any) -> None:
        last = pb.Checkpoint()
        while True:
            await self.reads.wait()
            async with asyncio.timeout(_QUIET_SECONDS):
                message = await call.read()
            if message is grpc.aio.EOF:
                self.end = last
                return
            if message.WhichOneof("message") == "event":
                self.seen.append((message.event.sequence, message.event.trace_event_id))
            else:
                last = message.checkpoint

    async def _broken(self, error: grpc.aio.AioRpcError) -> None:
        self.breaks[error.code().name] += 1
        if error.code() in (Code.OUT_OF_RANGE, Code.DATA_LOSS):
            self.restarts += 1
            self.seen = []
        elif error.code() not in _PASSING:
            raise error
        await asyncio.sleep(read_refusal(error).retry_seconds or 0.05)


class Load:
    """Several clients that write, and followers of every trace they write to."""

    CLIENTS = 6

    def __init__(self, servers: Sequence[Server]) -> None:
        self.records = Records()
        self.servers = servers
        self.followers: list[Follower] = []
        self._enough = asyncio.Event()
        self._replicas: list[Replicas] = []
        self._clients: list[Client] = []
        self._writing: list[asyncio.Task[None]] = []
        self._following: list[asyncio.Task[None]] = []
        self.shared: list[str] = []

    async def start(self) -> None:
        """Begin."""
        first = self._connected()
        for _ in range(2):
            trace_id = unique("shared")
            event = first_event(trace_event_id=unique("event"))
            answer = await first.call("Create", pb.CreateRequest(event=event, trace_id=trace_id), Counter())
            self.records.acknowledge(trace_id, event.trace_event_id, answer.event.sequence)
            self.shared.append(trace_id)
            for _ in range(2):
                self.follow(trace_id)
        self.paused = self.followers[0]
        reading = self._connected()
        self._clients = [
            Client(self._connected(), self.records, self.shared, lambda trace_id: self.follow(trace_id, reading))
            for _ in range(self.CLIENTS)
        ]
        self.write()

    def write(self) -> None:
        """Let the clients begin, again if they have stopped."""
        self._enough.clear()
        self._writing = [asyncio.create_task(client.run(self._enough)) for client in self._clients]

    def follow(self, trace_id: str, replicas: Replicas | None = None) -> Follower:
        """Let one more follow."""
        follower = Follower(replicas or self._connected(), trace_id)
        self.followers.append(follower)
        self._following.append(asyncio.create_task(follower.run(), name=trace_id))
        return follower

    def _connected(self) -> Replicas:
        self._replicas.append(Replicas(self.servers))
        return self._replicas[-1]

    async def write_to_shared(self, *servers: Server) -> None:
        """Append to each trace that all share, in one call, to the first of these servers that answers."""
        replicas = Replicas(servers, in_turn=True)
        self._replicas.append(replicas)
        await Client(replicas, self.records, self.shared, lambda _: None).report_to(self.shared)

    async def more(self, count: int = 120) -> None:
        """Return once so many more writes were acknowledged."""
        until = self.records.count + count
        async with asyncio.timeout(PATIENCE):
            while self.records.count < until:
                self._raise_if_failed()
                await asyncio.sleep(0.005)

    def _raise_if_failed(self) -> None:
        for task in itertools.chain(self._writing, self._following):
            if task.done() and not task.cancelled():
                task.result()

    async def stop_writing(self) -> None:
        """Return when all that was begun is acknowledged."""
        self._enough.set()
        await asyncio.gather(*self._writing)

    async def all_seen(self) -> None:
        """Return once those who read have seen the ends of traces that ended, and all there is of the shared ones."""
        reading = [each for each in self.followers if each.reads.is_set()]
        async with asyncio.timeout(PATIENCE):
            for follower in reading:
                while follower.trace_id in self.records.ends and follower.end is None:
                    self._raise_if_failed()
                    await asyncio.sleep(0.01)
            for follower in reading:
                if follower.trace_id not in self.shared:
                    continue
                last = max(self.records.acknowledged[follower.trace_id].values())
                while not follower.seen or follower.seen[-1][0] < last:
                    self._raise_if_failed()
                    await asyncio.sleep(0.01)

    async def finish(self) -> None:
        """End all; return when everybody has seen the end, or will not."""
        await self.stop_writing()
        for trace_id in self.shared:
            await self._clients[0].end(trace_id, random.choice([OK, FAILED]))
        self.paused.reads.set()
        done, late = await asyncio.wait(self._following, timeout=PATIENCE)
        for task in late:
            task.cancel()
        for task in done:
            task.result()

    def forget(self, whom: Callable[[Follower], object]) -> None:
        """Let some followers go."""
        kept = []
        for follower, task in zip(self.followers, self._following, strict=True):
            if whom(follower):
                task.cancel()
            else:
                kept.append((follower, task))
        self.followers, self._following = [follower for follower, _ in kept], [task for _, task in kept]

    async def end_if_open(self, trace_id: str) -> None:
        """End the trace of a client that was interrupted, or take note of how it was ended."""
        client = self._clients[0]
        finished = [
            event for event in await all_events(self._replicas[0].any(), trace_id) if event.trace_status == FINISHED
        ]
        if finished:
            self.records.ends[trace_id] = finished[0].trace_event_id, finished[0].trace_event_status
        else:
            await client.end(trace_id, OK)

    async def close(self) -> None:
        """Let go of everything."""
        for task in (*self._writing, *self._following):
            task.cancel()
        await asyncio.gather(*self._writing, *self._following, return_exceptions=True)
        for replicas in self._replicas:
            await replicas.close()
