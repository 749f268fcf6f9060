"""Following, from outside: what StreamTrace and WaitTrace promise."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import grpc
from calls import (
    ENDED_FAILED,
    ENDED_OK,
    FAILED,
    OK,
    Code,
    Stub,
    all_events,
    create,
    get,
    new_trace,
    next_event,
    read_refusal,
    refusal,
    unique,
    update,
)
from followers import Following, ResumingFollower, ended, follow
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from server_process import Server
from tracestatus.v1 import status_service_pb2 as pb

Connect = Callable[..., Stub]


# Promise 1: every event after after_sequence, once, in order, no gap, whatever replica it was written on


async def test_followers_that_join_anywhere_in_a_storm_of_writes_see_every_event_once_and_in_order(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    joined: list[asyncio.Task[Any]] = []

    async def write(count: int) -> None:
        for _ in range(count):
            await update(stub, trace_id)
            if random.random() < 0.1:
                after = random.randrange((await get(stub, trace_id)).trace.last_sequence)
                joined.append(asyncio.create_task(follow(stub, trace_id=trace_id, after_sequence=after)))

    joined += [asyncio.create_task(follow(stub, trace_id=trace_id)) for _ in range(5)]
    await asyncio.gather(*[write(40) for _ in range(8)])
    await stub.BatchUpdate(pb.BatchUpdateRequest(requests=[pb.UpdateRequest(event=next_event(trace_id))] * 700))
    await update(stub, trace_id, **ENDED_OK)

    stories = await asyncio.gather(*joined)
    events = await all_events(stub, trace_id)
    assert len(events) == 1 + 320 + 700 + 1
    for story in stories:
        assert story.events == events[len(events) - len(story.events) :]
        assert story.sequences[-1] == len(events)


async def test_what_one_replica_records_the_followers_of_another_see(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    """Two processes share one database: events, heartbeats and the end reach followers and waiters of the other one."""
    one = new_server("--poll-seconds", "0.2", "--checkpoint-seconds", "0.3")
    other = Server(one.folder, "--poll-seconds", "0.2", "--checkpoint-seconds", "0.3").start()
    try:
        here, there = connect(one), connect(other)
        path = unique("raw/x")
        by_path = Following(here, s3_path=path, wait_for_trace=True)
        assert (await by_path.checkpoint()).trace_id == ""
        waiting = asyncio.create_task(wait(here, s3_path=path, wait_for_trace=True))
        trace_id = await new_trace(there, s3_path=path)
        by_id = Following(here, trace_id=trace_id)
        await by_id.caught_up()

        for n in range(2, 12):
            answer = await update((here, there)[n % 2], trace_id)
            assert (await by_id.event()).sequence == answer.event.sequence == n
        heard = (await there.Heartbeat(pb.HeartbeatRequest(trace_id=trace_id))).trace.last_heard_time
        while (await by_id.read()).checkpoint.last_heard_time != heard:
            pass
        assert (await get(here, trace_id)).trace.last_heard_time == heard, "a read sees what was acknowledged elsewhere"
        await update(there, trace_id, **ENDED_FAILED)

        events = (await by_id.to_the_end()).events
        assert events == (await by_path.to_the_end()).events == await all_events(there, trace_id)
        assert (await waiting).trace == (await get(there, trace_id)).trace
    finally:
        other.kill()


# Promise 2: the first message, the last message, and what OK means


async def test_the_first_message_and_the_last_are_checkpoints_and_the_last_has_the_final_state(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    await update(stub, trace_id, **ENDED_FAILED)

    story = await follow(stub, trace_id=trace_id)

    trace = (await get(stub, trace_id)).trace
    first, last = story.messages[0].checkpoint, story.messages[-1].checkpoint
    assert (first.trace_id, first.sequence, first.done, first.trace) == (trace_id, 0, False, trace)
    assert (last.trace_id, last.sequence, last.done, last.caught_up, last.trace) == (trace_id, 2, True, True, trace)
    assert last.HasField("read_time")
    assert last.last_heard_time == trace.last_heard_time
    assert story.sequences == [1, 2]


async def test_a_live_follower_ends_at_the_end_and_a_later_one_also_gets_the_late_events(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    live = asyncio.create_task(follow(stub, trace_id=trace_id))
    await update(stub, trace_id, **ENDED_OK)
    story = await live
    assert story.sequences == [1, 2]
    for _ in range(3):
        await update(stub, trace_id, trace_event_status=FAILED)

    later = await follow(stub, trace_id=trace_id)

    assert later.sequences == [1, 2, 3, 4, 5]
    assert later.checkpoints[-1].trace.trace_event_status == OK
    assert later.checkpoints[-1].trace.last_sequence == 5
    resumed = await follow(stub, trace_id=trace_id, after_sequence=2, after_event_id=story.events[-1].trace_event_id)
    assert resumed.sequences == [3, 4, 5]


async def test_a_follower_of_a_new_run_sees_both_runs_and_ends_with_the_last(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    await update(stub, trace_id, **ENDED_FAILED)
    await update(stub, trace_id, new_run=True)
    following = Following(stub, trace_id=trace_id)
    assert (await following.caught_up()).sequence == 3
    await update(stub, trace_id, **ENDED_OK)

    story = await following.to_the_end()

    assert [event.run for event in story.events] == [1, 1, 2, 2]
    assert (story.checkpoints[-1].trace.run, story.checkpoints[-1].trace.trace_event_status) == (2, OK)


async def test_one_who_has_seen_all_of_a_finished_trace_is_told_that_it_is_done(stub: Stub) -> None:
    trace_id = await new_trace(stub, **ENDED_OK)
    story = await follow(stub, trace_id=trace_id, after_sequence=1)
    assert (story.events, story.checkpoints[-1].sequence) == ([], 1)


async def test_an_unknown_trace_or_path_is_not_found(stub: Stub) -> None:
    for target, reason in (
        ({"trace_id": unique("x")}, "TRACE_NOT_FOUND"),
        ({"s3_path": unique("x")}, "PATH_NOT_FOUND"),
    ):
        refused = await Following(stub, **target).refused()
        assert (refused.code, refused.reason) == (Code.NOT_FOUND, reason)


# Promise 3: cursors


async def test_a_stream_resumes_after_a_sequence(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    await asyncio.gather(*[update(stub, trace_id) for _ in range(600)])
    await update(stub, trace_id, **ENDED_OK)
    ids = [event.trace_event_id for event in await all_events(stub, trace_id)]

    for after in (1, 2, 199, 200, 201, 400, 512, 600, 601, 602):
        story = await follow(stub, trace_id=trace_id, after_sequence=after, after_event_id=ids[after - 1])
        assert story.messages[0].checkpoint.sequence == after
        assert [event.trace_event_id for event in story.events] == ids[after:]


async def test_a_cursor_whose_event_has_another_id_is_data_loss(stub: Stub) -> None:
    created = (await create(stub)).event
    trace_id = created.trace_id
    await update(stub, trace_id, trace_event_id="two")
    for sequence, event_id in ((1, "two"), (2, created.trace_event_id), (2, "three")):
        refused = await Following(stub, trace_id=trace_id, after_sequence=sequence, after_event_id=event_id).refused()
        assert (refused.code, refused.reason) == (Code.DATA_LOSS, "HISTORY_CHANGED")


async def test_a_cursor_ahead_of_the_trace_is_out_of_range_at_once(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    for cursor in ({"after_sequence": 2}, {"after_sequence": 2**63 - 1, "after_event_id": "one"}):
        for wait_for_trace in (False, True):
            refused = await Following(stub, trace_id=trace_id, wait_for_trace=wait_for_trace, **cursor).refused()
            assert (refused.code, refused.reason) == (Code.OUT_OF_RANGE, "CURSOR_AHEAD")


async def test_cursors_of_a_history_that_a_restored_backup_has_replaced_are_data_loss(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    server = new_server("--drain-seconds", "0.5")
    stub = connect(server)
    trace_id = await new_trace(stub)
    await update(stub, trace_id)
    server.back_up(backup := server.folder / "backup.db")
    lost = [(await update(stub, trace_id)).event for _ in range(3)]
    assert server.stop() == 0
    server.restore(backup)
    server.start()

    def cursor(event: Any) -> dict[str, Any]:
        return {"trace_id": trace_id, "after_sequence": event.sequence, "after_event_id": event.trace_event_id}

    refused = await Following(stub, **cursor(lost[0])).refused()
    assert refused.code is Code.OUT_OF_RANGE, "the restored trace ends at 2"
    new = [(await update(stub, trace_id)).event for _ in range(2)]
    assert [event.sequence for event in new] == [event.sequence for event in lost[:2]]
    for event in lost[:2]:
        refused = await Following(stub, **cursor(event)).refused()
        assert (refused.code, refused.reason) == (Code.DATA_LOSS, "HISTORY_CHANGED")
    await update(stub, trace_id, **ENDED_OK)
    assert (await follow(stub, **cursor(new[0]))).sequences == [4, 5]
    second = (await all_events(stub, trace_id))[1]
    assert (await follow(stub, **cursor(second))).sequences == [3, 4, 5], "what was before the backup is still there"


async def test_a_follower_that_is_attached_while_a_backup_is_restored_gets_data_loss(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    server = new_server("--poll-seconds", "0.2")
    stub = connect(server)
    trace_id = await new_trace(stub)
    server.back_up(backup := server.folder / "backup.db")
    await update(stub, trace_id)
    following = Following(stub, trace_id=trace_id)
    await following.caught_up()
    server.restore_while_running(backup)

    refused = await following.refused()

    assert (refused.code, refused.reason) == (Code.DATA_LOSS, "HISTORY_CHANGED")
    await update(stub, trace_id, **ENDED_OK)
    assert (await follow(stub, trace_id=trace_id)).sequences == [1, 2]


async def test_a_follower_is_never_told_two_histories_as_one(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    """The restored trace has grown to the same length before anybody looks."""
    server = new_server("--poll-seconds", "30")
    stub = connect(server)
    trace_id = await new_trace(stub)
    server.back_up(backup := server.folder / "backup.db")
    await update(stub, trace_id)
    following = Following(stub, trace_id=trace_id)
    await following.caught_up()
    server.restore_while_running(backup)
    await update(stub, trace_id)
    await update(stub, trace_id)
    await update(stub, trace_id, **ENDED_OK)

    refused = await following.refused()

    assert (refused.code, refused.reason) == (Code.DATA_LOSS, "HISTORY_CHANGED")


# Promise 4: history first, then caught up, then what happens


async def test_history_comes_first_then_a_caught_up_checkpoint_then_events_as_they_commit(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    await asyncio.gather(*[update(stub, trace_id) for _ in range(9)])
    following = Following(stub, trace_id=trace_id)

    assert not (await following.checkpoint()).caught_up
    for n in range(1, 11):
        assert (await following.read()).event.sequence == n
    caught_up = await following.checkpoint()
    assert (caught_up.caught_up, caught_up.done, caught_up.sequence) == (True, False, 10)
    assert caught_up.trace == (await get(stub, trace_id)).trace
    for _ in range(20):
        recorded = (await update(stub, trace_id)).event
        assert await following.event() == recorded, "an event arrives before the next one is written"
    following.leave()


# Promise 5: checkpoints when nothing happens


async def test_checkpoints_say_that_the_stream_the_store_and_the_producers_are_alive(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    following = Following(stub, trace_id=trace_id)
    first = await following.caught_up()
    heard = (await stub.Heartbeat(pb.HeartbeatRequest(trace_id=trace_id))).trace.last_heard_time

    later = [await following.checkpoint() for _ in range(3)][-1]

    assert (later.trace_id, later.sequence, later.caught_up, later.done) == (trace_id, 1, True, False)
    assert not later.HasField("trace"), "only the first, the caught-up and the last one carry the state"
    assert later.server_time.ToDatetime() > first.server_time.ToDatetime()
    assert later.read_time.ToDatetime() > first.read_time.ToDatetime()
    assert later.last_heard_time == heard
    following.leave()


async def test_one_who_waits_for_a_trace_gets_checkpoints_as_well(stub: Stub) -> None:
    following = Following(stub, trace_id=unique("x"), wait_for_trace=True)
    for _ in range(3):
        assert (await following.checkpoint()).trace_id == ""
    following.leave()


# Promise 6: waiting for a trace


async def test_a_trace_that_does_not_exist_yet_is_waited_for_by_its_id(stub: Stub) -> None:
    trace_id = unique("x")
    following = Following(stub, trace_id=trace_id, wait_for_trace=True)
    first = await following.checkpoint()
    assert (first.trace_id, first.sequence, first.caught_up, first.HasField("trace")) == ("", 0, False, False)
    await create(stub, trace_id=trace_id)
    await update(stub, trace_id, **ENDED_OK)
    assert (await following.to_the_end()).sequences == [1, 2]


async def test_a_trace_that_does_not_exist_yet_is_waited_for_by_its_path(stub: Stub) -> None:
    path = unique("raw/x")
    following = Following(stub, s3_path=path, wait_for_trace=True)
    assert (await following.checkpoint()).trace_id == ""
    toucher = await new_trace(stub)
    await update(stub, toucher, s3_path=path, **ENDED_OK)
    trace_id = await new_trace(stub, s3_path=path)
    await update(stub, trace_id, **ENDED_OK)

    story = await following.to_the_end()

    assert story.checkpoints[-1].trace_id == trace_id, "only a trace that was created with the path counts"
    assert story.sequences == [1, 2]


async def test_a_path_means_the_newest_trace_created_with_it(stub: Stub) -> None:
    path = unique("raw/x")
    for _ in range(2):
        await new_trace(stub, s3_path=path)
    newest = await new_trace(stub, s3_path=path)
    toucher = await new_trace(stub)
    await update(stub, toucher, s3_path=path)
    for request in ({}, {"wait_for_trace": True}):
        following = Following(stub, s3_path=path, **request)
        assert (await following.checkpoint()).trace_id == newest
        following.leave()
    only_touched = unique("raw/y")
    await update(stub, toucher, s3_path=only_touched)
    assert (await Following(stub, s3_path=only_touched).refused()).code is Code.NOT_FOUND


async def test_new_only_waits_for_the_next_upload_of_a_path_whose_earlier_one_finished_long_ago(stub: Stub) -> None:
    path = unique("raw/x")
    old = await new_trace(stub, s3_path=path, **ENDED_OK)
    assert (await follow(stub, s3_path=path)).checkpoints[-1].trace_id == old, "without it the old one is the answer"

    following = Following(stub, s3_path=path, new_only=True)
    first = await following.checkpoint()
    assert first.trace_id == ""
    await update(stub, old, s3_path=path)
    trace_id = await new_trace(stub, s3_path=path)
    await update(stub, trace_id, **ENDED_FAILED)

    story = await following.to_the_end()
    assert story.checkpoints[-1].trace_id == trace_id
    assert story.sequences == [1, 2]


async def test_created_after_resumes_a_wait_for_a_new_trace(stub: Stub) -> None:
    path = unique("raw/x")
    await new_trace(stub, s3_path=path, **ENDED_OK)
    broken = Following(stub, s3_path=path, new_only=True)
    first = await broken.checkpoint()
    broken.leave()
    trace_id = await new_trace(stub, s3_path=path, **ENDED_OK)  # while nobody listens

    for request in ({}, {"new_only": True}):
        story = await follow(stub, s3_path=path, created_after=first.server_time, **request)
        assert story.checkpoints[-1].trace_id == trace_id
    later = Timestamp()
    later.GetCurrentTime()
    waiting = Following(stub, s3_path=path, created_after=later)
    assert (await waiting.checkpoint()).trace_id == "", "and waits when there is none"
    trace_id = await new_trace(stub, s3_path=path, **ENDED_OK)
    assert (await waiting.to_the_end()).checkpoints[-1].trace_id == trace_id


async def test_many_who_wait_for_new_traces_of_one_path_all_get_the_next_one(stub: Stub) -> None:
    path = unique("raw/x")
    followings = [Following(stub, s3_path=path, new_only=True) for _ in range(30)]
    await asyncio.gather(*[following.checkpoint() for following in followings])
    trace_id = await new_trace(stub, s3_path=path, **ENDED_OK)
    stories = await asyncio.gather(*[following.to_the_end() for following in followings])
    assert {story.checkpoints[-1].trace_id for story in stories} == {trace_id}


# Streams end, and are resumed


async def test_a_stream_that_is_too_old_ends_with_unavailable_and_is_resumed_without_a_gap(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    stub = connect(new_server("--stream-seconds", "0.3"))
    trace_id = await new_trace(stub)
    follower = asyncio.create_task(ResumingFollower(stub, trace_id).run())
    waiter = Following(stub, trace_id=unique("x"), wait_for_trace=True)
    refused = await waiter.refused()
    assert (refused.code, refused.reason) == (Code.UNAVAILABLE, "STREAM_TOO_OLD")
    for n in range(30):
        await update(stub, trace_id, trace_event_id=str(n))
        await asyncio.sleep(0.05)
    await update(stub, trace_id, **ENDED_OK)

    seen = await follower

    assert {found.reason for found in seen.breaks} == {"STREAM_TOO_OLD"}
    seen.assert_saw([event.trace_event_id for event in await all_events(stub, trace_id)])


async def test_more_streams_than_a_server_serves_are_refused_until_one_ends(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    stub = connect(new_server("--max-streams", "2"))
    trace_id = await new_trace(stub)
    followings = [Following(stub, trace_id=trace_id) for _ in range(2)]
    for following in followings:
        await following.caught_up()

    refused = await Following(stub, trace_id=trace_id).refused()
    assert (refused.code, refused.reason) == (Code.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert refused.retry_seconds
    assert (await update(stub, trace_id)).event.sequence == 2, "calls that are not streams go on"

    followings[0].leave()
    while True:
        following = Following(stub, trace_id=trace_id)
        try:
            await following.caught_up()
            break
        except grpc.aio.AioRpcError as error:
            if read_refusal(error).reason != "OVERLOADED":
                raise
            await asyncio.sleep(0.02)
    await update(stub, trace_id, **ENDED_OK)
    assert (await following.to_the_end()).sequences == [1, 2, 3]
    assert (await followings[1].to_the_end()).sequences == [1, 2, 3]


# WaitTrace


async def wait(stub: Stub, *, deadline: float | None = None, **request: Any) -> pb.WaitTraceResponse:
    return await stub.WaitTrace(pb.WaitTraceRequest(**request), timeout=deadline)


async def test_a_waiter_is_answered_when_the_trace_is_done(stub: Stub) -> None:
    path = unique("raw/x")
    trace_id = await new_trace(stub, s3_path=path)
    waiting = [
        asyncio.create_task(wait(stub, trace_id=trace_id)),
        asyncio.create_task(wait(stub, s3_path=path, timeout=Duration(seconds=3600))),
        asyncio.create_task(wait(stub, trace_id=trace_id, deadline=60)),
    ]
    await update(stub, trace_id)
    trace = (await update(stub, trace_id, **ENDED_FAILED)).trace
    assert [response.trace for response in await asyncio.gather(*waiting)] == [trace] * 3
    assert (await wait(stub, trace_id=trace_id)).trace == trace, "and at once when it has been done before"


async def test_a_waiter_whose_time_is_up_is_told_how_the_trace_stands(stub: Stub) -> None:
    trace = (await create(stub)).trace
    for milliseconds in (0, 1, 300):
        answer = await wait(stub, trace_id=trace.trace_id, timeout=Duration(nanos=milliseconds * 1_000_000))
        assert answer.trace == trace
        assert not answer.trace.done


async def test_a_waiter_is_never_told_deadline_exceeded_for_merely_waiting(stub: Stub) -> None:
    """Whatever the deadline: the answer is due when nine tenths of it are over. Repeated, as a machine may stall."""
    trace_id = await new_trace(stub)

    async def late() -> int:
        calls = []
        for _ in range(40):
            calls.append(asyncio.create_task(wait(stub, trace_id=trace_id, deadline=2.0)))
            calls.append(asyncio.create_task(wait(stub, s3_path=unique("x"), wait_for_trace=True, deadline=2.0)))
            await asyncio.sleep(0.01)
        results = await asyncio.gather(*calls, return_exceptions=True)
        errors = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
        assert {error.code() for error in errors} <= {Code.DEADLINE_EXCEEDED}
        assert all(not result.trace.done for result in results if isinstance(result, pb.WaitTraceResponse))
        return len(errors)

    assert min([await late() for _ in range(2)]) == 0


async def test_a_waiter_for_a_trace_that_does_not_appear_is_answered_without_one(stub: Stub) -> None:
    soon = Duration(nanos=200_000_000)
    path = unique("raw/x")
    await new_trace(stub, s3_path=path, **ENDED_OK)
    answers = await asyncio.gather(
        wait(stub, trace_id=unique("x"), wait_for_trace=True, timeout=soon),
        wait(stub, s3_path=unique("x"), wait_for_trace=True, timeout=soon),
        wait(stub, s3_path=path, new_only=True, timeout=soon),
    )
    assert all(not answer.HasField("trace") for answer in answers)


async def test_a_waiter_for_a_trace_that_appears_gets_it(stub: Stub) -> None:
    trace_id, path, busy = unique("x"), unique("raw/x"), unique("raw/busy")
    await new_trace(stub, s3_path=path, **ENDED_OK)
    started = Timestamp()
    started.GetCurrentTime()
    waiting = [
        asyncio.create_task(wait(stub, trace_id=trace_id, wait_for_trace=True)),
        asyncio.create_task(wait(stub, s3_path=path, created_after=started)),
        asyncio.create_task(wait(stub, s3_path=busy, wait_for_trace=True, timeout=Duration(seconds=1))),
    ]
    await create(stub, trace_id=trace_id, **ENDED_OK)
    new = await new_trace(stub, s3_path=path)
    running = await new_trace(stub, s3_path=busy)
    await update(stub, new, **ENDED_FAILED)

    first, second, third = [response.trace for response in await asyncio.gather(*waiting)]
    assert (first.trace_id, first.done) == (trace_id, True)
    assert (second.trace_id, second.trace_event_status) == (new, FAILED)
    assert (third.trace_id, third.done) == (running, False)


async def test_a_waiter_for_new_traces_only_does_not_get_an_old_one(stub: Stub) -> None:
    path = unique("raw/x")
    await new_trace(stub, s3_path=path, **ENDED_OK)
    waiting = asyncio.create_task(wait(stub, s3_path=path, new_only=True))
    # Nothing tells when the call was registered: whichever trace is created after that is the answer.
    created = []
    while not waiting.done():
        created.append(await new_trace(stub, s3_path=path, **ENDED_OK))
        await asyncio.sleep(0.05)
    assert (await waiting).trace.trace_id in created


async def test_waiting_for_an_unknown_trace_or_path_is_not_found(stub: Stub) -> None:
    await refusal(wait(stub, trace_id=unique("x")), Code.NOT_FOUND)
    await refusal(wait(stub, s3_path=unique("x")), Code.NOT_FOUND)


async def test_one_who_leaves_is_not_counted_any_more(new_server: Callable[..., Server], connect: Connect) -> None:
    stub = connect(new_server("--max-streams", "3"))
    trace_id = await new_trace(stub)
    for _ in range(20):
        task = asyncio.create_task(wait(stub, trace_id=trace_id))
        following = Following(stub, trace_id=trace_id)
        await asyncio.sleep(0.01)
        following.leave()
        await ended(task)
    await update(stub, trace_id, **ENDED_OK)
    while True:
        try:
            assert (await wait(stub, trace_id=trace_id)).trace.done
            return
        except grpc.aio.AioRpcError as error:
            if read_refusal(error).reason != "OVERLOADED":
                raise
            await asyncio.sleep(0.02)
