"""W1a: durable Update, the write that every step of every pipeline makes."""

from collections.abc import Iterator

from benchmarks.baseline import ECHO_UPDATE
from benchmarks.bench import Bench, NotDoneError, Pair, Row, Sample, middle
from benchmarks.load import Job
from benchmarks.payloads import UPDATE, new_traces, recorded, rehearse, update
from benchmarks.servers import Server

NAME = "W1a"
TITLE = "durable Update"
CONCURRENCY = (1, 8, 64)
CONNECTIONS = 8


def run(bench: Bench) -> Iterator[Row]:
    with bench.service() as service:
        for concurrency in CONCURRENCY:
            yield measure(bench, service, concurrency)


def measure(bench: Bench, service: Server, concurrency: int) -> Row:
    traces = new_traces(service.stub, min(CONNECTIONS, concurrency))
    bodies = tuple(update(trace).SerializeToString() for trace in traces)
    rehearse(service.channel, UPDATE, bodies[0])
    job = bench.sized(Job(service.address, UPDATE, bodies, concurrency))
    echo = bench.sized(Job(bench.baseline.address, ECHO_UPDATE, bodies, concurrency))

    def once() -> Sample:
        before = recorded(service.stub, traces)
        sample = bench.measure(service, job)
        done = recorded(service.stub, traces) - before
        if done != sample.detail["calls"]:
            raise NotDoneError(f"{sample.detail['calls']} Updates were answered, {done} events were recorded")
        return sample

    pairs = bench.take_turns(once, lambda: bench.measure(bench.baseline, echo), bench.settings.repetitions)
    return Row(
        NAME,
        f"{TITLE}, {concurrency} at a time",
        "calls/s",
        pairs,
        "echo",
        bar=0.5 if concurrency == 64 else None,
        note=cost(pairs) + (", aim 0.7" if concurrency == 64 else "") + f", {len(bodies[0])} B",
    )


def cost(pairs: list[Pair]) -> str:
    """Latency and server CPU of both sides, which tell more than rates do when cores are shared."""
    p99 = middle(pairs, "service", "p99_ms")
    service = middle(pairs, "service", "server_cpu_us_each")
    baseline = middle(pairs, "baseline", "server_cpu_us_each")
    return f"p99 {p99:.1f} ms, server CPU {service:.0f} us each (baseline {baseline:.0f})"
