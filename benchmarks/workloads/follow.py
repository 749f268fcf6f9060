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


class Stage:
    """The processes of a round: followers in two (one for a single follower), the writer in a third."""

    def __init__(self, stack: ExitStack) -> None:
        self._followers = [stack.enter_context(Worker()) for _ in range(2)]
        self._writer = stack.enter_context(Worker())

    def round(self, server: Server, followers: int, events: int, concurrency: int, interval: float) -> Sample:
        trace, bystander = new_traces(server.stub, 2)
        shares = [share for share in (followers // 2, followers - followers // 2) if share]
        workers = self._followers[: len(shares)]
        for worker, share in zip(workers, shares, strict=True):
            worker.start(follow, FollowJob(server.address, trace, share, PATIENCE))
        for worker in workers:
            worker.hear(READY)
        cpu = server.cpu
        self._writer.start(write, WriteJob(server.address, trace, bystander, events, concurrency, interval))
        self._writer.hear(WRITTEN)
        last = server.stub.Update(finish(trace)).event.sequence
        followed: list[Followed] = [one for worker in workers for one in worker.result()]
        cpu = server.cpu - cpu
        self._writer.tell()
        written: Written = self._writer.result()
        if last != events + 2:
            raise NotDoneError(f"{events} Updates were acknowledged, but FINISHED came as number {last}")
        return Sample(0.0, figures(written, followed, last) | {"server_cpu": cpu})


def figures(written: Written, followed: list[Followed], last: int) -> dict[str, float]:
    """What came of a round; times in milliseconds."""
    expected = range(1, last + 1)
    heard = [
        (at, sequence)
        for one in followed
        for at, sequence in zip(one.times, one.sequences, strict=True)
        if sequence in written.sent  # not the first event and the last one, which others wrote
    ]
    since_sent = [(at - written.sent[sequence]) * 1000 for at, sequence in heard]
    since_acknowledged = [(at - written.acknowledged[sequence]) * 1000 for at, sequence in heard]
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
        "missed": sum(len(set(expected).difference(one.sequences)) for one in followed),
        "duplicated": sum(len(one.sequences) - len(set(one.sequences)) for one in followed),
        "disordered": sum(one.sequences != sorted(one.sequences) for one in followed),
        "not_ended": sum(not one.done for one in followed),
    }


def run(bench: Bench) -> Iterator[Row]:
    counts = (1, 100) if bench.settings.quick else (1, 100, 1000)
    repetitions = min(3, bench.settings.repetitions)
    with ExitStack() as stack:
        service = stack.enter_context(bench.service())
        stage = Stage(stack)

        def rounds(followers: int, events: int, concurrency: int, interval: float) -> list[Pair]:
            return bench.take_turns(
                lambda: stage.round(service, followers, events, concurrency, interval),
                lambda: stage.round(bench.baseline, followers, events, concurrency, interval),
                repetitions,
            )

        stage.round(service, 1, 20, 1, 0)  # warms up
        for followers in counts:
            paced = rounds(followers, 100 if followers < 1000 else 20, 1, max(0.02, followers / 5000))
            yield latency(followers, paced)
            burst = rounds(followers, max(40, min(1000, 20_000 // followers)), BURST_CONCURRENCY, 0)
            yield throughput(followers, burst)
            yield slowest(followers, burst)
            yield losses(followers, paced + burst)


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


def throughput(followers: int, pairs: list[Pair]) -> Row:
    update = middle(pairs, "service", "update_p50_ms")
    return Row(
        NAME,
        f"burst to {of(followers)}",
        "messages/s",
        pick(pairs, "messages_per_second"),
        "bare fan-out",
        bar=0.6 if followers == 1000 else None,
        note=f"{BURST_CONCURRENCY} Updates at a time, median {update:.1f} ms",
    )


def slowest(followers: int, pairs: list[Pair]) -> Row:
    own, base = middle(pairs, "service", "update_max_ms"), middle(pairs, "baseline", "update_max_ms")
    return Row(
        NAME,
        f"slowest write of another trace, {of(followers)}",
        "ms",
        pick(pairs, "bystander_max_ms"),
        "bare fan-out",
        bar=50.0 if followers == 1000 else None,
        bar_is="value",
        higher_is_better=False,
        note=f"slowest Update of the burst itself {own:.0f} ms (baseline {base:.0f})",
    )


def losses(followers: int, pairs: list[Pair]) -> Row:
    messages = sum(pair.service.detail["messages"] for pair in pairs)
    return Row(
        NAME,
        f"missed, duplicated, disordered, cut off, {of(followers)}",
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
