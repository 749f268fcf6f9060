"""W3 and W7: what finding and writing cost in a large database, beside the same in a small one.

Both databases are served at once, and the same calls are made to one and the other in turns. The figure is the median
time of a call, a few in flight.
"""

import random
from collections.abc import Iterator
from contextlib import ExitStack

from tracestatus.v1 import status_service_pb2 as service_pb2
from tracestatus.v1 import trace_pb2

from benchmarks.bench import Bench, NotDoneError, Pair, Row, Sample
from benchmarks.databases import POSTGRESQL, SQLITE, size
from benchmarks.load import Job
from benchmarks.payloads import GET_BY_PATH, GET_TRACE, LIST_TRACES, UPDATE, recorded, rehearse, update
from benchmarks.seed import EVENTS_PER_TRACE, domain_id, path, seed, trace_id
from benchmarks.servers import Server, start_service

NAME = "W3"
TITLE = "a large database beside a small one"
CONCURRENCY = 8
SMALL = 10_000
BAR, PAGE = 1.5, 50

Request = service_pb2.GetTraceRequest | service_pb2.GetByPathRequest | service_pb2.ListTracesRequest


def run(bench: Bench) -> Iterator[Row]:
    large = {"quick": 100_000, "full": 1_000_000, "long": 10_000_000}[bench.settings.extent]
    for engine in (SQLITE, POSTGRESQL):
        with ExitStack() as stack:
            servers = []
            for events in (large, SMALL):
                url = stack.enter_context(bench.engines.database(engine))
                seed(url, events)
                if events == large:
                    yield disk(engine, size(url) / events)
                servers.append(stack.enter_context(start_service(bench.serve, url)))
            yield from compare(bench, engine, large, *servers)


def compare(bench: Bench, engine: str, events: int, large: Server, small: Server) -> Iterator[Row]:
    traces = {large: events // EVENTS_PER_TRACE, small: SMALL // EVENTS_PER_TRACE}

    def bodies(server: Server, kind: str) -> tuple[bytes, ...]:
        # Spread over the whole database; the seed makes both sides alike.
        pick = random.Random(1)
        chosen = [pick.randrange(traces[server]) for _ in range(CONCURRENCY)]
        return tuple(_request(kind, number).SerializeToString() for number in chosen)

    for kind, method in (
        ("GetTrace", GET_TRACE),
        ("GetByPath", GET_BY_PATH),
        (f"ListTraces, a page of {PAGE}", LIST_TRACES),
        (f"ListTraces of a dataset, a page of {PAGE}", LIST_TRACES),
        (f"ListTraces of what failed, a page of {PAGE}", LIST_TRACES),
    ):
        jobs = {}
        for server in (large, small):
            found = bodies(server, kind)
            rehearse(server.channel, method, found[0])
            jobs[server] = bench.sized(Job(server.address, method, found, CONCURRENCY))
        pairs = bench.take_turns(
            lambda jobs=jobs: _median(bench, large, jobs[large]),
            lambda jobs=jobs: _median(bench, small, jobs[small]),
            bench.settings.repetitions,
        )
        yield _row(kind, engine, events, pairs)
    yield _row("Update", engine, events, _updates(bench, large, small, traces))


def _updates(bench: Bench, large: Server, small: Server, traces: dict[Server, int]) -> list[Pair]:
    pick = random.Random(2)
    chosen = {server: [trace_id(pick.randrange(traces[server])) for _ in range(CONCURRENCY)] for server in traces}
    jobs = {
        server: bench.sized(
            Job(server.address, UPDATE, tuple(update(one).SerializeToString() for one in chosen[server]), CONCURRENCY)
        )
        for server in traces
    }

    def once(server: Server) -> Sample:
        before = recorded(server.stub, list(set(chosen[server])))
        sample = _median(bench, server, jobs[server])
        done = recorded(server.stub, list(set(chosen[server]))) - before
        if done != sample.detail["calls"]:
            raise NotDoneError(f"{sample.detail['calls']} Updates were answered, {done} events were recorded")
        return sample

    return bench.take_turns(lambda: once(large), lambda: once(small), bench.settings.repetitions)


def _request(kind: str, number: int) -> Request:
    if kind == "GetTrace":
        return service_pb2.GetTraceRequest(trace_id=trace_id(number))
    if kind == "GetByPath":
        return service_pb2.GetByPathRequest(s3_path=path(number))
    request = service_pb2.ListTracesRequest(page_size=PAGE)
    if "dataset" in kind:
        request.domain_id = domain_id(number)
    if "failed" in kind:
        request.outcome = trace_pb2.TRACE_EVENT_STATUS_FAILED
    return request


def _median(bench: Bench, server: Server, job: Job) -> Sample:
    sample = bench.measure(server, job)
    return Sample(sample.detail["p50_ms"], sample.detail)


def _row(kind: str, engine: str, events: int, pairs: list[Pair]) -> Row:
    return Row(
        NAME,
        f"{kind}, {engine}, {events:,} events, median",
        "ms",
        pairs,
        f"{SMALL:,} events",
        bar=BAR,
        higher_is_better=False,
    )


def disk(engine: str, each: float) -> Row:
    return Row(
        "W6", f"bytes on disk for an event, indexes included, {engine}", "B", [Pair(Sample(each), Sample(0))], ""
    )
