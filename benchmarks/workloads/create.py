"""W1c: durable Create, how every upload begins."""

import uuid
from collections.abc import Iterator

from benchmarks.baseline import ECHO_CREATE
from benchmarks.bench import Bench, NotDoneError, Row, Sample
from benchmarks.databases import POSTGRESQL, SQLITE
from benchmarks.load import Job
from benchmarks.payloads import CREATE, count_traces, create, rehearse
from benchmarks.servers import Server
from benchmarks.workloads.update import CONNECTIONS, cost

NAME = "W1c"
TITLE = "durable Create"
CONCURRENCY = (1, 8, 64)


def run(bench: Bench) -> Iterator[Row]:
    for engine in (SQLITE, POSTGRESQL):
        with bench.service(engine) as service:
            for concurrency in CONCURRENCY:
                yield measure(bench, service, engine, concurrency)


def measure(bench: Bench, service: Server, engine: str, concurrency: int) -> Row:
    """The server mints each trace's id; what was created is counted through ListTraces."""
    domain_id = f"benchmark-{uuid.uuid4().hex[:8]}/1"
    body = create(domain_id).SerializeToString()
    bodies = (body,) * min(CONNECTIONS, concurrency)
    rehearse(service.channel, CREATE, body)
    job = bench.sized(Job(service.address, CREATE, bodies, concurrency))
    echo = bench.sized(Job(bench.baseline.address, ECHO_CREATE, bodies, concurrency))

    def once() -> Sample:
        before = count_traces(service.stub, domain_id)
        sample = bench.measure(service, job)
        done = count_traces(service.stub, domain_id) - before
        if done != sample.detail["calls"]:
            raise NotDoneError(f"{sample.detail['calls']} Creates were answered, {done} traces are listed")
        return sample

    pairs = bench.take_turns(once, lambda: bench.measure(bench.baseline, echo), bench.settings.repetitions)
    what = f"{TITLE}, {engine}, {concurrency} at a time"
    return Row(NAME, what, "calls/s", pairs, "echo", note=f"{cost(pairs)}, {len(body)} B")
