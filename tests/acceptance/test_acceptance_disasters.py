"""What a server keeps through kill -9, SIGTERM, crowds and readers that stop: checked with real processes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from calls import (
    CHANNEL_OPTIONS,
    ENDED_OK,
    OK,
    Code,
    Stub,
    all_events,
    create,
    get,
    new_trace,
    next_event,
    read_refusal,
    unique,
    update,
)
from followers import Following, Refusal, ResumingFollower, follow
from google.protobuf.struct_pb2 import Struct
from grpc_health.v1 import health_pb2, health_pb2_grpc
from server_process import Server
from tracestatus.v1 import status_service_pb2 as pb

Connect = Callable[..., Stub]


#: gRPC itself cancels a call that it has not handed to the server when that stops. A draining server sees to it that
#: there are none; on a machine that stands still meanwhile a few of the dozens in these tests may be left.
NEVER_BEGUN = 4


async def persistently(call: Callable[[], Awaitable[Any]]) -> Any:
    """Make the call until it is acknowledged, as a client does: the same request again while the server is away.

    A call that gRPC has accepted but no handler has begun when a server stops is CANCELLED by gRPC itself
    (grpc/grpc#41785): nobody here cancels, so that too means the server is away.
    """
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if error.code() not in (Code.UNAVAILABLE, Code.CANCELLED):
                raise
            await asyncio.sleep(read_refusal(error).retry_seconds or 0.02)


class Writers:
    """A load of writes: Updates, batches, Creates and heartbeats, each repeated until it is acknowledged."""

    def __init__(self, stub: Stub, traces: list[str]) -> None:
        #: How many calls were cancelled by gRPC itself, to be made again.
        self.cancelled = 0
        #: Trace id -> event id -> sequence, of all that was acknowledged.
        self.acknowledged: dict[str, dict[str, int]] = {trace_id: {} for trace_id in traces}
        self._stub = stub
        self._numbers = itertools.count()
        self._enough = False
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write no more; return when all that was begun is acknowledged."""
        self._enough = True
        await self._task

    async def _run(self) -> None:
        kinds = [self._write_one, self._write_one, self._write_batch, self._write_trace]
        async with asyncio.TaskGroup() as group:
            for write in kinds * 3:
                group.create_task(self._repeat(write))

    async def _repeat(self, write: Callable[[], Awaitable[None]]) -> None:
        while not self._enough:
            await write()

    async def _persistently(self, call: Callable[[], Awaitable[Any]]) -> Any:
        while True:
            try:
                return await persistently(call)
            except grpc.aio.AioRpcError as error:
                if error.code() is not Code.CANCELLED:
                    raise
                self.cancelled += 1

    def _event(self) -> Any:
        trace_id = random.choice(list(self.acknowledged))
        return next_event(trace_id, trace_event_id=f"event-{next(self._numbers)}")

    def _acknowledge(self, trace_id: str, event_id: str, sequence: int) -> None:
        assert event_id not in self.acknowledged[trace_id]
        self.acknowledged[trace_id][event_id] = sequence

    async def _write_one(self) -> None:
        event = self._event()
        answer = await self._persistently(lambda: self._stub.Update(pb.UpdateRequest(event=event)))
        self._acknowledge(event.trace_id, event.trace_event_id, answer.event.sequence)

    async def _write_batch(self) -> None:
        request = pb.BatchUpdateRequest(requests=[pb.UpdateRequest(event=self._event()) for _ in range(10)])
        answer = await self._persistently(lambda: self._stub.BatchUpdate(request))
        for asked, result in zip(request.requests, answer.results, strict=True):
            assert not result.HasField("error"), result
            self._acknowledge(asked.event.trace_id, result.trace_event_id, result.sequence)

    async def _write_trace(self) -> None:
        event_id = f"event-{next(self._numbers)}"
        answer = await self._persistently(lambda: create(self._stub, trace_event_id=event_id))
        self.acknowledged[answer.trace.trace_id] = {event_id: answer.event.sequence}
        await self._persistently(lambda: self._stub.Heartbeat(pb.HeartbeatRequest(trace_id=answer.trace.trace_id)))

    @property
    def count(self) -> int:
        """How many writes were acknowledged."""
        return sum(map(len, self.acknowledged.values()))

    async def until(self, count: int) -> None:
        """Wait until so many writes were acknowledged."""
        while self.count < count:
            if self._task.done():
                await self._task  # it failed: raise why
            await asyncio.sleep(0.005)

    async def assert_all_stored_once(self) -> None:
        """Every acknowledged write is there once, where its answer said, and sequences are dense."""
        for trace_id, acknowledged in self.acknowledged.items():
            events = await all_events(self._stub, trace_id)
            assert [event.sequence for event in events] == list(range(1, len(events) + 1))
            stored = {event.trace_event_id: event.sequence for event in events}
            assert len(stored) == len(events)
            assert acknowledged.items() <= stored.items()


async def test_after_kill_9_in_a_load_of_writes_everything_acknowledged_is_there_once_and_followers_go_on(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    server = new_server()
    stub, reading = connect(server), connect(server)
    traces = [await new_trace(stub) for _ in range(4)]
    writers = Writers(stub, traces)
    followers = [asyncio.create_task(ResumingFollower(reading, trace_id).run()) for trace_id in traces * 3]
    for _ in range(3):
        await writers.until(writers.count + 300)
        server.kill()
        await asyncio.sleep(random.random() / 10)
        server.start()
    await writers.until(writers.count + 300)
    await writers.stop()
    for trace_id in traces:
        await update(stub, trace_id, **ENDED_OK)

    await writers.assert_all_stored_once()
    for follower in await asyncio.gather(*followers):
        assert follower.breaks
        follower.assert_saw([event.trace_event_id for event in await all_events(stub, follower.events[0].trace_id)])


async def test_sigterm_drains_writes_are_answered_streams_end_with_a_reason_and_nothing_is_lost(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    server = new_server("--drain-seconds", "2")
    stub, reading = connect(server), connect(server)
    traces = [await new_trace(stub) for _ in range(4)]
    quiet = await new_trace(stub)
    writers = Writers(stub, traces)
    followers = [asyncio.create_task(ResumingFollower(reading, trace_id).run()) for trace_id in [*traces, quiet] * 8]
    waiting = [
        asyncio.create_task(refused(reading.WaitTrace(pb.WaitTraceRequest(trace_id=quiet)))),
        asyncio.create_task(Following(reading, s3_path=unique("x"), new_only=True).refused()),
    ]
    await writers.until(200)

    server.terminate()

    assert await asyncio.to_thread(server.wait) == 0
    assert "Traceback" not in server.log
    for found in await asyncio.gather(*waiting):
        assert (found.code, found.reason) == (Code.UNAVAILABLE, "DRAINING")
    server.start()
    await writers.until(writers.count + 200)
    await writers.stop()
    for trace_id in [*traces, quiet]:
        await update(stub, trace_id, **ENDED_OK)
    await writers.assert_all_stored_once()
    told = []
    for follower in await asyncio.gather(*followers):
        follower.assert_saw([event.trace_event_id for event in await all_events(stub, follower.events[0].trace_id)])
        told.append(follower.breaks[0])
    assert writers.cancelled <= NEVER_BEGUN
    assert {found.reason for found in told} == {"DRAINING"}
    assert all(found.retry_seconds is not None and found.retry_seconds <= 1 for found in told)


async def refused(call: Awaitable[Any]) -> Refusal:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return read_refusal(error)
    raise AssertionError("the call was answered")


async def test_a_draining_server_says_that_it_is_not_ready_but_alive(new_server: Callable[..., Server]) -> None:
    server = new_server("--drain-seconds", "2")
    async with grpc.aio.insecure_channel(server.address, options=CHANNEL_OPTIONS) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        names = ["", "readiness", "tracestatus.v1.StatusService", "liveness"]
        watches = {name: health.Watch(health_pb2.HealthCheckRequest(service=name)) for name in names}
        for watch in watches.values():
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        server.terminate()
        for name in names[:-1]:
            assert (await watches[name].read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with contextlib.suppress(grpc.aio.AioRpcError):
            assert await watches["liveness"].read() is grpc.aio.EOF, "liveness does not change"
    assert server.wait() == 0


class Hasty:
    """Writers that do not try again: each writes until it is refused."""

    def __init__(self, stub: Stub, trace_id: str) -> None:
        self.answered: set[str] = set()
        self.refused: dict[str, grpc.StatusCode] = {}
        self._stub = stub
        self._trace_id = trace_id

    async def run(self) -> None:
        await asyncio.gather(*[self._write(writer) for writer in range(32)])

    async def _write(self, writer: int) -> None:
        for n in itertools.count():
            event_id = f"{writer}-{n}"
            try:
                await update(self._stub, self._trace_id, trace_event_id=event_id)
            except grpc.aio.AioRpcError as error:
                self.refused[event_id] = error.code()
                return
            self.answered.add(event_id)

    async def stored(self) -> set[str]:
        """Return what is stored, once a server is there again."""
        events = await persistently(lambda: all_events(self._stub, self._trace_id))
        return {event.trace_event_id for event in events}


async def test_a_write_that_was_sent_before_sigterm_is_answered_and_stored(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    """None that was under way ends in doubt, and those that are refused are told that it passes, and are not stored."""
    server = new_server("--drain-seconds", "5")
    stub = connect(server)
    writers = Hasty(stub, await new_trace(stub))
    writing = asyncio.create_task(writers.run())
    while len(writers.answered) < 200:
        await asyncio.sleep(0.005)
    server.terminate()
    await writing
    assert await asyncio.to_thread(server.wait) == 0
    server.start()

    stored = await writers.stored()

    assert set(writers.refused.values()) <= {Code.UNAVAILABLE, Code.CANCELLED}
    assert list(writers.refused.values()).count(Code.CANCELLED) <= NEVER_BEGUN
    assert writers.answered <= stored
    assert not stored & set(writers.refused)


async def test_a_server_that_drains_without_time_still_stores_what_it_answered(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    server = new_server("--drain-seconds", "0")
    stub = connect(server)
    writers = Hasty(stub, await new_trace(stub))
    writing = asyncio.create_task(writers.run())
    while len(writers.answered) < 200:
        await asyncio.sleep(0.005)
    server.terminate()
    await writing
    assert await asyncio.to_thread(server.wait) == 0
    server.start()
    assert writers.answered <= await writers.stored()


async def test_a_thousand_followers_of_one_trace_all_see_every_event_and_the_end(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    server = new_server()
    stub = connect(server)
    channels = [connect(server) for _ in range(25)]
    trace_id = await new_trace(stub)
    followings = [Following(channels[n % 25], trace_id=trace_id) for n in range(1000)]
    await asyncio.gather(*[following.caught_up() for following in followings])
    for n in range(9):
        await update(stub, trace_id, attempt=n)
    await update(stub, trace_id, **ENDED_OK)

    stories = await asyncio.gather(*[following.to_the_end() for following in followings])

    events = await all_events(stub, trace_id)
    assert len(events) == 11
    assert all(story.events == events for story in stories)
    assert all(story.checkpoints[-1].trace.trace_event_status == OK for story in stories)


def large(size: int) -> Struct:
    body = Struct()
    body["text"] = "x" * size
    return body


async def write_batches(stub: Stub, trace_id: str, count: int) -> None:
    """Write so many times 3.6 MB."""
    item = pb.UpdateRequest(event=next_event(trace_id, status_body=large(900_000)))
    for _ in range(count):
        await stub.BatchUpdate(pb.BatchUpdateRequest(requests=[item] * 4))


async def settled(server: Server, stub: Stub) -> int:
    """Fill the caches of the database, which are as large as they may be after that; return the server's memory."""
    await write_batches(stub, await new_trace(stub), 30)
    return server.memory()


async def test_a_follower_that_stops_reading_delays_nobody_costs_bounded_memory_and_can_read_on(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    server = new_server()
    stub = connect(server)
    before = await settled(server, stub)
    trace_id = await new_trace(stub)
    # Without this the client's window grows to megabytes, and it would be a while before it stops reading.
    stalled = [Following(connect(server, ("grpc.http2.bdp_probe", 0)), trace_id=trace_id) for _ in range(4)]
    for following in stalled:
        await following.caught_up()
    reader = asyncio.create_task(follow(stub, trace_id=trace_id))
    body = large(200_000)

    for _ in range(325):
        await update(stub, trace_id, status_body=body)

    # 65 MB were written, and each of the five has a copy to be sent; what may be kept is a few megabytes for each.
    assert server.memory() - before < 40_000_000
    await update(stub, trace_id, **ENDED_OK)
    assert (await reader).sequences == list(range(1, 328)), "the reader has seen all while others stood still"
    for following in stalled:
        assert (await following.to_the_end()).sequences == list(range(1, 328))


async def test_large_events_that_are_followed_do_not_pile_up_in_memory(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    """Also those of batches, which nobody has to encode for an answer."""
    server = new_server()
    stub = connect(server)
    before = await settled(server, stub)
    trace_id = await new_trace(stub)
    reader = asyncio.create_task(follow(stub, trace_id=trace_id))

    await write_batches(stub, trace_id, 60)

    # As a rule it is 25 to 50 MB, and on a machine that others use 20 more: the batches under way are 4 MB each.
    assert server.memory() - before < 100_000_000, "216 MB were written"
    await update(stub, trace_id, **ENDED_OK)
    assert len((await reader).events) == 242


async def test_a_reader_that_does_not_come_back_is_cut_off_with_a_reason(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    server = new_server("--write-timeout-seconds", "0.5")
    stub = connect(server)
    trace_id = await new_trace(stub)
    stalled = Following(connect(server, ("grpc.http2.bdp_probe", 0)), trace_id=trace_id)
    await stalled.caught_up()
    for _ in range(40):
        await update(stub, trace_id, status_body=large(200_000))
    while "SLOW_READER" not in server.log:
        await asyncio.sleep(0.05)

    found = await stalled.refused()

    assert (found.code, found.reason) == (Code.UNAVAILABLE, "SLOW_READER")
    last = stalled.story.events[-1]
    await update(stub, trace_id, **ENDED_OK)
    resumed = await follow(stub, trace_id=trace_id, after_sequence=last.sequence, after_event_id=last.trace_event_id)
    assert resumed.sequences == list(range(last.sequence + 1, 43))


async def test_a_stream_may_last_longer_than_a_write_and_be_silent_for_longer(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    stub = connect(new_server("--write-timeout-seconds", "0.1"))
    trace_id = await new_trace(stub)
    following = asyncio.create_task(follow(stub, trace_id=trace_id))
    for _ in range(3):
        await update(stub, trace_id)
        await asyncio.sleep(0.25)
    await update(stub, trace_id, **ENDED_OK)
    assert (await following).sequences == [1, 2, 3, 4, 5]


async def test_a_burst_of_calls_is_answered_to_the_last(new_server: Callable[..., Server], connect: Connect) -> None:
    """Such as all followers at once, resuming after a restart: every answer is one that the service has given."""
    server = new_server()
    stub = connect(server)
    trace_id = await new_trace(stub, **ENDED_OK)

    stories = await asyncio.gather(*[follow(stub, trace_id=trace_id) for _ in range(2000)])
    answers = await asyncio.gather(*[get(stub, trace_id) for _ in range(3000)])
    updates = await asyncio.gather(*[update(stub, trace_id) for _ in range(3000)])

    assert all(story.sequences == [1] for story in stories)
    assert all(answer.trace.done for answer in answers)
    assert sorted(answer.event.sequence for answer in updates) == list(range(2, 3002))


async def test_a_full_queue_of_writes_is_resource_exhausted_and_what_was_answered_is_stored(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    server = new_server("--queue-commands", "4")
    stub = connect(server)
    trace_id = await new_trace(stub)

    results = await asyncio.gather(*[update(stub, trace_id) for _ in range(2000)], return_exceptions=True)

    errors = [read_refusal(result) for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert {(error.code, error.reason) for error in errors} <= {(Code.RESOURCE_EXHAUSTED, "OVERLOADED")}
    assert all(error.retry_seconds for error in errors)
    recorded = [result.event.sequence for result in results if isinstance(result, pb.UpdateResponse)]
    assert recorded, "some were taken"
    assert sorted(recorded) == list(range(2, len(recorded) + 2))
    assert (await get(stub, trace_id)).trace.last_sequence == len(recorded) + 1


async def test_a_caller_that_gives_up_leaves_its_write_whole_or_absent(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    stub = connect(new_server())
    trace_id = await new_trace(stub)
    for n in range(300):
        call = stub.Update(pb.UpdateRequest(event=next_event(trace_id, trace_event_id=str(n), s3_path=f"a/{n}")))
        await asyncio.sleep(random.choice([0, 0, 0.0005, 0.001, 0.003]))
        call.cancel()
    await update(stub, trace_id)

    events = await all_events(stub, trace_id)

    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert len({event.trace_event_id for event in events}) == len(events)
    assert (await get(stub, trace_id)).trace.event_count == len(events)
    for event in events[1:-1]:
        assert trace_id in (await stub.GetByPath(pb.GetByPathRequest(s3_path=event.s3_path))).trace_ids


async def test_two_servers_that_start_at_once_on_a_new_database_both_serve(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    first = new_server()
    first.kill()
    first.database.unlink()
    second = Server(first.folder)
    try:
        await asyncio.gather(asyncio.to_thread(first.start), asyncio.to_thread(second.start))
        trace_id = await new_trace(connect(first))
        assert (await update(connect(second), trace_id)).event.sequence == 2
    finally:
        second.kill()


async def test_two_servers_write_one_trace_without_gaps_or_losses(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    first = new_server("--poll-seconds", "0.2")
    second = Server(first.folder, "--poll-seconds", "0.2").start()
    try:
        stubs = [connect(first), connect(second)]
        trace_id = await new_trace(stubs[0])
        followers = [asyncio.create_task(follow(stub, trace_id=trace_id)) for stub in stubs]

        async def write(stub: Stub) -> list[int]:
            return [(await update(stub, trace_id)).event.sequence for _ in range(100)]

        sequences = await asyncio.gather(*[write(stub) for stub in stubs * 2])
        assert sorted(itertools.chain(*sequences)) == list(range(2, 402))
        await update(stubs[1], trace_id, **ENDED_OK)
        events = await all_events(stubs[0], trace_id)
        assert [event.sequence for event in events] == list(range(1, 403))
        for story in await asyncio.gather(*followers):
            assert story.events == events
    finally:
        second.kill()
