"""W4: following a trace: how long after a write its followers know, and how many messages a server can spread.

Two rounds per number of followers, each in turns with the bare fan-out, which gets the same writes and followers:
- paced: single Updates, far enough apart that one has reached everyone before the next. Latency is counted from the
  moment an Update is *sent* to each follower's receipt; the commit lies between, so it is an upper bound of commit to
  receipt. From acknowledgement to receipt is in the note (negative: the follower knew before the writer).
- burst: Updates back to back, a few at a time. The rate is messages received over the time from the first Update to the
  last receipt; meanwhile a bystander writes to another trace, one Update at a time, and its slowest write is reported.
"""

from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.bench import Bench, NotDoneError, Pair, Row, Sample, middle
from benchmarks.load.base import median, percentile
from benchmarks.load.follow import READY, Followed, FollowJob, follow
from benchmarks.load.write import WRITTEN, WriteJob, Written, write
from benchmarks.payloads import finish, new_traces
from benchmarks.processes import Worker
from benchmarks.servers import Server

NAME = "W4"
TITLE = "following a trace"
PATIENCE = 90.0
BURST_CONCURRENCY = 4
MANY = 50


class Stage:
    """The processes of a round: followers in two (one for a single follower), the writer in a third."""

    def __init__(self, stack: ExitStack) -> None:
        self._followers = [stack.enter_context(Worker()) for _ in range(2)]
        self._writer = stack.enter_context(Worker())

    def round(
        self, server: Server, followers: int, events: int, concurrency: int, interval: float, traces: int = 1
    ) -> Sample:
        """One round; the followers, and the events, are spread over the traces."""
        *followed_traces, bystander = new_traces(server.stub, traces + 1)
        trace_ids = tuple(followed_traces)
        shares = [share for share in (followers // 2, followers - followers // 2) if share]
        workers = self._followers[: len(shares)]
        for worker, share in zip(workers, shares, strict=True):
            worker.start(follow, FollowJob(server.address, trace_ids, share, PATIENCE))
        for worker in workers:
            worker.hear(READY)
        cpu = server.cpu
        self._writer.start(write, WriteJob(server.address, trace_ids, bystander, events, concurrency, interval))
        self._writer.hear(WRITTEN)
        last = {trace_id: server.stub.Update(finish(trace_id)).event.sequence for trace_id in trace_ids}
        followed: list[Followed] = [one for worker in workers for one in worker.result()]
        cpu = server.cpu - cpu
        self._writer.tell()
        written: Written = self._writer.result()
        if sum(last.values()) != events + 2 * traces:
            raise NotDoneError(f"{events} Updates were acknowledged, but {sum(last.values())} events are there")
        return Sample(0.0, figures(written, followed, last) | {"server_cpu": cpu})


def figures(written: Written, followed: list[Followed], last: dict[str, int]) -> dict[str, float]:
    """What came of a round, given the last sequence of each trace; times in milliseconds."""
    heard = [
        (at, (one.trace_id, sequence))
        for one in followed
        for at, sequence in zip(one.times, one.sequences, strict=True)
        if (one.trace_id, sequence) in written.sent  # not the first event and the last one, which others wrote
    ]
    since_sent = [(at - written.sent[event]) * 1000 for at, event in heard]
    since_acknowledged = [(at - written.acknowledged[event]) * 1000 for at, event in heard]
    seconds = max((at for at, _ in heard), default=float("inf")) - min(written.sent.values())
    return {
        "messages": len(heard),
        "messages_per_second": len(heard) / seconds,
        "sent_to_receipt_p50_ms": median(since_sent),
        "sent_to_receipt_p99_ms": percentile(since_sent, 0.99),
        "acknowledged_to_receipt_p50_ms": median(since_acknowledged),
        "acknowledged_to_receipt_p99_ms": percentile(since_acknowledged, 0.99),
        "update_p50_ms": median([written.acknowledged[n] - written.sent[n] for n in written.sent]) * 1000,
        "update_max_ms": max(written.acknowledged[n] - written.sent[n] for n in written.sent) * 1000,
        "bystander_p50_ms": median(written.bystander) * 1000,
        "bystander_max_ms": max(written.bystander, default=float("nan")) * 1000,
        "missed": sum(len(set(range(1, last[one.trace_id] + 1)).difference(one.sequences)) for one in followed),
        "duplicated": sum(len(one.sequences) - len(set(one.sequences)) for one in followed),
        "disordered": sum(one.sequences != sorted(one.sequences) for one in followed),
        "not_ended": sum(not one.done for one in followed),
    }


def run(bench: Bench) -> Iterator[Row]:
    counts = (1, 100) if bench.settings.extent == "quick" else (1, 100, 1000, 5000)
    repetitions = min(3, bench.settings.repetitions)
    with ExitStack() as stack:
        service = stack.enter_context(bench.service())
        stage = Stage(stack)

        def rounds(followers: int, events: int, concurrency: int, interval: float, traces: int = 1) -> list[Pair]:
            return bench.take_turns(
                lambda: stage.round(service, followers, events, concurrency, interval, traces),
                lambda: stage.round(bench.baseline, followers, events, concurrency, interval, traces),
                repetitions,
            )

        stage.round(service, 1, 20, 1, 0)  # warms up
        for followers in counts:
            paced = rounds(followers, 100 if followers < 1000 else 20, 1, max(0.02, followers / 5000))
            yield latency(followers, paced)
            burst = rounds(followers, max(40, min(1000, 20_000 // followers)), BURST_CONCURRENCY, 0)
            measured = followers == 1000
            yield throughput(of(followers), burst, 0.6 if measured else None)
            yield slowest(of(followers), burst, 50.0 if measured else None)
            yield losses(of(followers), paced + burst)
        many = rounds(counts[-1], 1000, BURST_CONCURRENCY, 0, traces=MANY)
        spread = f"{of(counts[-1])} of {MANY} traces"
        yield throughput(spread, many, None)
        yield slowest(spread, many, None)
        yield losses(spread, many)


def pick(pairs: list[Pair], *names: str) -> list[Pair]:
    """The same repetitions, with the sum of these details as their value."""

    def one(sample: Sample) -> Sample:
        return Sample(sum(sample.detail[name] for name in names), sample.detail)

    return [Pair(one(pair.service), one(pair.baseline)) for pair in pairs]


def latency(followers: int, pairs: list[Pair]) -> Row:
    acknowledged = middle(pairs, "service", "acknowledged_to_receipt_p50_ms")
    p99 = middle(pairs, "service", "sent_to_receipt_p99_ms")
    return Row(
        NAME,
        f"Update to receipt, {of(followers)}, median",
        "ms",
        pick(pairs, "sent_to_receipt_p50_ms"),
        "bare fan-out",
        bar=5.0 if followers == 1 else None,
        bar_is="value",
        higher_is_better=False,
        note=f"p99 {p99:.1f} ms, from acknowledgement {acknowledged:.2f} ms",
    )


def throughput(followers: str, pairs: list[Pair], bar: float | None) -> Row:
    update = middle(pairs, "service", "update_p50_ms")
    return Row(
        NAME,
        f"burst to {followers}",
        "messages/s",
        pick(pairs, "messages_per_second"),
        "bare fan-out",
        bar=bar,
        note=f"{BURST_CONCURRENCY} Updates at a time, median {update:.1f} ms",
    )


def slowest(followers: str, pairs: list[Pair], bar: float | None) -> Row:
    own, base = middle(pairs, "service", "update_max_ms"), middle(pairs, "baseline", "update_max_ms")
    return Row(
        NAME,
        f"slowest write of another trace, {followers}",
        "ms",
        pick(pairs, "bystander_max_ms"),
        "bare fan-out",
        bar=bar,
        bar_is="value",
        higher_is_better=False,
        note=f"slowest Update of the burst itself {own:.0f} ms (baseline {base:.0f})",
    )


def losses(followers: str, pairs: list[Pair]) -> Row:
    messages = sum(pair.service.detail["messages"] for pair in pairs)
    return Row(
        NAME,
        f"missed, duplicated, disordered, cut off, {followers}",
        "",
        pick(pairs, "missed", "duplicated", "disordered", "not_ended"),
        "bare fan-out",
        bar=0.0,
        bar_is="value",
        higher_is_better=False,
        must=True,
        note=f"of {messages:,.0f} messages",
    )


def of(followers: int) -> str:
    return f"{followers:,} follower{'s' if followers > 1 else ''}"
