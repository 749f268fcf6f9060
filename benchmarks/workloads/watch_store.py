"""W8: beside etcd, the well-known store that can be watched: how much can be written, and how soon a watcher knows.

The watcher here is an ordinary gRPC client, the same for both, alone with the one who writes; times are from the moment
the write is sent to the receipt. The old command line asked every two seconds: that is measured too.
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import grpc
from tracestatus.v1 import status_service_pb2 as service_pb2
from tracestatus.v1 import status_service_pb2_grpc

from benchmarks import etcd as other
from benchmarks.bench import Bench, NotDoneError, Pair, Row, Sample
from benchmarks.databases import POSTGRESQL, SQLITE
from benchmarks.load import Job
from benchmarks.payloads import BATCH_UPDATE, batch, event, new_traces, recorded, update
from benchmarks.processes import Line, Worker
from benchmarks.servers import Server

NAME = "W8"
TITLE = "beside etcd"
EVENTS, TRACES = 100, 8
#: How many batches, and how many Puts, are tried at a time: each side counts as it is at its best.
BATCHES = (4, 8, 16)
CONCURRENCY = (64, 256)
WRITES, PAUSE = 200, 0.005
POLL_SECONDS = 2.0


def run(bench: Bench) -> Iterator[Row]:
    with other.started() as etcd:
        if etcd is None:
            raise NotDoneError("there is no etcd (Debian: etcd-server)")
        put = best(bench, [sized(bench, etcd, other.PUT, value(0), concurrency) for concurrency in CONCURRENCY])
        txn = sized(bench, etcd, other.TXN, other.txn([value(number) for number in range(EVENTS)]), 8)
        for engine in (SQLITE, POSTGRESQL):
            with bench.service(engine) as service:
                traces = new_traces(service.stub, TRACES)
                body = batch(traces, EVENTS).SerializeToString()
                jobs = [bench.sized(Job(service.address, BATCH_UPDATE, (body,) * count, count)) for count in BATCHES]
                job = best(bench, jobs)
                ours = partial(events, bench, service, traces, job)
                yield written(bench, engine, ours, partial(puts, bench, etcd, put, 1), "Put, one at a time", 0.5)
                yield written(bench, engine, ours, partial(puts, bench, etcd, txn, EVENTS), "Txn of 100 puts", None)
                yield from heard(bench, engine, service, etcd)


def value(number: int) -> bytes:
    """The same event, under a key of its own."""
    return other.put(f"trace-{number}".encode(), event(f"trace-{number}").SerializeToString())


def sized(bench: Bench, etcd: other.Etcd, path: str, body: bytes, concurrency: int) -> Job:
    return bench.sized(Job(etcd.address, path, (body,) * 8, concurrency))


def best(bench: Bench, jobs: list[Job]) -> Job:
    """The one at whose concurrency most is done."""
    return max(jobs, key=lambda job: bench.driver.run(job).rate)


def puts(bench: Bench, etcd: other.Etcd, job: Job, each: int) -> Sample:
    before = etcd.revision()
    outcome = bench.driver.run(job)
    done, changes = outcome.answered, etcd.revision() - before - 1
    if changes != done or outcome.failed:  # a transaction is one change
        raise NotDoneError(f"{done} calls of etcd were answered, {changes} were made")
    return Sample(outcome.rate * each, {"concurrency": job.concurrency})


def events(bench: Bench, service: Server, traces: list[str], job: Job) -> Sample:
    before = recorded(service.stub, traces)
    sample = bench.measure(service, job, per_call=EVENTS)
    sent, done = sample.detail["calls"] * EVENTS, recorded(service.stub, traces) - before
    if done != sent:
        raise NotDoneError(f"{sent} events were sent in batches, {done} were recorded")
    sample.detail["concurrency"] = job.concurrency
    return sample


def written(
    bench: Bench, engine: str, ours: Callable[[], Sample], theirs: Callable[[], Sample], what: str, bar: float | None
) -> Row:
    pairs = bench.take_turns(ours, theirs, bench.settings.repetitions)
    at = pairs[0].baseline.detail["concurrency"]
    batches = pairs[0].service.detail["concurrency"]
    note = f"batches {batches:.0f} at a time, etcd {at:.0f} at a time" + (", aim 1" if bar else "")
    return Row(NAME, f"events in batches of 100, {engine}", "/s", pairs, f"etcd {what}", bar=bar, note=note)


def heard(bench: Bench, engine: str, service: Server, etcd: other.Etcd) -> Iterator[Row]:
    with Worker() as worker:

        def once(job: Callable[[Line, str], object], address: str) -> Sample:
            worker.start(job, address)  # type: ignore[arg-type]
            times: list[float] = worker.result()
            if len(times) != WRITES:
                raise NotDoneError(f"{len(times)} of {WRITES} writes were heard of")
            return Sample(statistics.median(times) * 1e3)

        once(follow_trace, service.address), once(watch_key, etcd.address)
        pairs = bench.take_turns(
            lambda: once(follow_trace, service.address),
            lambda: once(watch_key, etcd.address),
            bench.settings.repetitions,
        )
        what = f"write to receipt, one follower, {engine}, median"
        yield Row(NAME, what, "ms", pairs, "etcd Watch", bar=3.0, higher_is_better=False, note="aim 1")
        if engine == SQLITE:
            worker.start(poll_trace, service.address)
            polled = Sample(statistics.median(worker.result()) * 1e3)
            yield Row(NAME, what, "ms", [Pair(pairs[0].service, polled)], "asking every 2 s", higher_is_better=False)


async def follow_trace(_line: Line, address: str) -> list[float]:
    """Run in a worker: how long after an Update was sent its follower had it, for each."""
    async with grpc.aio.insecure_channel(address) as writing, grpc.aio.insecure_channel(address) as following:
        stub = status_service_pb2_grpc.StatusServiceStub(writing)  # type: ignore[no-untyped-call]
        trace_id = (await stub.Create(service_pb2.CreateRequest(event=event()))).trace.trace_id
        follower = status_service_pb2_grpc.StatusServiceStub(following)  # type: ignore[no-untyped-call]
        stream = follower.StreamTrace(service_pb2.StreamTraceRequest(trace_id=trace_id, after_sequence=1))
        while not (await stream.read()).checkpoint.caught_up:
            pass
        times = await _paced(lambda: stub.Update(update(trace_id)), stream.read)
        stream.cancel()
    return times


async def watch_key(_line: Line, address: str) -> list[float]:
    """Run in a worker: the same with Put and Watch."""
    async with grpc.aio.insecure_channel(address) as writing, grpc.aio.insecure_channel(address) as watching:
        put = writing.unary_unary(other.PUT)
        stream = watching.stream_stream(other.WATCH)()
        await stream.write(other.watch(b"trace-0"))
        await stream.read()  # "created"
        times = await _paced(lambda: put(value(0)), stream.read)
        stream.cancel()
    return times


async def poll_trace(_line: Line, address: str) -> list[float]:
    """Run in a worker: how long after an Update was sent someone knew who asks every two seconds."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = status_service_pb2_grpc.StatusServiceStub(channel)  # type: ignore[no-untyped-call]
        trace_id = (await stub.Create(service_pb2.CreateRequest(event=event()))).trace.trace_id
        times = []
        for phase in (0.1, 0.3, 0.5, 0.7, 0.9):
            known = (await stub.GetTrace(service_pb2.GetTraceRequest(trace_id=trace_id))).trace.last_sequence
            asked = time.monotonic()
            await asyncio.sleep(POLL_SECONDS * phase)
            sent = time.monotonic()
            await stub.Update(update(trace_id))
            while True:
                asked += POLL_SECONDS
                await asyncio.sleep(asked - time.monotonic())
                answer = await stub.GetTrace(service_pb2.GetTraceRequest(trace_id=trace_id, after_sequence=known))
                if answer.events:
                    break
            times.append(time.monotonic() - sent)
    return times


async def _paced(write: Callable[[], object], read: Callable[[], object]) -> list[float]:
    times = []
    for _ in range(WRITES):
        sent = time.monotonic()
        answer = asyncio.ensure_future(write())  # type: ignore[arg-type, call-overload]
        await read()  # type: ignore[misc]
        times.append(time.monotonic() - sent)
        await answer
        await asyncio.sleep(PAUSE)
    return times
