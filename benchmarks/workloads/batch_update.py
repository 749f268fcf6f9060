"""W1b: BatchUpdate, how a buffering client or an importer writes."""

from collections.abc import Iterator

from benchmarks.baseline import ECHO_UPDATE
from benchmarks.bench import Bench, NotDoneError, Row, Sample
from benchmarks.databases import POSTGRESQL, SQLITE
from benchmarks.load import Job
from benchmarks.payloads import BATCH_UPDATE, batch, new_traces, recorded, rehearse, update
from benchmarks.servers import Server
from benchmarks.workloads.update import CONNECTIONS, cost

NAME = "W1b"
TITLE = "BatchUpdate of 100"
CONCURRENCY = (1, 4, 8)
EVENTS = 100
TRACES = 8


def run(bench: Bench) -> Iterator[Row]:
    bodies = tuple(update(f"trace-{n}").SerializeToString() for n in range(CONNECTIONS))
    echo = bench.sized(Job(bench.baseline.address, ECHO_UPDATE, bodies, 64))
    for engine in (SQLITE, POSTGRESQL):
        with bench.service(engine) as service:
            for concurrency in CONCURRENCY[1:2] if bench.settings.extent == "quick" else CONCURRENCY:
                yield measure(bench, service, engine, echo, concurrency)


def measure(bench: Bench, service: Server, engine: str, echo: Job, concurrency: int) -> Row:
    traces = new_traces(service.stub, TRACES)
    body = batch(traces, EVENTS).SerializeToString()
    rehearse(service.channel, BATCH_UPDATE, body)
    job = bench.sized(Job(service.address, BATCH_UPDATE, (body,) * concurrency, concurrency))

    def once() -> Sample:
        before = recorded(service.stub, traces)
        sample = bench.measure(service, job, per_call=EVENTS)
        sent, done = sample.detail["calls"] * EVENTS, recorded(service.stub, traces) - before
        if done != sent:
            raise NotDoneError(f"{sent} events were sent in batches, {done} were recorded")
        return sample

    pairs = bench.take_turns(once, lambda: bench.measure(bench.baseline, echo), bench.settings.repetitions)
    return Row(
        NAME,
        f"{TITLE}, {engine}, {concurrency} at a time",
        "events/s",
        pairs,
        "echo, 64 at a time",
        bar=2.5 if engine == SQLITE and concurrency == 4 else None,
        note=f"{cost(pairs)}, {TRACES} traces per batch",
    )
