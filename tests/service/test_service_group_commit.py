"""Group commit: every caller has its own answer, whoever it shares a transaction with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial

import pytest
from builders import append, create
from stores import opened

from status_grpc.domain.decisions import AppendEvent, Beat, Command, Decision, Heard, Recorded, Replayed
from status_grpc.domain.errors import (
    AlreadyExists,
    Draining,
    FieldViolation,
    Internal,
    InvalidArgument,
    Overloaded,
    SequenceMismatch,
    StatusError,
    TraceNotFound,
    Unavailable,
)
from status_grpc.storage.group_commit import GroupCommit
from status_grpc.storage.store import Store


class Gate:
    """A store's commit that can be held, and that notes what came in which transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.batches: list[Sequence[Command]] = []
        self.fail_with: list[Exception] = []
        self.open = asyncio.Event()
        self.open.set()
        self.entered = asyncio.Event()

    async def commit(self, commands: Sequence[Command]) -> list[Decision]:
        self.batches.append(commands)
        self.entered.set()
        await self.open.wait()
        if self.fail_with:
            raise self.fail_with.pop(0)
        return await self._store.commit(commands)

    async def hold(self, writer: GroupCommit, command: Command) -> asyncio.Future[list[Decision]]:
        """Let the writer begin a transaction, and keep it there: what is submitted now shares the next one."""
        self.open.clear()
        self.entered.clear()
        answer = writer.submit([command])
        await self.entered.wait()
        return answer


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    async with opened(url) as database:
        yield Store(database, events_per_trace=1000)


@pytest.fixture
def gate(store: Store) -> Gate:
    return Gate(store)


@pytest.fixture
async def writer(gate: Gate) -> AsyncIterator[GroupCommit]:
    writer = GroupCommit(gate.commit, queue_commands=100, queue_bytes=1_000_000)
    writer.start()
    yield writer
    gate.open.set()
    await writer.close()


async def count(store: Store, trace_id: str) -> int:
    trace = await store.get_trace(trace_id)
    return trace.last_sequence if trace else 0


def broken(trace_id: str) -> AppendEvent:
    """Return a command that breaks the transaction it is in: half of a character, which the edges let nobody send."""
    command = append(trace_id)
    object.__setattr__(command.draft, "operation", "\ud800")
    return command


async def test_each_caller_gets_its_own_answer(writer: GroupCommit, gate: Gate) -> None:
    first = await gate.hold(writer, create("a", "one"))
    answers = [
        writer.submit([append("a", "two")]),
        writer.submit([append("missing")]),
        writer.submit([create("a", "one", user="x")]),
        writer.submit([append("a", expected_sequence=1)]),
        writer.submit([append("a", "two")]),
        writer.submit([Beat("a")]),
        writer.submit([create("b"), append("b"), append("a")]),
    ]
    gate.open.set()
    assert isinstance((await first)[0], Recorded)
    assert [[type(decision) for decision in await answer] for answer in answers] == [
        [Recorded],
        [TraceNotFound],
        [AlreadyExists],
        [SequenceMismatch],
        [Replayed],
        [Heard],
        [Recorded, Recorded, Recorded],
    ]
    assert [len(batch) for batch in gate.batches] == [1, 9], "what came meanwhile shared one transaction"


async def test_an_answer_comes_after_the_commit(writer: GroupCommit, gate: Gate, store: Store) -> None:
    answer = await gate.hold(writer, create("a"))
    await asyncio.sleep(0.05)
    assert not answer.done()
    gate.open.set()
    await answer
    assert await count(store, "a") == 1


async def test_many_callers_share_few_transactions(writer: GroupCommit, gate: Gate, store: Store) -> None:
    await writer.submit([create("a")])

    async def caller() -> None:
        for _ in range(10):
            await writer.submit([append("a")])

    await asyncio.gather(*(caller() for _ in range(50)))
    assert await count(store, "a") == 501
    assert len(gate.batches) < 100
    assert max(len(batch) for batch in gate.batches) <= GroupCommit.MOST_COMMANDS


async def test_one_caller_alone_never_waits_for_company(writer: GroupCommit, gate: Gate) -> None:
    await writer.submit([create("a")])
    writer.PATIENCE_SECONDS = writer.QUIET_SECONDS = 3600
    async with asyncio.timeout(30):
        for _ in range(5):
            await writer.submit([append("a")])


