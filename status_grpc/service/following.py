"""Following a trace to its end, and waiting for it.

The order of operations closes the race with writers: subscribe to the wake-up, then read, then wait. A wake-up carries
no data and may be lost; the store is the truth.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, TypeVar

from status_grpc.domain.errors import (
    CursorAhead,
    Draining,
    HistoryChanged,
    Overloaded,
    PathNotFound,
    StatusError,
    StreamTooOld,
    TraceNotFound,
)
from status_grpc.domain.events import TraceEvent
from status_grpc.domain.traces import Trace
from status_grpc.service.feeds import Feeds, TraceFeed
from status_grpc.service.waking import Signal
from status_grpc.storage.store import Store

#: How far the clocks of replicas may differ: a trace that another one creates while we begin to wait for a new one may
#: carry an earlier time than ours.
_CLOCK_SKEW = timedelta(minutes=1)
_BASELINE_TRACES = 1000
_RETRY_AFTER = timedelta(milliseconds=250)
_STORE_RETRY_SECONDS = 1.0
#: How many streams a drain ends without spreading them, and else the time for each: a hundred resume in a second.
_END_AT_ONCE = 2
_SECONDS_PER_END = 0.01
_TIMER_SLACK_SECONDS = 0.002

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """What to follow: a trace, or the newest trace created with a path."""

    trace_id: str = ""
    s3_path: str = ""
    wait_for_trace: bool = False
    #: Consider only traces created after the call was registered, and wait for one.
    new_only: bool = False
    #: Consider only traces created after this time, and wait for one.
    created_after: datetime | None = None

    @property
    def waits(self) -> bool:
        """Whether a trace that does not exist yet is waited for."""
        return self.wait_for_trace or self.new_only or self.created_after is not None


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a follower stands: it has everything up to `sequence`, whose event has the id `event_id` (if known)."""

    sequence: int = 0
    event_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where a stream stands; see tracestatus.v1.Checkpoint."""

    trace_id: str
    sequence: int
    caught_up: bool = False
    done: bool = False
    server_time: datetime
    read_time: datetime | None = None
    last_heard_time: datetime | None = None
    trace: Trace | None = None


FollowItem: TypeAlias = Sequence[TraceEvent] | Checkpoint


@dataclass(frozen=True, slots=True)
class FollowSettings:
    """How streams live. Seconds, except where said."""

    checkpoint_seconds: float = 15.0
    #: Streams end after this time, give or take a tenth, so that load moves to new replicas; clients resume.
    longest_seconds: float = 900.0
    #: How many may follow or wait in this process.
    most_followers: int = 10_000
    most_followers_per_caller: int = 10_000


class Following:
    """Serves those who follow and those who wait."""

    def __init__(self, store: Store, feeds: Feeds, settings: FollowSettings) -> None:
        self._store = store
        self._feeds = feeds
        self._settings = settings
        self._callers: dict[str, int] = {}
        self._followers = 0
        self._seats: set[_Seat] = set()
        self._drain_began: float | None = None
        self._drain_seconds = 0.0

    @property
    def followers(self) -> int:
        """How many follow or wait now."""
        return self._followers

    def lags(self) -> list[int]:
        """Return how many events each follower has yet to be given, of those that its feed knows."""
        return [
            max(0, feed.trace.last_sequence - seat.sequence)
            for seat in list(self._seats)
            if (feed := seat.feed) is not None and feed.trace is not None
        ]

    def drain(self, most_seconds: float) -> int:
        """End all streams and waits. Return their number.

        Their ends are spread, so that their clients do not all resume at once: over 10 ms for each of them, and at most
        `most_seconds`. One or two end at once.
        """
        self._drain_began = asyncio.get_running_loop().time()
        count = self._followers
        self._drain_seconds = 0.0 if count <= _END_AT_ONCE else min(most_seconds, count * _SECONDS_PER_END)
        for signal in self._feeds.all_signals():
            signal.set()
        return count

    async def follow(
        self, target: Target, cursor: Cursor = Cursor(), *, caller: str = ""
    ) -> AsyncGenerator[FollowItem, None]:
        """Yield a checkpoint, the history after the cursor, and then what happens, until the trace is done.

        Events come in non-empty runs, in order. The last item is a checkpoint with `done`. Raises TraceNotFound,
        PathNotFound, CursorAhead, HistoryChanged, Overloaded, Draining and StreamTooOld.
        """
        seat = _Seat(self._settings)
        with self._counted(caller), _Search(self._store, self._feeds, seat.signal, target) as search:
            feed = await search.look()
            while feed is None:
                if not target.waits:
                    raise _not_found(target)
                yield Checkpoint(trace_id="", sequence=cursor.sequence, server_time=datetime.now(UTC))
                await self._wait(seat)
                feed = await _unless_away(search.look())
            await self._check(feed, cursor)
            seat.feed, seat.sequence = feed, cursor.sequence
            self._seats.add(seat)
            try:
                async for item in self._follow_trace(feed, cursor, seat):
                    yield item
            finally:
                self._seats.discard(seat)

    async def _follow_trace(self, feed: TraceFeed, cursor: Cursor, seat: _Seat) -> AsyncGenerator[FollowItem, None]:
        sequence, event_id = cursor.sequence, cursor.event_id
        yield _checkpoint(feed, sequence, full=True)
        told_caught_up = False
        while True:
            events = await _unless_away(feed.events_after(sequence, event_id))
            trace = feed.trace
            assert trace is not None
            if events:
                yield events
                seat.sequence = sequence = events[-1].sequence
                event_id = events[-1].trace_event_id
                seat.heard()
                seat.signal.get_on()
                self._raise_if_over(seat)
            elif sequence < trace.last_sequence:  # the store could not be read
                if await self._wait(seat, asyncio.get_running_loop().time() + _STORE_RETRY_SECONDS):
                    yield _checkpoint(feed, sequence)
            elif trace.done:
                yield _checkpoint(feed, sequence, caught_up=True, done=True, full=True)
                return
            elif not told_caught_up:
                told_caught_up = True
                yield _checkpoint(feed, sequence, caught_up=True, full=True)
                seat.heard()
            elif await self._wait(seat):
                yield _checkpoint(feed, sequence, caught_up=True)

    async def _check(self, feed: TraceFeed, cursor: Cursor) -> None:
        """Raise if the cursor is not one of this trace's history. The feed has just been read."""
        trace = feed.trace
        if feed.broken or trace is None:
            raise HistoryChanged
        if cursor.sequence > trace.last_sequence:
            raise CursorAhead(f"after_sequence is {cursor.sequence}, but the trace's last is {trace.last_sequence}")
        if cursor.event_id:
            (event,) = await self._store.read_events(trace, after=cursor.sequence - 1, count=1, most_bytes=0)
            if event.trace_event_id != cursor.event_id:
                raise HistoryChanged(
                    f"event {cursor.sequence} of this trace is not {cursor.event_id!r}: the history has changed, "
                    "start again from sequence 0"
                )

    async def wait(self, target: Target, *, until: float, caller: str = "") -> Trace | None:
        """Return the trace when it is done, or as it is at `until` in the loop's time; None if it does not exist then.

        Raises TraceNotFound, PathNotFound, Overloaded and Draining.
        """
        loop = asyncio.get_running_loop()
        seat = _Seat(self._settings)
        seat.ends_at = float("inf")  # a wait has an end of its own
        # A timer of its own: the shared one is too coarse for a deadline that is near. It may fire a moment early.
        timer = loop.call_at(until + _TIMER_SLACK_SECONDS, seat.signal.set)
        try:
            return await self._wait_until(target, seat, until, caller)
        finally:
            timer.cancel()

    async def _wait_until(self, target: Target, seat: _Seat, until: float, caller: str) -> Trace | None:
        loop = asyncio.get_running_loop()
        with self._counted(caller), _Search(self._store, self._feeds, seat.signal, target) as search:
            feed = await search.look()
            while feed is None:
                if not target.waits:
                    raise _not_found(target)
                if loop.time() >= until:
                    return None
                await self._wait(seat, until)
                if loop.time() < until:
                    feed = await _unless_away(search.look())
            while feed.trace is not None and not feed.trace.done and loop.time() < until and not feed.broken:
                await self._wait(seat, until)
            return feed.trace

    async def _wait(self, seat: _Seat, until: float = float("inf")) -> bool:
        """Wait for a signal; return whether it is time for a checkpoint. Raises when the stream's time is over."""
        await seat.signal.wait(min(seat.next_checkpoint, self._ends_at(seat), until))
        self._raise_if_over(seat)
        if asyncio.get_running_loop().time() < seat.next_checkpoint:
            return False
        seat.heard()
        return True

    def _ends_at(self, seat: _Seat) -> float:
        if self._drain_began is None:
            return seat.ends_at
        return min(seat.ends_at, self._drain_began + seat.place_in_drain * self._drain_seconds)

    def _raise_if_over(self, seat: _Seat) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._ends_at(seat):
            raise StreamTooOld(retry_after=timedelta()) if now >= seat.ends_at else Draining(retry_after=_RETRY_AFTER)

    @contextmanager
    def _counted(self, caller: str) -> Iterator[None]:
        settings = self._settings
        of_caller = self._callers.get(caller, 0)
        if self._followers >= settings.most_followers or of_caller >= settings.most_followers_per_caller:
            raise Overloaded("too many streams are open; try again later", retry_after=timedelta(seconds=5))
        self._followers += 1
        self._callers[caller] = of_caller + 1
        try:
            yield
        finally:
            self._followers -= 1
            self._callers[caller] -= 1
            if not self._callers[caller]:
                del self._callers[caller]


