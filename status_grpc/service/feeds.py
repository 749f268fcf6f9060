"""What the followers of one process share: per trace one copy of its state and its latest events.

A feed is read from the store once for all its followers, whatever their number, and kept up to date by the writes of
this process as they commit, and by one reader of the change feed per process for those of others. A follower holds a
cursor and nothing else: one that falls behind what its feed remembers reads pages from the store, and costs no memory
meanwhile.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from status_grpc.domain.decisions import Decision, Heard, Recorded
from status_grpc.domain.errors import HistoryChanged, StatusError
from status_grpc.domain.events import TraceEvent
from status_grpc.domain.traces import Trace
from status_grpc.service.waking import Signal, Waker
from status_grpc.storage.feed import ChangeFeed, FeedCursor
from status_grpc.storage.hints import Hints
from status_grpc.storage.lanes import TraceChange
from status_grpc.storage.store import Store

log = structlog.get_logger(__name__)

#: How many events a feed remembers, and how many bytes of them.
_WINDOW_EVENTS = 512
_WINDOW_BYTES = 2 * 1024 * 1024
#: What one follower is given of them at a time: between two such runs it is seen to get on, and hears of its end.
_RUN_EVENTS = 16
_RUN_BYTES = 256 * 1024
#: What a page of history holds, and how many pages a feed remembers: followers that start together read together.
_PAGE_EVENTS = 100
_PAGE_BYTES = 512 * 1024
_PAGES = 2
#: The change feed is read no more often than this, in seconds, however many hints come.
_SPACING_SECONDS = 0.005
#: Every so many polls all that is followed is compared with the database, whatever the change feed says: it knows
#: nothing of rows that were changed by hand, or by a release that does not write to it.
_POLLS_PER_COMPARISON = 10
#: For how many polls a commit may be missing behind which others are visible. It never is, but in a database that was
#: restored under the process that writes to it.
_POLLS_PER_GAP = 5


class _Reading:
    """When the change feed was last read to its end: whatever it does not name has not changed before."""

    time: datetime | None = None


class TraceFeed:
    """One trace, as its followers in this process see it."""

    def __init__(
        self, trace_id: str, store: Store, wake: Callable[[Iterable[Signal]], None], reading: _Reading
    ) -> None:
        self.trace_id = trace_id
        self.signals: set[Signal] = set()
        #: The state, None while the trace does not exist.
        self.trace: Trace | None = None
        #: Whether the history that was followed is no longer that of the trace.
        self.broken = False
        self._store = store
        self._wake = wake
        self._reading_of_all = reading
        self._read_time: datetime | None = None
        # The revision that the trace is known to have reached, though it may not have been read yet.
        self._announced = 0
        # The latest events, without a gap; they need not reach up to the state's last_sequence.
        self._window: deque[TraceEvent] = deque()
        self._window_bytes = 0
        self._pages: OrderedDict[int, asyncio.Task[list[TraceEvent]]] = OrderedDict()
        self._publications = 0
        self._reading: asyncio.Task[None] | None = None
        self._next_reading: asyncio.Task[None] | None = None

    @property
    def is_behind(self) -> bool:
        """Whether the trace is known to be further than the state."""
        return self._announced > (self.trace.revision if self.trace else 0)

    @property
    def read_time(self) -> datetime | None:
        """When the store was last read successfully for this trace: the state is at least as new."""
        of_all = self._reading_of_all.time
        if self._read_time is None or of_all is None or self.is_behind:
            return self._read_time
        return max(self._read_time, of_all)

    def announce(self, revision: int) -> None:
        """Take note that the trace has reached this revision; read it if that is news."""
        if revision > self._announced:
            self._read_time = self.read_time
            self._announced = revision
        if self.is_behind:
            self.refresh_soon()

    def refresh_soon(self) -> None:
        """Read the store, though nobody waits for it."""
        self.refresh().add_done_callback(_seen)

    def publish(self, decision: Recorded | Heard) -> None:
        """Take in what this process has committed, in the order of its commits."""
        self._publications += 1
        trace, known = decision.trace, self.trace
        event = decision.event if isinstance(decision, Recorded) else None
        if known is not None:
            if _contradicts(known, decision):
                return self._break("an event became another one")
            if trace.revision != known.revision + 1:
                return self.announce(trace.revision)  # no news, or others wrote in between
        if event is not None:
            self._remember(event)
        self.trace = trace
        return self._wake(self.signals)

    def refresh(self) -> asyncio.Future[None]:
        """Read the store; done when the state is at least as new as this call. All who ask meanwhile share one read."""
        if self._next_reading is None:
            self._next_reading = asyncio.create_task(self._refresh_after(self._reading))
            self._next_reading.add_done_callback(_seen)
        return asyncio.shield(self._next_reading)

    async def _refresh_after(self, reading: asyncio.Task[None] | None) -> None:
        if reading is not None:
            await asyncio.wait([reading])
        # Who asks from here on needs another read: this one may not see what they know to be written.
        self._reading, self._next_reading = self._next_reading, None
        await self._refresh()

    async def _refresh(self) -> None:
        began, publications = datetime.now(UTC), self._publications
        trace = await self._store.get_trace(self.trace_id)
        if trace and self.trace and _is_of_another_history(trace, self.trace):
            return self._break("an event became another one")
        if _older(trace, self.trace):
            if publications == self._publications:
                self._break("the trace went back")
            return None  # else this process has published something newer meanwhile
        self._read_time = max(self._read_time or began, began)
        if trace is not None and (self.trace is None or trace.revision != self.trace.revision):
            await self._catch_up(trace)
        return None

    async def _catch_up(self, trace: Trace) -> None:
        """Take in what others wrote: into the window if that follows on, else followers find it in pages."""
        if self._window:
            last = self._window[-1]
            events = await self._store.read_events(
                trace, after=last.sequence - 1, count=_PAGE_EVENTS, most_bytes=_PAGE_BYTES
            )
            if not events or events[0].trace_event_id != last.trace_event_id:
                return self._break("an event became another one")
            for event in events:
                if event.sequence > self._window[-1].sequence:
                    self._remember(event)
        if not _older(trace, self.trace):
            self.trace = trace
        return self._wake(self.signals)

    def _break(self, cause: str) -> None:
        log.warning("the history of a followed trace has changed", trace_id=self.trace_id, cause=cause)
        self.broken = True
        self._wake(self.signals)

    def _remember(self, event: TraceEvent) -> None:
        if self._window and event.sequence != self._window[-1].sequence + 1:
            self._window.clear()
            self._window_bytes = 0
        self._window.append(event)
        self._window_bytes += _size(event)
        while len(self._window) > _WINDOW_EVENTS or (self._window_bytes > _WINDOW_BYTES and len(self._window) > 1):
            self._window_bytes -= _size(self._window.popleft())

    def forget_pages(self) -> None:
        """Drop the pages of history: those who started together have read them."""
        self._pages.clear()

    async def events_after(self, cursor: int, event_id: str) -> Sequence[TraceEvent]:
        """Return the events that follow `cursor`, at least one if the state has one; empty when caught up.

        `event_id` is the id of the event at the cursor, empty if that is not known. Raises HistoryChanged when another
        one is there now, Unavailable when the store cannot be read.
        """
        if self.broken:
            raise HistoryChanged
        trace, window = self.trace, self._window
        if trace is None or cursor >= trace.last_sequence:
            return ()
        if window and window[0].sequence <= cursor + 1 <= window[-1].sequence:
            return self._run_of_window(cursor + 1 - window[0].sequence)
        page = await self._page(trace, cursor)
        if cursor and event_id and page[0].trace_event_id != event_id:
            raise HistoryChanged
        return page[1:] if cursor else page

    def _run_of_window(self, first: int) -> list[TraceEvent]:
        """Return some events of the window: a follower that does not read keeps what it was given."""
        run: list[TraceEvent] = []
        size = 0
        for index in range(first, min(len(self._window), first + _RUN_EVENTS)):
            event = self._window[index]
            size += event.encoded_bytes
            if run and size > _RUN_BYTES:
                break
            run.append(event)
        return run

    async def _page(self, trace: Trace, cursor: int) -> list[TraceEvent]:
        """Return a page of history from the event at the cursor on (it tells whether the history is still the same)."""
        task = self._pages.get(cursor)
        if task is None or _failed(task):
            task = self._pages[cursor] = asyncio.create_task(self._read_page(trace, cursor))
            task.add_done_callback(_seen)
            while len(self._pages) > _PAGES:
                self._pages.popitem(last=False)
        return await asyncio.shield(task)

    async def _read_page(self, trace: Trace, cursor: int) -> list[TraceEvent]:
        anchor = 1 if cursor else 0
        page = await self._store.read_events(
            trace,
            after=cursor - anchor,
            count=_PAGE_EVENTS + anchor,
            most_bytes=_PAGE_BYTES,
            at_least=1 + anchor,
        )
        if len(page) <= anchor:
            raise HistoryChanged
        return page


def _size(event: TraceEvent) -> int:
    """Return how large an event is, with something for the objects around it; the same at all times."""
    return 1000 + event.encoded_bytes


def _contradicts(known: Trace, decision: Recorded | Heard) -> bool:
    """Return whether what was committed cannot have followed, or come before, the state that is known."""
    trace = decision.trace
    if trace.last_sequence == known.last_sequence:
        return trace.last_event_id != known.last_event_id
    if isinstance(decision, Recorded) and decision.event.sequence == known.last_sequence + 1:
        return decision.after_event_id != known.last_event_id
    return False


def _is_of_another_history(trace: Trace, known: Trace) -> bool:
    """Return whether a state cannot have come before, nor after, the one that is known."""
    if trace.last_sequence == known.last_sequence:
        return trace.last_event_id != known.last_event_id
    is_older = trace.last_sequence < known.last_sequence
    return trace.revision == known.revision or is_older != (trace.revision < known.revision)


def _older(trace: Trace | None, known: Trace | None) -> bool:
    """Return whether a state is from before, or beside, the one that is known."""
    return known is not None and (
        trace is None or trace.revision < known.revision or trace.create_time != known.create_time
    )


@dataclass(slots=True)
class FeedCounts:
    """What the change feed has been read for, and what was found: for those who watch the server."""

    #: Readings after a hint, and after a while without one.
    hinted_reads: int = 0
    polled_reads: int = 0
    #: Changes that those found, also the ones of this process. Many found by polls: hints do not arrive.
    hinted_changes: int = 0
    polled_changes: int = 0
    #: How often all that is followed was compared with the database.
    comparisons: int = 0
    #: How often the database could not be read.
    failures: int = 0


class Feeds:
    """The feeds of this process: hands them out, keeps them up to date, and wakes who waits."""

    def __init__(self, store: Store, changes: ChangeFeed, hints: Hints, *, poll_seconds: float) -> None:
        self._store = store
        self._changes = changes
        self._hints = hints
        self._poll_seconds = poll_seconds
        self.counts = FeedCounts()
        self._hinted = False
        self._feeds: dict[str, TraceFeed] = {}
        self._path_signals: dict[str, set[Signal]] = {}
        self._path_created: dict[str, datetime] = {}
        self._waker = Waker()
        self._tasks: list[asyncio.Task[None]] = []
        self._reading = _Reading()
        self._somebody_waits = asyncio.Event()
        # Where the change feed was read to; None: not at all yet, or its place was lost.
        self._cursor: FeedCursor | None = None
        # What has changed and has not been read yet, and what could not be compared.
        self._behind: set[TraceFeed] = set()
        self._doubted: set[TraceFeed] = set()
        self._gap_since = float("inf")
        self._next_comparison = self._next_forgetting = float("-inf")

    @property
    def traces(self) -> int:
        """How many traces are followed."""
        return len(self._feeds)

    def start(self) -> None:
        """Begin to read the change feed."""
        self._tasks = [asyncio.create_task(self._run(), name="feed"), asyncio.create_task(self._tick(), name="tick")]

    async def close(self) -> None:
        """Stop reading."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def join(self, trace_id: str, signal: Signal) -> TraceFeed:
        """Return the trace's feed, which from now on sets the signal whenever it changes."""
        feed = self._feeds.get(trace_id)
        if feed is None or feed.broken:
            feed = self._feeds[trace_id] = TraceFeed(trace_id, self._store, self._waker.wake, self._reading)
        feed.signals.add(signal)
        self._somebody_waits.set()
        return feed

    def leave(self, feed: TraceFeed, signal: Signal) -> None:
        """Undo `join`; a feed that nobody follows is forgotten."""
        feed.signals.discard(signal)
        signal.end_turn()
        if not feed.signals and self._feeds.get(feed.trace_id) is feed:
            del self._feeds[feed.trace_id]

    def watch_path(self, s3_path: str, signal: Signal) -> None:
        """From now on set the signal when a trace is created with the path."""
        self._path_signals.setdefault(s3_path, set()).add(signal)
        self._somebody_waits.set()

    def unwatch_path(self, s3_path: str, signal: Signal) -> None:
        """Undo `watch_path`."""
        signal.end_turn()
        signals = self._path_signals.get(s3_path)
        if signals is not None:
            signals.discard(signal)
            if not signals:
                del self._path_signals[s3_path]
                self._path_created.pop(s3_path, None)

    def publish(self, decisions: Iterable[Decision]) -> None:
        """Tell followers in this process what it has committed."""
        if not self._feeds and not self._path_signals:
            return
        for decision in decisions:
            if isinstance(decision, Recorded):
                event = decision.event
                if event.sequence == 1 and event.s3_path in self._path_signals:
                    self._waker.wake(self._path_signals[event.s3_path])
                self._publish_to(event.trace_id, decision)
            elif isinstance(decision, Heard):
                self._publish_to(decision.trace.trace_id, decision)

    def _publish_to(self, trace_id: str, decision: Recorded | Heard) -> None:
        feed = self._feeds.get(trace_id)
        if feed is not None:
            feed.publish(decision)
            if feed.is_behind:
                self._behind.add(feed)

    def all_signals(self) -> Iterable[Signal]:
        """Return the signals of all who wait in this process."""
        for feed in self._feeds.values():
            yield from feed.signals
        for signals in self._path_signals.values():
            yield from signals

    async def _tick(self) -> None:
        """Wake whose time has come: one timer for all, since a timer each would cost more than the wait itself."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(0.25, self._poll_seconds))
            now = loop.time()
            self._waker.wake([signal for signal in self.all_signals() if signal.due <= now])

    async def _run(self) -> None:
        """See what other processes have written, for as long as somebody here wants to know."""
        while True:
            if not self._feeds and not self._path_signals:
                self._cursor = None
                self._somebody_waits.clear()
                await self._somebody_waits.wait()
            try:
                self._count_read()
                await self._read()
            except StatusError:
                self.counts.failures += 1
                self._hinted = False
                # The database is away: followers keep their place, and see the old read_time. Whoever was woken may
                # have tried in vain.
                self._next_comparison = float("-inf")
                self._path_created.clear()
                await asyncio.sleep(self._poll_seconds)
                continue
            except Exception:
                self.counts.failures += 1
                log.exception("reading the change feed failed")
                await asyncio.sleep(self._poll_seconds)
            await asyncio.sleep(_SPACING_SECONDS)
            # Jittered, so that replicas that started together do not ask together.
            self._hinted = await self._hints.wait(self._poll_seconds * random.uniform(0.8, 1.0))  # noqa: S311

    def _count_read(self) -> None:
        if self._hinted:
            self.counts.hinted_reads += 1
        else:
            self.counts.polled_reads += 1

    def _count_changes(self, count: int) -> None:
        if self._hinted:
            self.counts.hinted_changes += count
        else:
            self.counts.polled_changes += count

    async def _read(self) -> None:
        loop, began = asyncio.get_running_loop(), datetime.now(UTC)
        self._behind = {feed for feed in self._behind if feed.is_behind and self._feeds.get(feed.trace_id) is feed}
        doubted = {feed for feed in self._doubted if self._feeds.get(feed.trace_id) is feed}
        self._doubted.clear()
        for feed in self._behind - doubted:  # reading it has failed
            feed.refresh_soon()
        for feed in doubted:
            self._read_until_done(feed)
        intact = self._cursor is None or await self._read_changes(self._cursor)
        if not intact:
            log.warning("the change feed is not the one that was read: reading all that is followed")
            self._changes.lost_place()
            self._cursor = None
        if self._cursor is None or self._next_comparison <= loop.time():
            # The place first: what is committed from here on is found after it.
            cursor = self._cursor or await self._changes.heads()
            await self._compare(trusting=intact)
            self._cursor = cursor
            self._next_comparison = loop.time() + _POLLS_PER_COMPARISON * self._poll_seconds
        self._reading.time = began
        if self._next_forgetting <= loop.time():
            self._next_forgetting = loop.time() + self._poll_seconds
            for feed in self._feeds.values():
                feed.forget_pages()

    async def _read_changes(self, cursor: FeedCursor) -> bool:
        """Take in the commits after the cursor; return whether that is all that has changed."""
        loop = asyncio.get_running_loop()
        intact, gap = True, False
        from_lane: str | None = ""
        while from_lane is not None:
            page = await self._changes.read(cursor, from_lane=from_lane)
            for change in page.changes:
                self._take_in(change)
            self._count_changes(len(page.changes))
            self._cursor = cursor = page.cursor
            intact &= page.intact
            gap |= page.gap
            from_lane = page.more_from
        self._gap_since = min(self._gap_since, loop.time()) if gap else float("inf")
        return intact and loop.time() <= self._gap_since + _POLLS_PER_GAP * self._poll_seconds

    def _take_in(self, change: TraceChange) -> None:
        feed = self._feeds.get(change.trace_id)
        if feed is not None:
            feed.announce(change.revision)
            if feed.is_behind:
                self._behind.add(feed)
        if change.created_with in self._path_signals:
            self._waker.wake(self._path_signals[change.created_with])

    async def _compare(self, *, trusting: bool) -> None:
        """Compare all that is followed with the database; trust that a revision means what it meant, or do not."""
        self.counts.comparisons += 1
        feeds, paths = dict(self._feeds), list(self._path_signals)
        revisions, created = await self._store.changes(list(feeds), paths)
        for trace_id, feed in feeds.items():
            if not trusting or revisions.get(trace_id) != (feed.trace.revision if feed.trace else None):
                feed.announce(revisions.get(trace_id, 0))
                self._read_until_done(feed)
        self._compare_paths(created)

    def _compare_paths(self, created: dict[str, datetime]) -> None:
        for s3_path, newest in created.items():
            signals = self._path_signals.get(s3_path)
            if signals and self._path_created.get(s3_path) != newest:
                self._path_created[s3_path] = newest
                self._waker.wake(signals)

    def _read_until_done(self, feed: TraceFeed) -> None:
        """Read the trace; if that fails, again at the next poll."""

        def look(done: asyncio.Future[None]) -> None:
            if done.cancelled() or done.exception() is not None:
                self._doubted.add(feed)

        feed.refresh().add_done_callback(look)


def _failed(task: asyncio.Task[list[TraceEvent]]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _seen(done: asyncio.Future[Any]) -> None:
    """Look at how a task ended: those who asked for it may be gone, and asyncio reports what nobody looked at."""
    if not done.cancelled():
        done.exception()