async def test_a_whole_transaction_waits_for_nobody(gate: Gate) -> None:
    writer = GroupCommit(gate.commit, queue_commands=10_000, queue_bytes=1 << 30)
    writer.start()
    first = await gate.hold(writer, create("a"))
    many = [writer.submit([append("a")]) for _ in range(40)]
    writer.PATIENCE_SECONDS = writer.QUIET_SECONDS = 3600
    whole = [writer.submit([append("a") for _ in range(GroupCommit.MOST_COMMANDS)]) for _ in range(2)]
    gate.open.set()
    async with asyncio.timeout(30):
        await asyncio.gather(first, *many, *whole)
    await writer.close()


async def test_a_transaction_waits_as_long_as_others_keep_coming(writer: GroupCommit, gate: Gate) -> None:
    first = await gate.hold(writer, create("a"))
    many = [writer.submit([append("a")]) for _ in range(39)]
    writer.PATIENCE_SECONDS, writer.QUIET_SECONDS = 3600, 0.5
    gate.open.set()
    await asyncio.gather(first, *many)
    assert [len(batch) for batch in gate.batches] == [1, 39]
    back: list[asyncio.Future[list[Decision]]] = []
    for _ in range(33):  # the 34th of 39 is the one that makes most of them
        back.append(writer.submit([append("a")]))
        await asyncio.sleep(0.02)
    assert not any(answer.done() for answer in back)
    back.append(writer.submit([append("a")]))
    await asyncio.gather(*back)
    assert [len(batch) for batch in gate.batches] == [1, 39, 34]


async def test_callers_that_keep_coming_are_waited_for_no_longer_than_patience_lasts(
    writer: GroupCommit, gate: Gate
) -> None:
    first = await gate.hold(writer, create("a"))
    many = [writer.submit([append("a")]) for _ in range(80)]
    writer.PATIENCE_SECONDS, writer.QUIET_SECONDS = 0.1, 0.05
    gate.open.set()
    await asyncio.gather(first, *many)
    async with asyncio.timeout(30):
        early = writer.submit([append("a")])
        later = 0
        while not early.done():
            writer.submit([append("a")])
            later += 1
            await asyncio.sleep(0.01)
    assert later < 50  # 70 would be most of them


async def test_callers_that_do_not_come_back_are_not_waited_for_long(writer: GroupCommit, gate: Gate) -> None:
    first = await gate.hold(writer, create("a"))
    many = [writer.submit([append("a")]) for _ in range(40)]
    writer.PATIENCE_SECONDS = 3600
    gate.open.set()
    await asyncio.gather(first, *many)
    async with asyncio.timeout(30):
        await writer.submit([append("a")])


async def test_a_transaction_is_bounded_in_commands_and_bytes(gate: Gate, store: Store) -> None:
    writer = GroupCommit(gate.commit, queue_commands=10_000, queue_bytes=1 << 30)
    writer.start()
    most = GroupCommit.MOST_COMMANDS
    first = await gate.hold(writer, create("a"))
    many = [writer.submit([append("a")]) for _ in range(most + 44)]
    large = [writer.submit([append("a", status_body={"text": "x" * 900_000})]) for _ in range(9)]
    whole = writer.submit([append("a") for _ in range(most * 2)])
    gate.open.set()
    await asyncio.gather(first, *many, *large, whole)
    sizes = [sum(c.draft.encoded_bytes for c in batch if isinstance(c, AppendEvent)) for batch in gate.batches]
    assert max(sizes) <= GroupCommit.MOST_BYTES
    *others, last = [len(batch) for batch in gate.batches]
    assert max(others) <= most
    assert last == most * 2, "what one caller submits is one transaction"
    assert await count(store, "a") == 1 + len(many) + len(large) + most * 2
    await writer.close()


async def test_a_caller_that_is_cancelled_in_the_queue_is_skipped(
    writer: GroupCommit, gate: Gate, store: Store
) -> None:
    first = await gate.hold(writer, create("a"))
    cancelled, other = writer.submit([append("a", "cancelled")]), writer.submit([append("a", "other")])
    cancelled.cancel()
    gate.open.set()
    (decision,) = await other
    assert isinstance(decision, Recorded)
    assert decision.event.sequence == 2
    await first
    assert [len(batch) for batch in gate.batches] == [1, 1]


