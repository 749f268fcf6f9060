"""Recording, from outside: what Create, Update, BatchUpdate and Heartbeat promise."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from calls import (
    CONTINUE,
    ENDED_FAILED,
    ENDED_OK,
    FAILED,
    FINISHED,
    OK,
    STARTED,
    Code,
    Refusal,
    Stub,
    all_events,
    create,
    first_event,
    get,
    new_trace,
    next_event,
    read_details,
    refusal,
    unique,
    update,
)
from followers import follow
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from server_process import Server
from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1 import trace_pb2

Connect = Callable[..., Stub]


def at(seconds: float) -> Timestamp:
    """Return the time so many seconds from now."""
    time = Timestamp()
    time.FromDatetime(datetime.now(UTC) + timedelta(seconds=seconds))
    return time


def struct(**values: Any) -> Struct:
    result = Struct()
    result.update(values)
    return result


def full_event(**fields: Any) -> trace_pb2.TraceEvent:
    """Return an event in which every field that a caller may set is set."""
    body = struct(
        rows=3,
        ratio=0.1,
        huge=1e300,
        whole=2.0**53,
        none=None,
        yes=True,
        no=False,
        text="blåbærsyltetøy \U0001f600\u2028",
    )
    body["nested"] = {"list": [1, "two", [3.5, {"four": None}], {}], "empty": {}, "": "an empty key"}
    return first_event(
        **{
            "domain": "dataset",
            "domain_id": "my-dataset/1",
            "trace_event_id": unique("event"),
            "start_time": Timestamp(seconds=-62_135_596_800, nanos=123_456_000),
            "end_time": Timestamp(seconds=253_402_300_799, nanos=999_999_000),
            "trace_status": CONTINUE,
            "trace_event_status": FAILED,
            "user": "kari",
            "component": "csv-validator",
            "operation": "validate",
            "status_body": body,
            "meta": Struct(),
            "s3_path": "raw/green/my dataset//version=1/./æ%20.json ",
            "duration": Duration(seconds=315_576_000_000, nanos=1_000),
            "exception": trace_pb2.ExceptionDetail(type="ValueError", message="bad\nrow", traceback="line 1\n\tline 2"),
            "errors": [
                trace_pb2.ErrorDetail(message={"nb": "feil", "en": "wrong"}, details=struct(row=7)),
                trace_pb2.ErrorDetail(message={"en": ""}),
            ],
            "inputs": [trace_pb2.Dataset(uri="s3://in/a", version="7"), trace_pb2.Dataset(uri="s3://in/b")],
            "outputs": [trace_pb2.Dataset(uri="s3://out/c", version="æ")],
            "step_id": "step-1",
            "attempt": 2,
        }
        | fields
    )


def without_place(event: trace_pb2.TraceEvent) -> trace_pb2.TraceEvent:
    """Return the event without what the server sets."""
    copy = trace_pb2.TraceEvent()
    copy.CopyFrom(event)
    for name in ("trace_id", "sequence", "record_time", "run"):
        copy.ClearField(name)
    return copy


# Ids and defaults


async def test_two_events_with_the_same_start_time_are_two_events(stub: Stub) -> None:
    noon = Timestamp(seconds=1_700_000_000)
    trace_id = await new_trace(stub, start_time=noon)
    await asyncio.gather(*[update(stub, trace_id, start_time=noon) for _ in range(5)])

    events = await all_events(stub, trace_id)

    assert [event.start_time for event in events] == [noon] * 6
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6]
    assert len({event.trace_event_id for event in events}) == 6


@pytest.mark.parametrize("dataset", ["x" * 200, "x" * 1020, "ab", "Blå bær & <sønn>:*?\n", "/"])
async def test_minted_ids_are_unique_and_name_an_execution_whatever_the_dataset_id(stub: Stub, dataset: str) -> None:
    created = await asyncio.gather(*[create(stub, domain_id=f"{dataset}/1") for _ in range(2)])

    ids = [response.trace.trace_id for response in created]
    assert len(set(ids)) == 2
    for trace_id in ids:
        # What Step Functions takes as the name of an execution: no white space, no brackets, no special characters.
        assert re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", trace_id)
        assert (await get(stub, trace_id)).trace.domain_id == f"{dataset}/1"


async def test_a_minted_id_begins_with_the_dataset_id(stub: Stub) -> None:
    assert (await new_trace(stub, domain_id="my-dataset/2")).startswith("my-dataset-")


async def test_two_datasets_with_one_event_id_and_a_long_common_beginning_get_two_traces(stub: Stub) -> None:
    event_id = unique("event")
    one = await new_trace(stub, domain_id="x" * 200 + "1", trace_event_id=event_id)
    other = await new_trace(stub, domain_id="x" * 200 + "2", trace_event_id=event_id)
    assert one != other


async def test_create_fills_in_what_was_not_said(stub: Stub) -> None:
    response = await create(stub)

    event, trace = response.event, response.trace
    assert (event.trace_status, event.trace_event_status) == (STARTED, OK)
    assert (event.sequence, event.run) == (1, 1)
    assert event.trace_event_id
    assert event.start_time == event.record_time
    assert not event.HasField("end_time")
    assert (trace.trace_status, trace.trace_event_status, trace.done) == (STARTED, OK, False)
    assert (trace.run, trace.event_count, trace.failed_event_count, trace.last_sequence) == (1, 1, 0, 1)
    assert trace.create_time == trace.update_time == trace.last_heard_time == event.record_time
    assert not trace.HasField("finish_time")
    assert not trace.HasField("expire_time")
    assert not trace.HasField("first_failure")


async def test_a_trace_may_arrive_as_one_finished_event(stub: Stub) -> None:
    response = await create(stub, **ENDED_FAILED)

    assert response.trace.done
    assert (response.trace.trace_status, response.trace.trace_event_status) == (FINISHED, FAILED)
    assert response.trace.finish_time == response.event.record_time
    assert (await follow(stub, trace_id=response.trace.trace_id)).sequences == [1]


async def test_update_fills_in_what_was_not_said(stub: Stub) -> None:
    trace_id = await new_trace(stub, user="kari", s3_path="a/b")

    response = await update(stub, trace_id, operation="copy")

    event, trace = response.event, response.trace
    assert (event.trace_status, event.trace_event_status) == (CONTINUE, OK)
    assert (event.domain, event.domain_id) == ("dataset", "my-dataset/1")
    assert event.start_time == event.record_time
    assert (event.user, event.s3_path) == ("", ""), "only domain and domain_id default to the trace's"
    assert (trace.component, trace.operation, trace.user, trace.s3_path) == ("validator", "copy", "kari", "a/b")
    assert trace.trace_status == CONTINUE


async def test_another_domain_in_an_update_is_recorded_as_sent_and_leaves_the_trace_alone(stub: Stub) -> None:
    trace_id = await new_trace(stub)

    response = await update(stub, trace_id, domain="N/A", domain_id="other/2")

    assert (response.event.domain, response.event.domain_id) == ("N/A", "other/2")
    assert (response.trace.domain, response.trace.domain_id) == ("dataset", "my-dataset/1")


async def test_a_caller_may_choose_the_trace_id_once(stub: Stub) -> None:
    trace_id = unique("chosen 'id' \"with\" \\ % _ æ \U0001f600")
    created = await stub.Create(pb.CreateRequest(event=first_event(), trace_id=trace_id))
    await update(stub, trace_id)

    assert created.trace.trace_id == created.event.trace_id == trace_id
    assert (await get(stub, trace_id)).trace.last_sequence == 2
    again = stub.Create(pb.CreateRequest(event=first_event(trace_id=trace_id)))
    assert (await refusal(again, Code.ALREADY_EXISTS)).reason == "TRACE_EXISTS"


async def test_update_of_an_unknown_trace_is_not_found(stub: Stub) -> None:
    await refusal(update(stub, unique("nothing")), Code.NOT_FOUND)


# What is recorded is what was sent


async def test_every_field_comes_back_as_it_was_sent_by_every_way(stub: Stub) -> None:
    sent = full_event()
    created = (await stub.Create(pb.CreateRequest(event=sent))).event
    trace_id = created.trace_id
    ended = full_event(trace_id=trace_id, **ENDED_OK)
    updated = (await stub.Update(pb.UpdateRequest(event=ended))).event
    late = full_event(trace_id=trace_id)
    await stub.BatchUpdate(pb.BatchUpdateRequest(requests=[pb.UpdateRequest(event=late)]))

    for event, original in ((created, sent), (updated, ended)):
        assert without_place(event) == without_place(original)
    stored = await all_events(stub, trace_id)
    assert stored[:2] == [created, updated]
    assert without_place(stored[2]) == without_place(late)
    assert (await follow(stub, trace_id=trace_id)).events == stored
    assert (await stub.Create(pb.CreateRequest(event=sent))).event == created


async def test_a_live_follower_and_a_later_reader_get_the_same_bytes(stub: Stub) -> None:
    """Live events are passed on as they were received, later ones are made from rows: nobody must see a difference."""
    trace_id = await new_trace(stub)
    following = asyncio.create_task(follow(stub, trace_id=trace_id))
    await stub.Update(pb.UpdateRequest(event=full_event(trace_id=trace_id)))
    items = [pb.UpdateRequest(event=full_event(trace_id=trace_id, trace_event_id="")) for _ in range(3)]
    await stub.BatchUpdate(pb.BatchUpdateRequest(requests=items))
    await update(stub, trace_id, start_time=Timestamp(seconds=5, nanos=1_999), **ENDED_OK)

    live = (await following).events

    assert live == await all_events(stub, trace_id)


async def test_times_are_kept_to_the_microsecond_and_answered_so(stub: Stub) -> None:
    exact = Timestamp(seconds=1_700_000_000, nanos=123_456_789)
    kept = Timestamp(seconds=1_700_000_000, nanos=123_456_000)
    created = await stub.Create(
        pb.CreateRequest(
            event=first_event(start_time=exact, end_time=exact, duration=Duration(nanos=1_999)),
            expire_time=Timestamp(seconds=4_000_000_000, nanos=999),
        )
    )

    for event in (created.event, (await get(stub, created.trace.trace_id)).events[0]):
        assert (event.start_time, event.end_time, event.duration) == (kept, kept, Duration(nanos=1_000))
    for trace in (created.trace, (await get(stub, created.trace.trace_id)).trace):
        assert trace.expire_time == Timestamp(seconds=4_000_000_000)


async def test_what_the_server_sets_is_ignored_on_input(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    claimed = {"sequence": 77, "run": 9, "record_time": Timestamp(seconds=1)}

    event = (await update(stub, trace_id, trace_event_id="one", **claimed)).event

    assert (event.sequence, event.run) == (2, 1)
    assert event.record_time != claimed["record_time"]
    assert (await update(stub, trace_id, trace_event_id="one")).event == event, "and is not part of the content"


# Retries


async def test_a_retried_create_answers_as_the_first_time_and_stores_nothing(stub: Stub) -> None:
    event_id = unique("event")
    first = await create(stub, trace_event_id=event_id)
    later = await update(stub, first.trace.trace_id)

    again = await create(stub, trace_event_id=event_id)

    assert again.event == first.event
    assert again.trace == later.trace, "the trace is answered as it is now"
    assert len(await all_events(stub, first.trace.trace_id)) == 2


async def test_a_retried_update_answers_as_the_first_time_and_stores_nothing(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    conditions = {"trace_event_id": unique("event"), "expected_sequence": 1}
    first = await update(stub, trace_id, **conditions)
    ended = await update(stub, trace_id, **ENDED_OK)

    again = await update(stub, trace_id, **conditions)

    assert again.event == first.event, "the id is looked up before expected_sequence is checked"
    assert again.trace == ended.trace
    assert len(await all_events(stub, trace_id)) == 3


async def test_a_retried_end_and_a_retried_new_run_answer_as_the_first_time(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    end = await update(stub, trace_id, trace_event_id="end", **ENDED_FAILED)
    rerun = await update(stub, trace_id, trace_event_id="rerun", new_run=True)

    assert (await update(stub, trace_id, trace_event_id="end", **ENDED_FAILED)).event == end.event
    assert (await update(stub, trace_id, trace_event_id="rerun", new_run=True)).event == rerun.event
    trace = (await get(stub, trace_id)).trace
    assert (trace.run, trace.done, trace.event_count) == (2, False, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"component": "other"},
        {"operation": "other"},
        {"user": "other"},
        {"domain": "other"},
        {"s3_path": "other"},
        {"start_time": Timestamp(seconds=1)},
        {"end_time": Timestamp(seconds=4_000_000_000)},
        {"trace_status": STARTED},
        {"trace_event_status": OK},
        {"status_body": struct(rows=4)},
        {"meta": struct(rows=4)},
        {"duration": Duration(seconds=1)},
        {"exception": trace_pb2.ExceptionDetail(type="ValueError")},
        {"errors": [trace_pb2.ErrorDetail(message={"en": "other"})]},
        {"inputs": [trace_pb2.Dataset(uri="other")]},
        {"outputs": []},
        {"step_id": "other"},
        {"attempt": 3},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_other_content_under_a_used_event_id_already_exists(stub: Stub, change: dict[str, Any]) -> None:
    event = full_event()
    trace_id = (await stub.Create(pb.CreateRequest(event=event))).trace.trace_id
    more = full_event(trace_id=trace_id)
    await stub.Update(pb.UpdateRequest(event=more))

    for original, call, request in ((event, stub.Create, pb.CreateRequest), (more, stub.Update, pb.UpdateRequest)):
        changed = trace_pb2.TraceEvent()
        changed.CopyFrom(original)
        for name in change:
            changed.ClearField(name)
        changed.MergeFrom(trace_pb2.TraceEvent(**change))
        refused = await refusal(call(request(event=changed)), Code.ALREADY_EXISTS)
        assert refused.reason == "EVENT_ID_REUSED"
    assert len(await all_events(stub, trace_id)) == 2


async def test_the_id_of_a_later_event_does_not_retry_a_create(stub: Stub) -> None:
    trace_id = unique("trace")
    await stub.Create(pb.CreateRequest(event=first_event(trace_event_id="one"), trace_id=trace_id))
    await stub.Update(pb.UpdateRequest(event=first_event(trace_id=trace_id, trace_event_id="two")))

    call = stub.Create(pb.CreateRequest(event=first_event(trace_event_id="two"), trace_id=trace_id))
    await refusal(call, Code.ALREADY_EXISTS)


async def test_an_event_id_is_local_to_its_trace(stub: Stub) -> None:
    one, other = await new_trace(stub), await new_trace(stub)
    await update(stub, one, trace_event_id="event", operation="one")
    assert (await update(stub, other, trace_event_id="event", operation="other")).event.sequence == 2


async def test_twenty_retries_at_once_store_one_event_and_answer_alike(stub: Stub) -> None:
    event_id = unique("event")
    created = await asyncio.gather(*[create(stub, trace_event_id=event_id) for _ in range(20)])
    trace_id = created[0].trace.trace_id
    updated = await asyncio.gather(*[update(stub, trace_id, trace_event_id="one") for _ in range(20)])

    for responses in (created, updated):
        assert all(response.event == responses[0].event for response in responses)
    assert [event.sequence for event in await all_events(stub, trace_id)] == [1, 2]


async def test_a_refused_write_leaves_its_event_id_free(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    await refusal(update(stub, trace_id, trace_event_id="one", expected_sequence=9), Code.ABORTED)
    assert (await update(stub, trace_id, trace_event_id="one", operation="other")).event.sequence == 2


# Conditions


async def test_expected_sequence_lets_one_of_many_writers_through(stub: Stub) -> None:
    trace_id = await new_trace(stub)

    results = await asyncio.gather(
        *[update(stub, trace_id, expected_sequence=1) for _ in range(20)], return_exceptions=True
    )

    recorded = [result for result in results if isinstance(result, pb.UpdateResponse)]
    refused = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert [response.event.sequence for response in recorded] == [2]
    assert [error.code() for error in refused] == [Code.ABORTED] * 19
    await refusal(update(stub, trace_id, expected_sequence=0), Code.ABORTED)
    await refusal(update(stub, trace_id, expected_sequence=2**63 - 1), Code.ABORTED)
    assert (await update(stub, trace_id, expected_sequence=2)).trace.last_sequence == 3


async def test_new_run_on_a_trace_that_is_not_done_is_a_failed_precondition(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    await refusal(update(stub, trace_id, new_run=True), Code.FAILED_PRECONDITION)
    assert (await get(stub, trace_id)).trace.last_sequence == 1


# The end


async def test_finished_without_an_outcome_is_refused(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    field = "event.trace_event_status"
    await refusal(update(stub, trace_id, trace_status=FINISHED), Code.INVALID_ARGUMENT, field)
    await refusal(create(stub, trace_status=FINISHED), Code.INVALID_ARGUMENT, field)
    assert not (await get(stub, trace_id)).trace.done


async def test_events_after_the_end_are_recorded_and_change_neither_done_nor_outcome_nor_finish_time(
    stub: Stub,
) -> None:
    trace_id = await new_trace(stub)
    end = (await update(stub, trace_id, component="end", operation="finish", **ENDED_OK)).trace
    late = [
        await update(stub, trace_id, component="late", trace_event_status=FAILED),
        await update(stub, trace_id, trace_status=STARTED),
        await update(stub, trace_id, component="second end", **ENDED_FAILED),
    ]

    trace = (await get(stub, trace_id)).trace
    assert [response.event.sequence for response in late] == [3, 4, 5]
    assert [response.event.run for response in late] == [1, 1, 1]
    assert trace == late[-1].trace
    assert (trace.done, trace.trace_status, trace.trace_event_status) == (True, FINISHED, OK)
    assert trace.finish_time == end.finish_time
    assert (trace.component, trace.operation) == ("end", "finish")
    assert (trace.event_count, trace.failed_event_count, trace.last_sequence) == (5, 2, 5)
    assert trace.update_time == late[-1].event.record_time
    assert [event.sequence for event in await all_events(stub, trace_id)] == [1, 2, 3, 4, 5]


async def test_of_many_ends_at_once_the_first_recorded_decides(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    ends = [ENDED_OK, ENDED_FAILED] * 10
    await asyncio.gather(*[update(stub, trace_id, **end) for end in ends])

    trace = (await get(stub, trace_id)).trace
    events = await all_events(stub, trace_id)
    assert len(events) == 21
    assert trace.trace_event_status == events[1].trace_event_status
    assert trace.finish_time == events[1].record_time


async def test_a_failed_run_and_a_new_run_that_succeeds_are_both_in_the_history_and_the_trace_is_ok(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    await update(stub, trace_id, errors=[trace_pb2.ErrorDetail(message={"en": "bad row"})], **ENDED_FAILED)
    opened = await update(stub, trace_id, new_run=True, component="redrive")

    assert (opened.trace.done, opened.trace.run, opened.event.run) == (False, 2, 2)
    assert not opened.trace.HasField("finish_time")
    assert (opened.trace.error_count, len(opened.trace.errors)) == (0, 0)
    assert not opened.trace.HasField("first_failure")

    await update(stub, trace_id, **ENDED_OK)

    trace = (await get(stub, trace_id)).trace
    assert (trace.done, trace.trace_event_status, trace.run, trace.event_count) == (True, OK, 2, 4)
    outcomes = [
        (event.run, event.trace_event_status)
        for event in await all_events(stub, trace_id)
        if event.trace_status == FINISHED
    ]
    assert outcomes == [(1, FAILED), (2, OK)]


async def test_one_event_may_open_a_new_run_and_end_it(stub: Stub) -> None:
    trace_id = await new_trace(stub, **ENDED_FAILED)
    trace = (await update(stub, trace_id, new_run=True, **ENDED_OK)).trace
    assert (trace.done, trace.run, trace.trace_event_status) == (True, 2, OK)


# Why


async def test_errors_of_an_ok_event_are_the_reason_of_an_end_that_says_only_failed(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    error = trace_pb2.ErrorDetail(message={"nb": "rad 3 mangler", "en": "row 3 is missing"}, details=struct(row=3))
    await update(stub, trace_id, component="csv-validator", operation="validate", step_id="s1", errors=[error])
    trace = (await update(stub, trace_id, component="state-machine", **ENDED_FAILED)).trace

    (reported,) = trace.errors
    assert (reported.component, reported.operation, reported.sequence) == ("csv-validator", "validate", 2)
    assert dict(reported.error.message) == dict(error.message)
    assert trace.error_count == 1
    failure = trace.first_failure
    assert (failure.component, failure.operation, failure.sequence) == ("csv-validator", "validate", 2)
    assert failure.step_id == "s1"
    assert trace == (await get(stub, trace_id)).trace


async def test_the_first_failed_event_that_says_why_is_the_first_failure(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    exception = trace_pb2.ExceptionDetail(type="ZeroDivisionError", message="division by zero" + "!" * 5000)
    await update(stub, trace_id, component="writer", trace_event_status=FAILED, exception=exception, step_id="s2")
    await update(stub, trace_id, component="other", trace_event_status=FAILED, exception={"type": "KeyError"})
    failure = (await update(stub, trace_id, component="state-machine", **ENDED_FAILED)).trace.first_failure

    assert (failure.component, failure.sequence, failure.step_id) == ("writer", 2, "s2")
    assert failure.exception_type == "ZeroDivisionError"
    assert failure.exception_message == exception.message[:1024]


async def test_the_errors_in_a_trace_are_bounded_and_counted(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    long = trace_pb2.ErrorDetail(message={"en": "x" * 4096, "nb": "æ" * 4096}, details=struct(text="y" * 4096))
    for _ in range(10):
        await update(stub, trace_id, errors=[long] * 30)

    trace = (await get(stub, trace_id)).trace

    assert trace.error_count == 300
    assert 0 < len(trace.errors) <= 100
    assert trace.ByteSize() < 128 * 1024
    assert not any(reported.error.HasField("details") for reported in trace.errors)
    assert sum(len(event.errors) for event in await all_events(stub, trace_id)) == 300, "the events keep all"


async def test_errors_that_are_reported_after_the_end_still_tell_why(stub: Stub) -> None:
    """The end may overtake the report of the step that failed: its errors belong to the run all the same."""
    trace_id = await new_trace(stub)
    await update(stub, trace_id, component="state-machine", **ENDED_FAILED)
    error = trace_pb2.ErrorDetail(message={"en": "row 3 is missing"})
    await update(stub, trace_id, component="csv-validator", errors=[error])

    trace = (await get(stub, trace_id)).trace

    assert [(reported.component, reported.sequence) for reported in trace.errors] == [("csv-validator", 3)]
    assert trace.error_count == 1


# Batches


def batch_of(*updates: pb.UpdateRequest) -> pb.BatchUpdateRequest:
    return pb.BatchUpdateRequest(requests=updates)


def item(trace_id: str, /, expected_sequence: int | None = None, new_run: bool = False, **fields: Any) -> Any:
    return pb.UpdateRequest(event=next_event(trace_id, **fields), expected_sequence=expected_sequence, new_run=new_run)


def error_of(result: pb.BatchUpdateResult) -> Refusal:
    """Return why an item of a batch failed."""
    code = next(code for code in Code if code.value[0] == result.error.code)
    assert (result.sequence, result.HasField("record_time")) == (0, False)
    return read_details(result.error, Refusal(code, result.error.message))


async def test_one_bad_item_of_a_batch_fails_alone_with_the_error_that_update_gives(stub: Stub) -> None:
    trace_id, other = await new_trace(stub), await new_trace(stub)
    await update(stub, trace_id, trace_event_id="used")

    results = (
        await stub.BatchUpdate(
            batch_of(
                item(trace_id, operation="a"),
                item(trace_id, component="", operation="b"),
                item(unique("nothing")),
                item(trace_id, trace_event_id="used", operation="other"),
                item(trace_id, expected_sequence=99),
                item(other, new_run=True),
                item(trace_id, trace_status=FINISHED),
                item(trace_id, trace_event_id="named", operation="c", expected_sequence=3),
                item(trace_id, trace_event_id="used"),
                item(other, operation="d"),
            )
        )
    ).results

    recorded = {index: result.sequence for index, result in enumerate(results) if not result.HasField("error")}
    assert recorded == {0: 3, 7: 4, 8: 2, 9: 2}
    assert all(results[index].HasField("record_time") and results[index].trace_event_id for index in recorded)
    assert results[7].trace_event_id == "named"
    errors = {index: error_of(result) for index, result in enumerate(results) if result.HasField("error")}
    assert {index: error.code for index, error in errors.items()} == {
        1: Code.INVALID_ARGUMENT,
        2: Code.NOT_FOUND,
        3: Code.ALREADY_EXISTS,
        4: Code.ABORTED,
        5: Code.FAILED_PRECONDITION,
        6: Code.INVALID_ARGUMENT,
    }
    assert all(error.reason and error.domain == "status-grpc" for error in errors.values())
    assert list(errors[1].fields) == ["requests[1].event.component"]
    assert list(errors[6].fields) == ["requests[6].event.trace_event_status"]
    assert results[3].trace_event_id == "used"
    assert [event.operation for event in await all_events(stub, trace_id)] == ["", "", "a", "c"]
    assert [event.operation for event in await all_events(stub, other)] == ["", "d"]


async def test_items_of_one_trace_keep_their_order_and_see_what_came_before(stub: Stub) -> None:
    traces = [await new_trace(stub) for _ in range(4)]
    requests = [item(traces[n % 4], attempt=n, expected_sequence=n // 4 + 1) for n in range(1000)]

    results = (await stub.BatchUpdate(batch_of(*requests))).results

    assert [result.sequence for result in results] == [n // 4 + 2 for n in range(1000)]
    for n, trace_id in enumerate(traces):
        assert [event.attempt for event in await all_events(stub, trace_id)][1:] == list(range(n, 1000, 4))


async def test_a_batch_may_end_a_trace_and_open_its_next_run(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    await stub.BatchUpdate(
        batch_of(
            item(trace_id, **ENDED_FAILED), item(trace_id), item(trace_id, new_run=True), item(trace_id, **ENDED_OK)
        )
    )
    assert [event.run for event in await all_events(stub, trace_id)] == [1, 1, 1, 2, 2]
    assert (await get(stub, trace_id)).trace.trace_event_status == OK


async def test_a_retried_batch_stores_nothing(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    twice = item(trace_id, trace_event_id="twice")
    batch = batch_of(twice, *[item(trace_id, trace_event_id=str(n)) for n in range(20)], twice)

    first, again = await stub.BatchUpdate(batch), await stub.BatchUpdate(batch)

    assert [result.recorded_before for result in first.results] == [*[False] * 21, True]
    assert all(result.recorded_before for result in again.results)
    for result in (*first.results, *again.results):
        result.ClearField("recorded_before")
    assert first == again
    assert [result.sequence for result in first.results] == [*range(2, 23), 2]
    assert (await get(stub, trace_id)).trace.event_count == 22


async def test_an_answer_to_a_batch_of_bad_items_is_never_too_large(stub: Stub) -> None:
    """The good one among them is recorded: its caller must be told so."""
    trace_id = await new_trace(stub)
    bad = next_event(trace_id, trace_event_id="æ" * 128)
    bad.errors.extend([trace_pb2.ErrorDetail(message={"en": "x"}, details=struct(**{"k" * 190: float("nan")}))] * 12)
    updates = [pb.UpdateRequest(event=bad)] * 999 + [item(trace_id)]

    results = (await stub.BatchUpdate(batch_of(*updates))).results

    assert [error_of(result).code for result in results[:-1]] == [Code.INVALID_ARGUMENT] * 999
    assert results[-1].sequence == 2


# Heartbeats


async def test_a_heartbeat_moves_last_heard_time_and_records_no_event(stub: Stub) -> None:
    before = (await create(stub)).trace

    answer = await stub.Heartbeat(pb.HeartbeatRequest(trace_id=before.trace_id, step_id="s1"))

    after = (await get(stub, before.trace_id)).trace
    assert answer.trace == after
    assert after.last_heard_time.ToDatetime() > before.last_heard_time.ToDatetime()
    after.last_heard_time.CopyFrom(before.last_heard_time)
    assert after == before, "nothing else changes"
    assert (await update(stub, before.trace_id)).event.sequence == 2


async def test_a_heartbeat_of_an_unknown_trace_is_not_found(stub: Stub) -> None:
    await refusal(stub.Heartbeat(pb.HeartbeatRequest(trace_id=unique("nothing"))), Code.NOT_FOUND)


# Traces that are never ended


async def test_a_trace_that_has_not_finished_by_its_expire_time_is_ended_as_failed(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    stub = connect(new_server("--expiry-check-seconds", "0.2"))
    created = await stub.Create(pb.CreateRequest(event=first_event(), expire_time=at(0.5)))
    finished = await stub.Create(pb.CreateRequest(event=first_event(**ENDED_OK), expire_time=at(0.5)))
    postponed = await stub.Create(pb.CreateRequest(event=first_event(), expire_time=at(0.5)))
    await update(stub, postponed.trace.trace_id, expire_time=at(3600))

    story = await follow(stub, trace_id=created.trace.trace_id)

    trace = story.checkpoints[-1].trace
    assert (trace.done, trace.trace_event_status) == (True, FAILED)
    assert story.sequences == [1, 2]
    assert story.events[-1].exception.type
    assert trace.first_failure.sequence == 2
    assert (await get(stub, finished.trace.trace_id)).trace.last_sequence == 1
    assert not (await get(stub, postponed.trace.trace_id)).trace.done


async def test_a_new_run_outlives_the_expire_time_of_the_run_before(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    """The first run had finished by then: whoever redrives it later must not be ended at once."""
    stub = connect(new_server("--expiry-check-seconds", "0.2"))
    created = await stub.Create(pb.CreateRequest(event=first_event(**ENDED_FAILED), expire_time=at(-1)))
    witness = await stub.Create(pb.CreateRequest(event=first_event(), expire_time=at(-1)))
    trace_id = created.trace.trace_id
    await update(stub, trace_id, new_run=True)
    await follow(stub, trace_id=witness.trace.trace_id)  # the server has looked for expired traces
    second = await stub.Create(pb.CreateRequest(event=first_event(), expire_time=at(-1)))
    await follow(stub, trace_id=second.trace.trace_id)  # and once more

    trace = (await update(stub, trace_id, **ENDED_OK)).trace

    assert (trace.run, trace.trace_event_status, trace.last_sequence) == (2, OK, 3)


# Limits


async def test_no_limit_on_events_refuses_the_event_that_ends_a_run(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    stub = connect(new_server("--limit", "events_per_trace=3"))
    trace_id = await new_trace(stub)
    await update(stub, trace_id)
    await update(stub, trace_id, trace_event_id="third")

    assert (await refusal(update(stub, trace_id), Code.RESOURCE_EXHAUSTED)).reason == "TRACE_FULL"
    assert (await update(stub, trace_id, trace_event_id="third")).event.sequence == 3, "a retry is no new event"
    assert (await update(stub, trace_id, **ENDED_OK)).trace.done
    await refusal(update(stub, trace_id, **ENDED_OK), Code.RESOURCE_EXHAUSTED)
    assert (await follow(stub, trace_id=trace_id)).sequences == [1, 2, 3, 4]


async def test_an_operator_can_change_the_limits(new_server: Callable[..., Server], connect: Connect) -> None:
    server = new_server("--limit", "event_bytes=500", "--limit", "batch_items=2", "--max-request-bytes", "2000")
    stub = connect(server)
    trace_id = await new_trace(stub)

    await refusal(update(stub, trace_id, status_body=struct(x="y" * 500)), Code.INVALID_ARGUMENT, "event")
    await refusal(stub.BatchUpdate(batch_of(*[item(trace_id)] * 3)), Code.INVALID_ARGUMENT, "requests")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await update(stub, trace_id, status_body=struct(x="y" * 2000))
    assert raised.value.code() is Code.RESOURCE_EXHAUSTED
    assert (await update(stub, trace_id)).event.sequence == 2


async def test_a_database_that_another_process_has_locked_is_unavailable_for_writes_and_nothing_is_lost(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    """The caller is told that it may try again, and does; readers and followers do not notice."""
    server = new_server()
    stub = connect(server)
    trace_id = await new_trace(stub)
    following = asyncio.create_task(follow(stub, trace_id=trace_id))
    lock = sqlite3.connect(server.database, isolation_level=None)
    try:
        lock.execute("BEGIN IMMEDIATE")
        end = asyncio.create_task(update(stub, trace_id, trace_event_id="end", **ENDED_OK))
        assert (await get(stub, trace_id)).trace.last_sequence == 1
        await refusal(end, Code.UNAVAILABLE)
    finally:
        lock.close()

    await update(stub, trace_id, trace_event_id="end", **ENDED_OK)
    assert (await following).sequences == [1, 2]
