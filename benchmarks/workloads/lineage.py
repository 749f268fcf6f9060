"""W5: what GetLineage costs among many traces, beside the same among few.

Every trace reads a file and one that all of them read, and writes another. Among them lie a chain of 50 traces, each
reading what the one before it wrote, and one trace that writes 1,000 files, each of which another trace reads. Both
databases are served at once, and the same calls are made to one and the other in turns. The figure is the median time
of a call, a few in flight.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, islice

from tracestatus.v1 import status_service_pb2 as service_pb2

from benchmarks.bench import Bench, NotDoneError, Row, Sample
from benchmarks.databases import POSTGRESQL, SQLITE
from benchmarks.load import Job
from benchmarks.payloads import DATASET, DOMAIN, SERVICE, rehearse
from benchmarks.servers import Server, start_service
from status_grpc.domain.decisions import CreateTrace
from status_grpc.domain.events import Dataset, EventDraft
from status_grpc.service.fingerprint import fingerprint
from status_grpc.storage.dialects import open_database
from status_grpc.storage.schema import upgrade
from status_grpc.storage.store import Store

NAME = "W5"
TITLE = "lineage"
GET_LINEAGE = SERVICE + "GetLineage"
CONCURRENCY = 4
FEW = 1_000
HOPS, FAN = 50, 1_000
COMMON = "s3://lake/reference.json"
BAR = 1.5
UP, DOWN = service_pb2.LINEAGE_DIRECTION_UPSTREAM, service_pb2.LINEAGE_DIRECTION_DOWNSTREAM

#: What is asked, and how many edges the first page has.
QUESTIONS: dict[str, tuple[service_pb2.GetLineageRequest, int]] = {
    f"a chain of {HOPS} traces, from its end": (
        service_pb2.GetLineageRequest(uri=f"s3://lake/chain/{HOPS}", direction=UP),
        2 * HOPS,
    ),
    f"a fan of {FAN:,} files and who read them": (
        service_pb2.GetLineageRequest(uri="s3://lake/one", direction=DOWN, max_edges=10_000, page_size=1_000),
        1_000,
    ),
    "who read the file that all read, 100 of them": (
        service_pb2.GetLineageRequest(uri=COMMON, direction=DOWN, max_depth=1, max_edges=100),
        100,
    ),
}


def run(bench: Bench) -> Iterator[Row]:
    many = {"quick": 20_000}.get(bench.settings.extent, 100_000)
    for engine in (SQLITE, POSTGRESQL):
        with ExitStack() as stack:
            servers = []
            for traces in (many, FEW):
                url = stack.enter_context(bench.engines.database(engine))
                asyncio.run(seed(url, traces))
                servers.append(stack.enter_context(start_service(bench.serve, url)))
            for what, (request, edges) in QUESTIONS.items():
                yield compare(bench, f"{what}, {engine}, {many:,} traces, median", request, edges, *servers)


def compare(
    bench: Bench, what: str, request: service_pb2.GetLineageRequest, edges: int, large: Server, small: Server
) -> Row:
    body = request.SerializeToString()
    jobs = {}
    for server in (large, small):
        answer = service_pb2.GetLineageResponse.FromString(rehearse(server.channel, GET_LINEAGE, body))
        if len(answer.edges) != edges:
            raise NotDoneError(f"{what}: {len(answer.edges)} edges, not {edges}")
        jobs[server] = bench.sized(Job(server.address, GET_LINEAGE, (body,) * CONCURRENCY, CONCURRENCY))

    def once(server: Server) -> Sample:
        sample = bench.measure(server, jobs[server])
        return Sample(sample.detail["p50_ms"], sample.detail)

    pairs = bench.take_turns(lambda: once(large), lambda: once(small), bench.settings.repetitions)
    return Row(NAME, what, "ms", pairs, f"{FEW:,} traces", bar=BAR, higher_is_better=False)


async def seed(url: str, count: int) -> None:
    """Record that many traces, and in their midst the chain and the fan."""
    database = open_database(url)
    await database.open()
    await database.write(upgrade)
    store = Store(database, events_per_trace=1_000)
    half = count // 2
    traces = chain(crowd(0, half), special(), crowd(half, count))
    while commands := list(islice(traces, 500)):
        await store.commit(commands)
    # So that PostgreSQL knows what it holds, as it does by itself after a minute.
    await database.write(lambda connection: connection.exec_driver_sql("ANALYZE"))
    await database.close()


def crowd(begin: int, end: int) -> Iterator[CreateTrace]:
    for n in range(begin, end):
        yield trace(f"trace-{n}", (f"s3://lake/raw/{n}.csv", COMMON), (f"s3://lake/processed/{n}.parquet",))


def special() -> Iterator[CreateTrace]:
    for hop in range(HOPS):
        yield trace(f"chain-{hop}", (f"s3://lake/chain/{hop}",), (f"s3://lake/chain/{hop + 1}",))
    parts = tuple(f"s3://lake/part/{n}.csv" for n in range(FAN))
    yield trace("fan", ("s3://lake/one",), parts)
    for n, part in enumerate(parts):
        yield trace(f"reader-{n}", (part,), ())


def trace(trace_id: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> CreateTrace:
    draft = EventDraft(
        trace_id=trace_id,
        domain=DOMAIN,
        domain_id=DATASET,
        component="benchmark",
        inputs=tuple(map(Dataset, inputs)),
        outputs=tuple(map(Dataset, outputs)),
        encoded_bytes=300,
    )
    return CreateTrace(trace_id, f"{trace_id}-1", draft, fingerprint(draft))