async def test_the_write_of_a_caller_that_is_cancelled_later_stands(
    writer: GroupCommit, gate: Gate, store: Store
) -> None:
    answer = await gate.hold(writer, create("a", "one"))
    answer.cancel()
    gate.open.set()
    (decision,) = await writer.submit([create("a", "one")])
    assert isinstance(decision, Replayed)


async def test_a_full_queue_refuses_at_once_and_takes_more_later(writer: GroupCommit, gate: Gate) -> None:
    first = await gate.hold(writer, create("a"))
    queued = [writer.submit([append("a")]) for _ in range(100)]
    with pytest.raises(Overloaded) as caught:
        writer.submit([append("a")])
    assert caught.value.passing
    assert caught.value.retry_after.total_seconds() > 0
    gate.open.set()
    await asyncio.gather(first, *queued)
    assert isinstance((await writer.submit([append("a")]))[0], Recorded)


async def test_the_queue_is_bounded_in_bytes_but_takes_one_that_is_larger(writer: GroupCommit, gate: Gate) -> None:
    first = await gate.hold(writer, create("a"))
    large = append("a", status_body={"text": "x" * 2_000_000})
    queued = writer.submit([large])
    with pytest.raises(Overloaded):
        writer.submit([append("a")])
    gate.open.set()
    await asyncio.gather(first, queued)


async def test_what_is_unread_is_read_when_its_transaction_begins(writer: GroupCommit, gate: Gate) -> None:
    first = await gate.hold(writer, create("a"))
    read: list[str] = []

    def reading(event_id: str) -> Sequence[Command]:
        read.append(event_id)
        return (append("a", event_id),)

    answers = [writer.submit_unread(partial(reading, event_id), size=1) for event_id in ("one", "two")]
    await asyncio.sleep(0)
    assert not read
    gate.open.set()
    await first
    sequences = [decision.event.sequence for answer in answers for decision in await answer]  # type: ignore[union-attr]
    assert (read, sequences) == (["one", "two"], [2, 3])


async def test_what_cannot_be_read_fails_alone(writer: GroupCommit, gate: Gate, store: Store) -> None:
    first = await gate.hold(writer, create("a"))
    good = [writer.submit_unread(lambda: (append("a"),), size=1) for _ in range(2)]
    invalid = writer.submit_unread(partial(_refuse, InvalidArgument([FieldViolation("event.user", "is odd")])), size=1)
    unforeseen = writer.submit_unread(partial(_refuse, RuntimeError("a bug")), size=1)
    good.append(writer.submit_unread(lambda: (append("a"),), size=1))
    gate.open.set()
    await asyncio.gather(first, *good)
    with pytest.raises(InvalidArgument):
        await invalid
    with pytest.raises(RuntimeError, match="a bug"):
        await unforeseen
    assert await count(store, "a") == 4


def _refuse(error: Exception) -> Sequence[Command]:
    raise error


async def test_nobody_waits_for_a_transaction_that_hangs_to_be_told_that_a_request_is_not_valid(
    writer: GroupCommit, gate: Gate, store: Store
) -> None:
    first = await gate.hold(writer, create("a"))
    good = writer.submit_unread(lambda: (append("a"),), size=1)
    invalid = writer.submit_unread(partial(_refuse, InvalidArgument([FieldViolation("event.user", "is odd")])), size=1)
    with pytest.raises(InvalidArgument):
        await invalid
    later = writer.submit_unread(partial(_refuse, InvalidArgument([FieldViolation("event.user", "is odd")])), size=1)
    with pytest.raises(InvalidArgument):
        await later
    assert not first.done()
    gate.open.set()
    await asyncio.gather(first, good)
    assert await count(store, "a") == 2


async def test_what_a_cancelled_caller_sent_is_not_even_read(writer: GroupCommit, gate: Gate, store: Store) -> None:
    first = await gate.hold(writer, create("a"))
    read: list[bool] = []

    def reading() -> Sequence[Command]:
        read.append(True)
        return (append("a"),)

    writer.submit_unread(reading, size=1).cancel()
    last = writer.submit([append("a")])
    gate.open.set()
    await asyncio.gather(first, last)
    assert (read, await count(store, "a")) == ([], 2)


async def test_what_is_unread_counts_in_the_queue(writer: GroupCommit, gate: Gate) -> None:
    first = await gate.hold(writer, create("a"))
    queued = [writer.submit_unread(lambda: (append("a"),), size=10) for _ in range(100)]
    assert writer.queued == (100, 1000)
    with pytest.raises(Overloaded):
        writer.submit_unread(lambda: (append("a"),), size=10)
    gate.open.set()
    await asyncio.gather(first, *queued)
    assert writer.queued == (0, 0)


