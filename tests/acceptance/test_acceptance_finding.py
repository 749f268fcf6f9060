"""Finding, from outside: what GetTrace, GetByPath and ListTraces promise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

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
    Stub,
    all_events,
    create,
    get,
    new_trace,
    next_event,
    refusal,
    unique,
    update,
)
from followers import follow
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1 import trace_pb2

#: What a gRPC client takes as one message unless it is told otherwise.
LARGEST_MESSAGE = 4 * 1024 * 1024


async def by_path(stub: Stub, s3_path: str, **filters: str) -> pb.GetByPathResponse:
    return await stub.GetByPath(pb.GetByPathRequest(s3_path=s3_path, **filters))


# GetByPath


async def test_the_same_path_uploaded_three_times_gives_the_newest_and_lists_all_three(stub: Stub) -> None:
    path = unique("raw/green/x/test.json")
    traces = [await new_trace(stub, s3_path=path) for _ in range(3)]
    await update(stub, traces[0], s3_path=path)

    found = await by_path(stub, path)

    assert found.trace == (await get(stub, traces[2])).trace
    assert list(found.trace_ids) == traces[::-1]


async def test_a_path_that_only_a_later_event_carried_is_found_after_those_created_with_it(stub: Stub) -> None:
    path = unique("raw/late")
    toucher = await new_trace(stub, s3_path=unique("other"))
    pathless = await new_trace(stub)
    await update(stub, toucher, s3_path=path)
    assert list((await by_path(stub, path)).trace_ids) == [toucher]

    for _ in range(2):
        await update(stub, pathless, s3_path=path, **ENDED_OK)
    assert list((await by_path(stub, path)).trace_ids) == [pathless, toucher], "the newest created first"
    assert (await get(stub, pathless)).trace.s3_path == path
    assert (await get(stub, toucher)).trace.s3_path != path

    creators = [await new_trace(stub, s3_path=path) for _ in range(2)]
    late_toucher = await new_trace(stub)
    await update(stub, late_toucher, s3_path=path)
    found = list((await by_path(stub, path)).trace_ids)
    assert found == [*creators[::-1], late_toucher, pathless, toucher]


async def test_a_path_carried_by_a_batch_or_after_the_end_is_found(stub: Stub) -> None:
    in_batch, after_end = unique("raw/a"), unique("raw/b")
    trace_id = await new_trace(stub, **ENDED_OK)
    await stub.BatchUpdate(
        pb.BatchUpdateRequest(
            requests=[pb.UpdateRequest(event=next_event(trace_id, s3_path=path)) for path in (in_batch, after_end) * 2]
        )
    )
    for path in (in_batch, after_end):
        assert list((await by_path(stub, path)).trace_ids) == [trace_id]


async def test_paths_are_exact_strings(stub: Stub) -> None:
    path = unique("raw/Blåbær/a b/../%20/x") + ".json"
    trace_id = await new_trace(stub, s3_path=path)

    assert list((await by_path(stub, path)).trace_ids) == [trace_id]
    others = [
        path.lower(),
        path + "/",
        path + " ",
        "/" + path,
        path.replace("å", "a\u030a"),
        path.replace("a b/../", ""),
        path.replace("%20", " "),
        path.replace("Bl", "B_"),
        path[:-1] + "%",
        path[:-1],
    ]
    for other in others:
        assert (await refusal(by_path(stub, other), Code.NOT_FOUND)).reason == "PATH_NOT_FOUND"


async def test_paths_are_filtered_by_the_domain_and_domain_id_of_the_trace(stub: Stub) -> None:
    path = unique("raw/x")
    one = await new_trace(stub, s3_path=path, domain="a", domain_id="one/1")
    two = await new_trace(stub, s3_path=path, domain="b", domain_id="one/1")
    three = await new_trace(stub, s3_path=path, domain="b", domain_id="three/1")

    assert list((await by_path(stub, path, domain="b")).trace_ids) == [three, two]
    assert list((await by_path(stub, path, domain_id="one/1")).trace_ids) == [two, one]
    assert list((await by_path(stub, path, domain="a", domain_id="one/1")).trace_ids) == [one]
    await refusal(by_path(stub, path, domain="c"), Code.NOT_FOUND)


async def test_at_most_a_hundred_traces_of_a_path_are_named_the_newest(stub: Stub) -> None:
    path = unique("raw/popular")
    traces = [await new_trace(stub, s3_path=path) for _ in range(103)]
    assert list((await by_path(stub, path)).trace_ids) == traces[:2:-1]


# GetTrace


async def test_an_unknown_trace_is_not_found(stub: Stub) -> None:
    assert (await refusal(get(stub, unique("nothing")), Code.NOT_FOUND)).reason == "TRACE_NOT_FOUND"


async def test_a_trace_of_20_mb_is_read_completely_through_pages_of_less_than_4_mb(stub: Stub) -> None:
    body = Struct()
    body["text"] = "å" * 500_000
    trace_id = await new_trace(stub)
    for first in range(0, 20, 4):
        batch = [pb.UpdateRequest(event=next_event(trace_id, status_body=body, attempt=first + n)) for n in range(4)]
        await asyncio.gather(*[stub.Update(request) for request in batch])
    await update(stub, trace_id, errors=[trace_pb2.ErrorDetail(message={"en": "x" * 1024})] * 16, **ENDED_OK)

    events, token, sizes = [], "", []
    while not sizes or token:
        page = await get(stub, trace_id, page_size=1000, page_token=token)
        sizes.append(page.ByteSize())
        events += page.events
        token = page.next_page_token

    assert max(sizes) < LARGEST_MESSAGE
    assert sum(sizes) > 20_000_000
    assert [event.sequence for event in events] == list(range(1, 23))
    assert sorted(event.attempt for event in events[1:-1]) == list(range(20))
    assert all(event.status_body == body for event in events[1:-1])
    assert (await follow(stub, trace_id=trace_id)).events == events


async def test_a_page_holds_what_was_asked_for_and_says_where_to_go_on(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    await asyncio.gather(*[update(stub, trace_id) for _ in range(24)])

    page = await get(stub, trace_id, page_size=10)
    assert [event.sequence for event in page.events] == list(range(1, 11))
    page = await get(stub, trace_id, page_size=7, page_token=page.next_page_token)
    assert [event.sequence for event in page.events] == list(range(11, 18)), "the size may change from page to page"
    page = await get(stub, trace_id, page_size=8, page_token=page.next_page_token)
    assert [event.sequence for event in page.events] == list(range(18, 26))
    assert not page.next_page_token

    page = await get(stub, trace_id, page_size=10, after_sequence=20)
    assert [event.sequence for event in page.events] == [21, 22, 23, 24, 25]
    assert not page.next_page_token
    for beyond in (25, 26, 2**63 - 1):
        page = await get(stub, trace_id, after_sequence=beyond)
        assert (len(page.events), page.next_page_token, page.trace.last_sequence) == (0, "", 25)


async def test_a_page_has_100_events_by_default_and_1000_at_most(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    await stub.BatchUpdate(pb.BatchUpdateRequest(requests=[pb.UpdateRequest(event=next_event(trace_id))] * 1000))

    for asked, given in ((0, 100), (1000, 1000), (2**31 - 1, 1000)):
        page = await get(stub, trace_id, page_size=asked)
        assert len(page.events) == given
        assert page.next_page_token
    assert len(await all_events(stub, trace_id, page_size=37)) == 1001


async def test_events_that_are_recorded_while_one_pages_come_on_later_pages(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    await update(stub, trace_id)
    page = await get(stub, trace_id, page_size=1)
    await update(stub, trace_id)
    page = await get(stub, trace_id, page_size=5, page_token=page.next_page_token)
    assert [event.sequence for event in page.events] == [2, 3]


async def test_a_page_token_is_good_for_its_own_query_only(stub: Stub) -> None:
    one, other = await new_trace(stub), await new_trace(stub)
    for trace_id in (one, other):
        await asyncio.gather(*[update(stub, trace_id) for _ in range(3)])
    user = unique("user")
    for _ in range(3):
        await create(stub, user=user)
    listed = (await stub.ListTraces(pb.ListTracesRequest(user=user, page_size=1))).next_page_token
    token = (await get(stub, one, page_size=1)).next_page_token

    wrong = [
        get(stub, other, page_token=token),
        get(stub, one, page_token=token, after_sequence=1),
        get(stub, one, page_token=listed),
        get(stub, one, page_token=token[:-1]),
        get(stub, one, page_token=token + "A"),
        get(stub, one, page_token="made up"),
        get(stub, one, page_token="æøå"),
        get(stub, one, page_token="AAAAAAAAAAAAWzld"),
        stub.ListTraces(pb.ListTracesRequest(user=user, page_token=token)),
        stub.ListTraces(pb.ListTracesRequest(user=user, domain="dataset", page_token=listed)),
        stub.ListTraces(pb.ListTracesRequest(page_token=listed)),
        stub.ListTraces(pb.ListTracesRequest(user=user, page_token="x" * 100_000)),
    ]
    for call in wrong:
        await refusal(call, Code.INVALID_ARGUMENT, "page_token")
    assert len((await get(stub, one, page_token=token)).events) == 3
    assert len((await stub.ListTraces(pb.ListTracesRequest(user=user, page_token=listed))).traces) == 2


# ListTraces


async def listed(stub: Stub, page_size: int = 0, **filters: Any) -> list[str]:
    """Return the ids on all pages."""
    ids: list[str] = []
    request = pb.ListTracesRequest(page_size=page_size, **filters)
    while True:
        page = await stub.ListTraces(request)
        assert len(page.traces) <= (page_size or 50)
        ids += [trace.trace_id for trace in page.traces]
        if not page.next_page_token:
            return ids
        request.page_token = page.next_page_token


async def test_traces_are_listed_newest_first_and_once_whatever_the_page_size(stub: Stub) -> None:
    """Also those that were created in one transaction, and so at one time, and while others are created."""
    user = unique("user")
    await asyncio.gather(*[create(stub, user=user) for _ in range(40)])
    first = await new_trace(stub, user=user)

    ids = await listed(stub, user=user)
    assert len(ids) == len(set(ids)) == 41
    assert ids[0] == first
    traces = (await stub.ListTraces(pb.ListTracesRequest(user=user))).traces
    times = [trace.create_time.ToDatetime() for trace in traces]
    assert times == sorted(times, reverse=True)
    assert traces[0] == (await get(stub, first)).trace
    for page_size in (1, 3, 40, 41, 42):
        assert await listed(stub, page_size, user=user) == ids

    page = await stub.ListTraces(pb.ListTracesRequest(user=user, page_size=20))
    await create(stub, user=user)
    rest = await stub.ListTraces(pb.ListTracesRequest(user=user, page_size=50, page_token=page.next_page_token))
    assert [trace.trace_id for trace in [*page.traces, *rest.traces]] == ids


@pytest.mark.parametrize("page_size", [0, 1])
async def test_every_filter_and_every_pair_of_filters_finds_exactly_what_matches(stub: Stub, page_size: int) -> None:
    mine = unique("mine")
    kinds: list[dict[str, Any]] = [
        {},
        {"then": {}},
        {"then": ENDED_OK},
        {"then": ENDED_FAILED},
        {"then": {"trace_event_status": FAILED}},
        {"then": {"component": f"{mine}-writer"}},
        {"domain": f"{mine}-other", "then": ENDED_FAILED},
        {"domain_id": f"{mine}/2"},
        {"user": f"{mine}-ola", "then": ENDED_OK},
        {"component": f"{mine}-writer", "domain_id": f"{mine}/2"},
    ]
    for kind in kinds:
        given = {"domain": mine, "domain_id": f"{mine}/1", "user": f"{mine}-kari"} | kind
        then = given.pop("then", None)
        trace_id = await new_trace(stub, **given)
        if then is not None:
            await update(stub, trace_id, **then)
    both = [mine, f"{mine}-other"]
    traces = [t for d in both for t in (await stub.ListTraces(pb.ListTracesRequest(domain=d))).traces]
    traces.sort(key=lambda trace: trace.create_time.ToDatetime(), reverse=True)
    assert len(traces) == len(kinds)
    middle = traces[4].create_time
    updated = sorted(traces, key=lambda trace: trace.update_time.ToDatetime())[4].update_time

    filters: list[tuple[str, Any, Callable[[trace_pb2.Trace], bool]]] = [
        ("domain", mine, lambda t: t.domain == mine),
        ("domain_id", f"{mine}/2", lambda t: t.domain_id == f"{mine}/2"),
        ("user", f"{mine}-ola", lambda t: t.user == f"{mine}-ola"),
        ("component", f"{mine}-writer", lambda t: t.component == f"{mine}-writer"),
        ("status", STARTED, lambda t: t.trace_status == STARTED),
        ("status", CONTINUE, lambda t: t.trace_status == CONTINUE),
        ("status", FINISHED, lambda t: t.trace_status == FINISHED),
        ("outcome", OK, lambda t: t.done and t.trace_event_status == OK),
        ("outcome", FAILED, lambda t: t.done and t.trace_event_status == FAILED),
        ("created_after", middle, lambda t: t.create_time.ToDatetime() >= middle.ToDatetime()),
        ("created_before", middle, lambda t: t.create_time.ToDatetime() < middle.ToDatetime()),
        ("updated_after", updated, lambda t: t.update_time.ToDatetime() >= updated.ToDatetime()),
        ("updated_before", updated, lambda t: t.update_time.ToDatetime() < updated.ToDatetime()),
    ]
    known = {trace.trace_id for trace in traces}
    queries = 0
    for name, value, matches in filters:
        for name2, value2, matches2 in filters:
            if name2 <= name:
                continue
            wanted = [trace.trace_id for trace in traces if matches(trace) and matches2(trace)]
            found = await listed(
                stub, page_size, **{"created_after": traces[-1].create_time} | {name: value, name2: value2}
            )
            assert [trace_id for trace_id in found if trace_id in known] == wanted, (name, value, name2, value2)
            queries += 1
    assert queries > 60


async def test_an_unfiltered_listing_begins_with_the_newest_trace(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    found = (await stub.ListTraces(pb.ListTracesRequest(page_size=500))).traces
    assert trace_id in [trace.trace_id for trace in found[:100]]


async def test_a_time_range_without_traces_is_an_empty_page(stub: Stub) -> None:
    trace = (await create(stub)).trace
    later = Timestamp()
    later.FromDatetime(trace.create_time.ToDatetime() + timedelta(days=9))
    page = await stub.ListTraces(pb.ListTracesRequest(created_after=later))
    assert page == pb.ListTracesResponse()


async def test_a_listing_of_large_traces_stays_below_4_mb(stub: Stub) -> None:
    user = unique("user")
    errors = [trace_pb2.ErrorDetail(message={"en": "\U0001f600" * 160})] * 100
    fields = {"user": user, "component": "\U0001f600" * 256, "operation": "\U0001f600" * 256, "step_id": "æ" * 128}
    await asyncio.gather(*[create(stub, errors=errors, **fields) for _ in range(24)])

    ids, token = [], ""
    while not ids or token:
        page = await stub.ListTraces(pb.ListTracesRequest(user=user, page_size=500, page_token=token))
        assert page.ByteSize() < LARGEST_MESSAGE
        ids += [trace.trace_id for trace in page.traces]
        token = page.next_page_token

    assert len(ids) == len(set(ids)) == 24
