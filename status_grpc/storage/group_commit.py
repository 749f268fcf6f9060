"""Group commit: writes that arrive while a transaction is being committed share the next one.

What arrives one at a time may be left unread until its transaction begins, and is then read together with the others:
doing one thing to many requests takes a busy server less time than doing many things to one request after another,
since neither processor nor interpreter has to begin anew with each.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter
from typing import Protocol

import structlog

from status_grpc.domain.decisions import Beat, Command, Decision
from status_grpc.domain.errors import Draining, Internal, Overloaded, StatusError

log = structlog.get_logger(__name__)

Commit = Callable[[Sequence[Command]], Awaitable[list[Decision]]]
Read = Callable[[], Sequence[Command]]


class CommitObserver(Protocol):
    """Is told of every transaction."""

    def committed(self, commands: int, waited: float, took: float, *, failed: bool) -> None:
        """Note a transaction: its commands, how long the first of them had waited for it, and its time, in seconds."""


@dataclass(slots=True)
class _Submission:
    """The commands of one caller: they share a transaction and keep their order."""

    commands: Sequence[Command]
    count: int
    size: int
    answer: asyncio.Future[list[Decision]] = field(repr=False)
    #: When it was submitted, in the time of `perf_counter`; 0 when nobody wants to know.
    submitted: float
    #: What gives the commands; None once it has.
    read: Read | None


class GroupCommit:
    """Commits what callers submit, many at a time, and answers each once its own commands are durable.

    A caller that is cancelled before its commands are taken is skipped; after that its write stands. A command that
    breaks a transaction fails alone: the others are committed again without it.
    """

    #: How much one transaction takes: more would make its callers wait without making anything faster.
    MOST_COMMANDS = 256
    MOST_BYTES = 4 * 1024 * 1024
    #: How many commands a transaction does not wait to get more of: beyond them, its own cost is small beside theirs.
    PLENTY_OF_COMMANDS = 96
    #: How long a transaction waits for callers that are about to come back, in seconds. One caller alone never waits.
    PATIENCE_SECONDS = 0.008
    #: It stops waiting sooner when nobody has come for this long.
    QUIET_SECONDS = 0.002
    #: After how many seconds what is unread is read although a transaction still runs: who sent what cannot be
    #: committed shall not wait for a database that is away.
    UNREAD_SECONDS = 0.1

    def __init__(
        self, commit: Commit, *, queue_commands: int, queue_bytes: int, observer: CommitObserver | None = None
    ) -> None:
        self._commit = commit
        self._observer = observer
        self._queue_commands = queue_commands
        self._queue_bytes = queue_bytes
        self._queue: deque[_Submission] = deque()
        self._queued_commands = 0
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._enough = 0
        self._gathered: asyncio.Future[None] | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    @property
    def queued(self) -> tuple[int, int]:
        """How many commands wait to be committed, and how many bytes of events they hold."""
        return self._queued_commands, self._queued_bytes

    def start(self) -> None:
        """Begin to commit."""
        self._task = asyncio.create_task(self._run(), name="group-commit")

    async def close(self) -> None:
        """Refuse new submissions, commit what is queued, and return when that is answered."""
        self._closing = True
        self._wake.set()
        if self._gathered is not None:
            _set(self._gathered)
        if self._task is not None:
            await self._task

    def submit(self, commands: Sequence[Command]) -> asyncio.Future[list[Decision]]:
        """Return the future decisions of the commands, in their order.

        Raises Overloaded when the queue is full and Draining after `close`. The future fails with Unavailable when the
        database did; the same commands may then be submitted again.
        """
        size = 0
        for command in commands:
            if not isinstance(command, Beat):
                size += command.draft.encoded_bytes
        return self._enqueue(commands, len(commands), size, None)

    def submit_unread(self, read: Read, *, size: int) -> asyncio.Future[list[Decision]]:
        """Return the future decision of the one command that `read` gives, when its transaction begins.

        `size` is about its number of bytes. Raises as `submit` does; what `read` raises is how the future fails.
        """
        return self._enqueue((), 1, size, read)

    def _enqueue(
        self, commands: Sequence[Command], count: int, size: int, read: Read | None
    ) -> asyncio.Future[list[Decision]]:
        if self._closing:
            raise Draining
        if self._queue and (
            self._queued_commands + count > self._queue_commands or self._queued_bytes + size > self._queue_bytes
        ):
            raise Overloaded("too many writes are waiting to be committed; try again shortly")
        answer: asyncio.Future[list[Decision]] = asyncio.get_running_loop().create_future()
        submitted = perf_counter() if self._observer is not None else 0.0
        self._queue.append(_Submission(commands, count, size, answer, submitted, read))
        self._queued_commands += count
        self._queued_bytes += size
        self._wake.set()
        if self._gathered is not None and self._has_enough():
            _set(self._gathered)
        return answer

    async def _run(self) -> None:
        active = 0
        while True:
            if not self._queue:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._gather(active)
            batch = self._take()
            if batch:
                self._read_queued_soon()
                await self._commit_batch(batch)
                self._reading_queued.cancel()
            active = len(batch) + len(self._queue)

    def _read_queued_soon(self) -> None:
        self._reading_queued = asyncio.get_running_loop().call_later(self.UNREAD_SECONDS, self._read_queued)

    def _read_queued(self) -> None:
        """Read the first that wait unread for a transaction that takes long; the others after a while."""
        unread = (submission for submission in self._queue if submission.read is not None)
        for submission in islice(unread, self.MOST_COMMANDS):
            _read(submission)
        self._read_queued_soon()

    async def _gather(self, active: int) -> None:
        """Wait a moment for most of the callers that are active: those answered last come back with their next write.

        A transaction costs much the same for one write as for fifty. Without this a busy server would commit whatever
        few have arrived each time, and spend itself on transactions.
        """
        self._enough = active * 7 // 8
        if self._has_enough() or self._closing:
            return
        loop = asyncio.get_running_loop()
        self._gathered = loop.create_future()
        self._look_again(until=loop.time() + self.PATIENCE_SECONDS, seen=None)
        await self._gathered
        if self._looking is not None:
            self._looking.cancel()
        self._gathered = None

    def _look_again(self, until: float, seen: int | None) -> None:
        """Look after a while whether more have come than were seen; None: those before us are still being answered."""
        self._looking = asyncio.get_running_loop().call_later(self.QUIET_SECONDS, self._look, until, seen)

    def _look(self, until: float, seen: int | None) -> None:
        assert self._gathered is not None
        if len(self._queue) == seen or asyncio.get_running_loop().time() >= until:
            _set(self._gathered)
        else:
            self._look_again(until, len(self._queue))

    def _has_enough(self) -> bool:
        """Return whether most of the active callers are back, or there are plenty of commands without them."""
        return len(self._queue) >= self._enough or self._queued_commands >= self.PLENTY_OF_COMMANDS

    def _take(self) -> list[_Submission]:
        batch: list[_Submission] = []
        commands = size = 0
        while self._queue:
            following = self._queue[0]
            if batch and (commands + following.count > self.MOST_COMMANDS or size + following.size > self.MOST_BYTES):
                break
            self._queue.popleft()
            self._queued_commands -= following.count
            self._queued_bytes -= following.size
            if following.read is not None and not following.answer.done():
                _read(following)
            if following.answer.done():  # the caller was cancelled, or its request is not valid
                continue
            batch.append(following)
            commands += following.count
            size += following.size
        return batch

    async def _commit_batch(self, batch: list[_Submission]) -> None:
        commands = [command for submission in batch for command in submission.commands]
        try:
            decisions = await self._transact(commands, batch[0].submitted)
        except StatusError as error:
            for submission in batch:
                _fail(submission, error)
        except Exception as error:
            await self._commit_apart(batch, error)
        else:
            position = 0
            for submission in batch:
                end = position + len(submission.commands)
                _answer(submission, decisions[position:end])
                position = end

    async def _transact(self, commands: Sequence[Command], submitted: float) -> list[Decision]:
        observer = self._observer
        if observer is None:
            return await self._commit(commands)
        began = perf_counter()
        failed = True
        try:
            decisions = await self._commit(commands)
            failed = False
            return decisions
        finally:
            observer.committed(len(commands), began - submitted, perf_counter() - began, failed=failed)

    async def _commit_apart(self, batch: list[_Submission], error: Exception) -> None:
        """Commit each submission by itself, and each command of one that fails again, so that the bad one is alone."""
        if len(batch) > 1:
            for submission in batch:
                await self._commit_batch([submission])
            return
        submission = batch[0]
        if len(submission.commands) == 1:
            _fail(submission, error)
            return
        await self._commit_one_by_one(submission)

    async def _commit_one_by_one(self, submission: _Submission) -> None:
        decisions: list[Decision] = []
        stopped: dict[str, StatusError] = {}
        for command in submission.commands:
            decision: Decision | None = stopped.get(command.trace_id)
            if decision is None:
                decision = await self._commit_alone(command, submission.submitted)
                if isinstance(decision, StatusError) and decision.passing:
                    # What comes after it in its trace must not overtake it.
                    stopped[command.trace_id] = decision
            decisions.append(decision)
        _answer(submission, decisions)

    async def _commit_alone(self, command: Command, submitted: float) -> Decision:
        try:
            return (await self._transact([command], submitted))[0]
        except StatusError as error:
            return error
        except Exception as failure:
            # It would break the next transaction as well: an error that nobody takes for a passing one.
            incident = uuid.uuid4().hex[:12]
            log.error("a write broke its transaction", trace_id=command.trace_id, incident=incident, exc_info=failure)
            return Internal(f"this write cannot be stored; the log has the cause under {incident}", incident=incident)


def _read(submission: _Submission) -> None:
    """Read what its caller sent; if that cannot be done, it is answered."""
    read, submission.read = submission.read, None
    assert read is not None
    try:
        submission.commands = read()
    except Exception as error:
        _fail(submission, error)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _answer(submission: _Submission, decisions: list[Decision]) -> None:
    if not submission.answer.done():
        submission.answer.set_result(decisions)


def _fail(submission: _Submission, error: Exception) -> None:
    if not submission.answer.done():
        submission.answer.set_exception(error)
