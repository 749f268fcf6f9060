"""W1a: durable Update, the write that every step of every pipeline makes."""

from collections.abc import Iterator

from benchmarks.baseline import ECHO_UPDATE
from benchmarks.bench import Bench, NotDoneError, Pair, Row, Sample, middle
from benchmarks.databases import POSTGRESQL, SQLITE
from benchmarks.load import Job
from benchmarks.payloads import UPDATE, new_traces, recorded, rehearse, update
from benchmarks.servers import Server, start_baseline

NAME = "W1a"
TITLE = "durable Update"
CONCURRENCY = (1, 8, 64)
CONNECTIONS = 8
#: One connection in twenty sends events with a status_body of 16 KB.
MIXED_CONNECTIONS, MIXED_CONCURRENCY = 20, 60
BARS = {(SQLITE, 64): (0.5, "0.75"), (POSTGRESQL, 64): (0.45, "0.7")}


def run(bench: Bench) -> Iterator[Row]:
    quick = bench.settings.extent == "quick"
    for engine in (SQLITE, POSTGRESQL):
        with bench.service(engine) as service:
            for concurrency in CONCURRENCY[-1:] if quick else CONCURRENCY:
                yield measure(bench, service, engine, concurrency)
            if not quick:
                yield mixed(bench, service, engine)
    if quick:
        return
    for engine in (SQLITE, POSTGRESQL):
        yield from two_workers(bench, engine)


def measure(bench: Bench, service: Server, engine: str, concurrency: int) -> Row:
    traces = new_traces(service.stub, min(CONNECTIONS, concurrency))
    bodies = tuple(update(trace).SerializeToString() for trace in traces)
    pairs = beside_echo(bench, service, bench.baseline, traces, bodies, concurrency)
    bar, aim = BARS.get((engine, concurrency), (None, ""))
    note = cost(pairs) + (f", aim {aim}" if aim else "") + f", {len(bodies[0])} B"
    return Row(NAME, f"{TITLE}, {engine}, {concurrency} at a time", "calls/s", pairs, "echo", bar=bar, note=note)


def mixed(bench: Bench, service: Server, engine: str) -> Row:
    """Events as they are: most small, a few large."""
    traces = new_traces(service.stub, MIXED_CONNECTIONS)
    bodies = tuple(update(trace, large=trace == traces[0]).SerializeToString() for trace in traces)
    pairs = beside_echo(bench, service, bench.baseline, traces, bodies, MIXED_CONCURRENCY)
    what = f"{TITLE}, {engine}, {MIXED_CONCURRENCY} at a time, 5 % of 16 KB"
    return Row(NAME, what, "calls/s", pairs, "echo", note=cost(pairs))


def two_workers(bench: Bench, engine: str) -> Iterator[Row]:
    """What a second process brings, beside what it brings to the echo: two cores carry the load generator too."""
    with (
        bench.service(engine) as one,
        bench.service(engine, workers=2) as two,
        start_baseline(workers=2) as echoes,
    ):
        gains = []
        for service, baseline in ((one, bench.baseline), (two, echoes)):
            traces = new_traces(service.stub, CONNECTIONS)
            bodies = tuple(update(trace).SerializeToString() for trace in traces)
            gains.append(beside_echo(bench, service, baseline, traces, bodies, 64))
        pairs = [
            Pair(
                Sample(after.service.value / before.service.value, after.service.detail),
                Sample(after.baseline.value / before.baseline.value, after.baseline.detail),
            )
            for before, after in zip(*gains, strict=True)
        ]
        bar = 0.9 if engine == POSTGRESQL else None
        yield Row(
            NAME, f"{TITLE}, {engine}, 2 workers / 1 worker", "x", pairs, "echo, 2 / 1", bar=bar, note=cost(pairs)
        )


def beside_echo(
    bench: Bench, service: Server, baseline: Server, traces: list[str], bodies: tuple[bytes, ...], concurrency: int
) -> list[Pair]:
    """Updates and echoes of the same messages in turns; what is recorded is counted."""
    rehearse(service.channel, UPDATE, bodies[0])
    job = bench.sized(Job(service.address, UPDATE, bodies, concurrency))
    echo = bench.sized(Job(baseline.address, ECHO_UPDATE, bodies, concurrency))

    def once() -> Sample:
        before = recorded(service.stub, traces)
        sample = bench.measure(service, job)
        done = recorded(service.stub, traces) - before
        if done != sample.detail["calls"]:
            raise NotDoneError(f"{sample.detail['calls']} Updates were answered, {done} events were recorded")
        return sample

    return bench.take_turns(once, lambda: bench.measure(baseline, echo), bench.settings.repetitions)


def cost(pairs: list[Pair]) -> str:
    """Latency and server CPU of both sides, which tell more than rates do when cores are shared."""
    p50, p99 = middle(pairs, "service", "p50_ms"), middle(pairs, "service", "p99_ms")
    service = middle(pairs, "service", "server_cpu_us_each")
    baseline = middle(pairs, "baseline", "server_cpu_us_each")
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, server CPU {service:.0f} us each (baseline {baseline:.0f})"
