"""Lineage, from outside: what GetLineage promises."""

from __future__ import annotations

import asyncio
from typing import Any

from calls import ENDED_OK, Code, Stub, new_trace, refusal, unique, update
from google.protobuf.struct_pb2 import Struct
from tracestatus.v1 import status_service_pb2 as pb

UP, DOWN = pb.LINEAGE_DIRECTION_UPSTREAM, pb.LINEAGE_DIRECTION_DOWNSTREAM

#: What a gRPC client takes as one message unless it is told otherwise.
LARGEST_MESSAGE = 4 * 1024 * 1024


async def ask(stub: Stub, **fields: Any) -> pb.GetLineageResponse:
    return await stub.GetLineage(pb.GetLineageRequest(**{"direction": UP} | fields))


async def all_pages(stub: Stub, **fields: Any) -> list[pb.GetLineageResponse]:
    pages = [await ask(stub, **fields)]
    while pages[-1].next_page_token:
        pages.append(await ask(stub, **fields, page_token=pages[-1].next_page_token))
    return pages


async def test_a_running_trace_s_lineage_is_told_with_each_event(stub: Stub) -> None:
    lake = unique("s3://lake")
    writer = await new_trace(stub, outputs=[{"uri": f"{lake}/raw", "version": "1"}])
    body = Struct()
    body.update({"files_incoming": [f"{lake}/raw"], "rows": 3})
    reader = await new_trace(stub, status_body=body)
    await update(stub, reader, outputs=[{"uri": f"{lake}/table"}])
    found = await ask(stub, uri=f"{lake}/table")
    assert [(edge.trace_id, edge.written, edge.dataset.uri, edge.sequence, edge.depth) for edge in found.edges] == [
        (reader, True, f"{lake}/table", 2, 1),
        (reader, False, f"{lake}/raw", 1, 2),
        (writer, True, f"{lake}/raw", 1, 3),
    ]
    assert not any(trace.done for trace in found.traces)
    await update(stub, writer, **ENDED_OK)
    done = {trace.trace_id: trace for trace in (await ask(stub, uri=f"{lake}/table")).traces}
    assert (done[writer].done, done[reader].done) == (True, False)
    assert done[writer].HasField("finish_time")
    assert not done[reader].HasField("finish_time")


async def test_pages_are_bounded_in_count_and_bytes_and_hold_everything_once(stub: Stub) -> None:
    prefix = unique("s3://lake").ljust(1000, "x") + "æ" * 500
    made = [{"uri": f"{prefix}{number:04}", "version": "🎉" * 256} for number in range(1200)]
    trace_id = await new_trace(stub)
    await asyncio.gather(*[update(stub, trace_id, outputs=made[first : first + 300]) for first in range(0, 1200, 300)])
    pages = await all_pages(stub, trace_id=trace_id, direction=DOWN, max_edges=10_000, page_size=1000)
    assert all(page.ByteSize() < LARGEST_MESSAGE for page in pages)
    assert sorted(edge.dataset.uri for page in pages for edge in page.edges) == [one["uri"] for one in made]
    assert [len(page.traces) for page in pages] == [1] * len(pages)
    small = await all_pages(stub, trace_id=trace_id, direction=DOWN, max_edges=25, page_size=10)
    assert [len(page.edges) for page in small] == [10, 10, 5]
    assert [page.truncated for page in small] == [False, False, True]


async def test_a_page_token_is_good_for_its_own_question_only(stub: Stub) -> None:
    name = unique("s3://lake")
    trace_id = await new_trace(stub, inputs=[{"uri": f"{name}/{number}"} for number in range(3)])
    question = {"trace_id": trace_id, "page_size": 1}
    token = (await ask(stub, **question)).next_page_token
    assert len((await ask(stub, **question, page_token=token)).edges) == 1
    for other in ({"direction": DOWN}, {"max_depth": 3}, {"max_edges": 2}, {"uri": trace_id, "trace_id": None}):
        await refusal(ask(stub, **question | other, page_token=token), Code.INVALID_ARGUMENT, "page_token")


async def test_what_is_not_there(stub: Stub) -> None:
    await refusal(ask(stub, trace_id=unique("none")), Code.NOT_FOUND)
    assert await ask(stub, uri=unique("s3://none")) == pb.GetLineageResponse()
