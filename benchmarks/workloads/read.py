"""W2: GetTrace, what everyone who asks makes: a short trace, a long one, and only the state."""

from collections.abc import Iterator

from tracestatus.v1 import status_service_pb2 as service_pb2

from benchmarks.baseline import ECHO_BYTES
from benchmarks.bench import Bench, NotDoneError, Row
from benchmarks.databases import POSTGRESQL, SQLITE
from benchmarks.load import Job
from benchmarks.payloads import GET_TRACE, batch, new_traces, rehearse
from benchmarks.servers import Server
from benchmarks.workloads.update import cost

NAME = "W2"
TITLE = "GetTrace"
CONCURRENCY = 8
SHORT, LONG = 5, 500


def run(bench: Bench) -> Iterator[Row]:
    for engine in (SQLITE, POSTGRESQL):
        with bench.service(engine) as service:
            short, long = new_traces(service.stub, 2)
            for trace_id, events in ((short, SHORT), (long, LONG)):
                for first in range(1, events, 100):
                    service.stub.BatchUpdate(batch([trace_id], min(100, events - first)))
            yield measure(bench, service, engine, f"{SHORT} events", read(short), SHORT)
            yield measure(bench, service, engine, f"{LONG} events", read(long), LONG)
            yield measure(bench, service, engine, "the state alone", read(long, after_sequence=LONG), 0)


def read(trace_id: str, after_sequence: int = 0) -> bytes:
    request = service_pb2.GetTraceRequest(trace_id=trace_id, page_size=1000, after_sequence=after_sequence)
    return request.SerializeToString()


def measure(bench: Bench, service: Server, engine: str, what: str, body: bytes, events: int) -> Row:
    """Beside an RPC that answers with the same bytes: it gets them with the request."""
    answer = rehearse(service.channel, GET_TRACE, body)
    found = len(service_pb2.GetTraceResponse.FromString(answer).events)
    if found != events:
        raise NotDoneError(f"GetTrace answered with {found} events instead of {events}")
    job = bench.sized(Job(service.address, GET_TRACE, (body,) * CONCURRENCY, CONCURRENCY))
    echo = bench.sized(Job(bench.baseline.address, ECHO_BYTES, (answer,) * CONCURRENCY, CONCURRENCY))
    pairs = bench.take_turns(
        lambda: bench.measure(service, job),
        lambda: bench.measure(bench.baseline, echo),
        bench.settings.repetitions,
    )
    note = f"{cost(pairs)}, answers of {len(answer):,} B"
    return Row(NAME, f"{TITLE}, {what}, {engine}, {CONCURRENCY} at a time", "calls/s", pairs, "echo", note=note)