async def test_a_command_that_breaks_its_transaction_fails_alone(writer: GroupCommit, gate: Gate, store: Store) -> None:
    first = await gate.hold(writer, create("a"))
    good = [writer.submit([append("a")]) for _ in range(3)]
    bad = writer.submit([broken("a")])
    good += [writer.submit([append("a")]) for _ in range(3)]
    gate.open.set()
    await first
    sequences = [
        decision.event.sequence for answer in good for decision in await answer if isinstance(decision, Recorded)
    ]
    assert sequences == [2, 3, 4, 5, 6, 7]
    with pytest.raises(Exception, match="surrogates"):
        await bad
    assert await count(store, "a") == 7


async def test_an_item_of_a_batch_that_breaks_the_transaction_fails_alone_and_is_not_to_be_tried_again(
    writer: GroupCommit, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    await writer.submit([create("a"), create("b")])
    decisions = await writer.submit(
        [append("a"), append("missing"), append("b"), broken("a"), append("b"), append("a"), append("missing")]
    )
    assert [type(decision) for decision in decisions] == [
        Recorded,
        TraceNotFound,
        Recorded,
        Internal,
        Recorded,
        Recorded,
        TraceNotFound,
    ]
    assert (await count(store, "a"), await count(store, "b")) == (3, 3)
    failed = decisions[3]
    assert isinstance(failed, Internal)
    assert not failed.passing
    assert failed.incident in failed.message
    assert "surrogates" not in failed.message
    log = capsys.readouterr().out
    assert failed.incident in log
    assert "surrogates not allowed" in log


async def test_later_items_of_a_trace_do_not_overtake_one_that_failed_for_a_passing_reason(
    writer: GroupCommit, gate: Gate, store: Store
) -> None:
    await writer.submit([create("a"), create("b")])
    # The transaction of all breaks, then the database is away for the second command.
    gate.fail_with = [RuntimeError("broken")]
    commit, commands = gate.commit, [append("a"), append("a", "lost"), append("b"), append("a"), append("b")]

    async def away_once(batch: Sequence[Command]) -> list[Decision]:
        if list(batch) == commands[1:2]:
            raise Unavailable("away")
        return await commit(batch)

    writer._commit = away_once
    decisions = await writer.submit(commands)
    assert [type(decision) for decision in decisions] == [Recorded, Unavailable, Recorded, Unavailable, Recorded]
    assert (await count(store, "a"), await count(store, "b")) == (2, 3)


async def test_while_the_database_is_away_callers_are_told_and_afterwards_served(
    writer: GroupCommit, gate: Gate, store: Store
) -> None:
    await writer.submit([create("a")])
    gate.fail_with = [Unavailable("away")]
    first = await gate.hold(writer, append("a", "one"))
    gate.open.set()
    with pytest.raises(Unavailable):
        await first
    (decision,) = await writer.submit([append("a", "one")])
    assert isinstance(decision, Recorded)
    assert await count(store, "a") == 2


async def test_close_commits_what_is_queued_and_refuses_what_comes_after(
    writer: GroupCommit, gate: Gate, store: Store
) -> None:
    first = await gate.hold(writer, create("a"))
    queued = [writer.submit([append("a")]) for _ in range(10)]
    closing = asyncio.create_task(writer.close())
    await asyncio.sleep(0)
    with pytest.raises(Draining):
        writer.submit([append("a")])
    gate.open.set()
    await closing
    assert all(answer.done() for answer in [first, *queued])
    assert await count(store, "a") == 11
    assert not [answer.exception() for answer in queued if isinstance(answer.exception(), StatusError)]


async def test_close_does_not_wait_for_company(writer: GroupCommit, gate: Gate) -> None:
    first = await gate.hold(writer, create("a"))
    many = [writer.submit([append("a")]) for _ in range(20)]
    writer.PATIENCE_SECONDS = writer.QUIET_SECONDS = 3600
    gate.open.set()
    await asyncio.gather(first, *many)
    last = writer.submit([append("a")])
    await asyncio.sleep(0.02)
    async with asyncio.timeout(30):
        await writer.close()
    assert isinstance(last.result()[0], Recorded)
