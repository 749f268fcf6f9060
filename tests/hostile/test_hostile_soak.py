"""Memory stays flat and collections stay short over very many calls. `make hostile` makes ten million of them.

STATUS_GRPC_SOAK_CALLS is the number of calls that read or repeat; a tenth as many fail.
"""

from __future__ import annotations

import gc
import json
import os
import time
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message
from server_process import Server
from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1 import status_service_pb2_grpc, trace_pb2
from victims import MEASURED, MEGABYTE

from benchmarks.load import Job
from benchmarks.load.python import PythonDriver
from status_grpc.cli.main import main

CALLS = int(os.environ.get("STATUS_GRPC_SOAK_CALLS", "10000000" if MEASURED else "20000"))
CONNECTIONS, CONCURRENCY = 8, 64
#: The calls before memory is looked at first: pools and caches fill.
WARM_UP = 10_000
COLLECTIONS = Path("collections.json")


def main_with_watched_collections() -> None:
    """Run `status-grpc`; at its end, write how long the longest collection of each generation took, in seconds."""
    longest = {0: 0.0, 1: 0.0, 2: 0.0}
    began = 0.0

    def watch(phase: str, info: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.perf_counter()
        else:
            longest[info["generation"]] = max(longest[info["generation"]], time.perf_counter() - began)

    # Not the collection of what was imported, before anything is served.
    original = gc.freeze

    def freeze() -> None:
        original()
        gc.callbacks.append(watch)

    gc.freeze = freeze
    try:
        main()
    finally:
        COLLECTIONS.write_text(json.dumps(longest))


class WatchedServer(Server):
    program = staticmethod(main_with_watched_collections)


def jobs(server: Server, trace_id: str) -> list[Job]:
    """Return calls that read and repeat, with a tenth that fail."""

    def job(method: str, request: Message, share: float) -> Job:
        path = f"/tracestatus.v1.StatusService/{method}"
        calls = int(CALLS * share)
        return Job(server.address, path, (request.SerializeToString(),) * CONNECTIONS, CONCURRENCY, calls)

    event = trace_pb2.TraceEvent(trace_id=trace_id, trace_event_id="repeated", component="soak")
    lost = trace_pb2.TraceEvent(trace_id="unknown", component="soak")
    return [
        job("GetTrace", pb.GetTraceRequest(trace_id=trace_id), 0.4),
        job("Update", pb.UpdateRequest(event=event), 0.4),
        job("GetByPath", pb.GetByPathRequest(s3_path="raw/soak.csv"), 0.2),
        job("Update", pb.UpdateRequest(event=lost), 0.05),
        job("GetTrace", pb.GetTraceRequest(), 0.03),
        job("BatchUpdate", pb.BatchUpdateRequest(), 0.02),
    ]


@pytest.mark.timeout(3 * 3600 if MEASURED else 120)
def test_memory_is_flat_over_many_calls_and_collections_are_short(tmp_path: Path) -> None:
    server = WatchedServer(tmp_path).start()
    with grpc.insecure_channel(server.address) as channel:
        service = status_service_pb2_grpc.StatusServiceStub(channel)
        first = trace_pb2.TraceEvent(domain="dataset", domain_id="soak/1", component="soak", s3_path="raw/soak.csv")
        trace_id = service.Create(pb.CreateRequest(event=first)).trace.trace_id
        service.Update(
            pb.UpdateRequest(event=trace_pb2.TraceEvent(trace_id=trace_id, trace_event_id="repeated", component="soak"))
        )
    began, made = time.monotonic(), 0
    with PythonDriver() as driver:
        for job in jobs(server, trace_id):
            driver.run(job.sized(min(WARM_UP, job.calls)))
        before = server.memory()
        for job in jobs(server, trace_id):
            outcome = driver.run(job)
            made += outcome.answered + outcome.failed
    growth = (server.memory() - before) / MEGABYTE
    assert server.stop() == 0
    longest = json.loads((tmp_path / COLLECTIONS).read_text())
    print(f"{made} calls in {time.monotonic() - began:.0f} s; memory grew by {growth:.1f} MB; collections: {longest}")
    assert made >= CALLS
    assert growth < 20
    if MEASURED:
        assert max(longest.values()) < 0.02