class _Seat:
    """One who follows: its wake-up and its time."""

    def __init__(self, settings: FollowSettings) -> None:
        now = asyncio.get_running_loop().time()
        self.signal = Signal()
        self._checkpoint_seconds = settings.checkpoint_seconds
        self.next_checkpoint = now + settings.checkpoint_seconds
        self.ends_at = now + settings.longest_seconds * random.uniform(0.9, 1.1)  # noqa: S311
        #: Where in the time of a drain its end lies, 0 to 1.
        self.place_in_drain = random.random()  # noqa: S311
        #: What it follows, once that is known, and what it has been given of it.
        self.feed: TraceFeed | None = None
        self.sequence = 0

    def heard(self) -> None:
        """Note that the follower is being told something: the next checkpoint is due an interval from now."""
        self.next_checkpoint = asyncio.get_running_loop().time() + self._checkpoint_seconds


class _Search:
    """Finds the trace that a target means, and keeps the subscription to it for as long as the `with` lasts."""

    def __init__(self, store: Store, feeds: Feeds, signal: Signal, target: Target) -> None:
        self._store = store
        self._feeds = feeds
        self._signal = signal
        self._target = target
        self._began = datetime.now(UTC)
        self._feed: TraceFeed | None = None
        #: The traces that existed when a new_only call was registered.
        self._baseline: set[str] | None = None

    def __enter__(self) -> _Search:
        if self._target.trace_id:
            self._feed = self._feeds.join(self._target.trace_id, self._signal)
        else:
            self._feeds.watch_path(self._target.s3_path, self._signal)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._target.s3_path:
            self._feeds.unwatch_path(self._target.s3_path, self._signal)
        if self._feed is not None:
            self._feeds.leave(self._feed, self._signal)

    async def look(self) -> TraceFeed | None:
        """Return the feed of the trace, freshly read; None while there is no such trace."""
        if self._feed is None:
            trace_id = await self._newest()
            if trace_id is None:
                return None
            self._feed = self._feeds.join(trace_id, self._signal)
            self._feeds.unwatch_path(self._target.s3_path, self._signal)
        await self._feed.refresh()
        return None if self._feed.trace is None else self._feed

    async def _newest(self) -> str | None:
        target = self._target
        if target.new_only and target.created_after is None:
            return await self._newest_since_registration()
        found = await self._store.newest_created_with(target.s3_path, created_after=target.created_after, count=1)
        return found[0][0] if found else None

    async def _newest_since_registration(self) -> str | None:
        found = await self._store.newest_created_with(
            self._target.s3_path, created_after=self._began - _CLOCK_SKEW, count=_BASELINE_TRACES
        )
        if self._baseline is None:
            self._baseline = {trace_id for trace_id, _ in found}
        return next((trace_id for trace_id, _ in found if trace_id not in self._baseline), None)


def _checkpoint(
    feed: TraceFeed,
    sequence: int,
    *,
    caught_up: bool = False,
    done: bool = False,
    full: bool = False,
) -> Checkpoint:
    trace = feed.trace
    return Checkpoint(
        trace_id=feed.trace_id,
        sequence=sequence,
        caught_up=caught_up,
        done=done,
        server_time=datetime.now(UTC),
        read_time=feed.read_time,
        last_heard_time=trace.last_heard_time if trace else None,
        trace=trace if full else None,
    )


def _not_found(target: Target) -> TraceNotFound:
    if target.trace_id:
        return TraceNotFound(f"there is no trace {target.trace_id!r}")
    return PathNotFound(f"no trace was created with the path {target.s3_path!r}")


async def _unless_away(reading: Awaitable[T]) -> T | None:
    """Return what is read, or None when the database is away: a follower stays, and catches up when it is back."""
    try:
        return await reading
    except StatusError as error:
        if error.passing:
            return None
        raise
