"""How those who wait for something are woken: soon, and never so many at once that others must wait for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

#: How many are at work at a time: each sends what it was woken for and waits again. A call that arrives meanwhile
#: waits, at each of its steps, for what these have under way, and not for a thousand others.
_AT_ONCE = 32
#: After how many seconds in which none of them gets on as many again take their turn: clients that do not read.
_PATIENCE_SECONDS = 0.03


class Signal:
    """Wakes one waiting task. A signal that comes while nobody waits is kept."""

    __slots__ = ("_set", "_waiting", "due", "queued", "turn")

    def __init__(self) -> None:
        self._set = False
        self._waiting: asyncio.Future[None] | None = None
        #: When to wake the task even if nothing happens, in the loop's time.
        self.due = float("inf")
        #: Whether it is about to be set.
        self.queued = False
        #: What its task is to end when it waits again.
        self.turn: Turn | None = None

    def set(self) -> bool:
        """Wake the task; return whether it was waiting."""
        self._set = True
        if self._waiting is None or self._waiting.done():
            return False
        self._waiting.set_result(None)
        return True

    async def wait(self, due: float) -> None:
        """Return at the next signal, or soon after `due` in the loop's time."""
        self.end_turn()
        if not self._set:
            self.due = due
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        self._set = False

    def get_on(self) -> None:
        """Note that the task gets on with its turn: it takes long, and is not stuck."""
        if self.turn is not None:
            self.turn.progress += 1

    def end_turn(self) -> None:
        """Let another one take its turn: the task waits again, or will not come back."""
        if self.turn is not None:
            turn, self.turn = self.turn, None
            turn.ended()


class Turn:
    """Those who are at work at a time. When none of them gets on, they do not count in the next turn."""

    __slots__ = ("_waker", "progress", "room", "working")

    def __init__(self, waker: Waker, room: int = _AT_ONCE) -> None:
        self._waker = waker
        self.room = room
        self.working = 0
        #: How often one of them has got on, or finished.
        self.progress = 0

    def ended(self) -> None:
        """Note that one of them has finished."""
        self.working -= 1
        self.progress += 1
        self._waker.go_on(self)


class Waker:
    """Sets signals in the order in which it was told to, some at a time."""

    def __init__(self) -> None:
        self._queue: deque[Signal] = deque()
        self._turn = Turn(self)
        self._timer: asyncio.TimerHandle | None = None

    def wake(self, signals: Iterable[Signal]) -> None:
        """Set these, each once however often it is told before its turn comes."""
        if not self._queue and self._turn.room > _AT_ONCE:
            self._turn = Turn(self)
        for signal in signals:
            if not signal.queued:
                signal.queued = True
                self._queue.append(signal)
        self.go_on(self._turn)

    def go_on(self, turn: Turn) -> None:
        """Set the next ones, as far as there is room in this turn; none if it is over."""
        if turn is not self._turn:
            return
        while self._queue and turn.working < turn.room:
            signal = self._queue.popleft()
            signal.queued = False
            if signal.set():
                turn.working += 1
                signal.turn = turn
        if self._queue and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_PATIENCE_SECONDS, self._look, turn, turn.progress)

    def _look(self, turn: Turn, progress: int) -> None:
        """Begin another turn, with more room, if nobody has got on since this was to be called."""
        self._timer = None
        if turn is self._turn and turn.progress == progress:
            # Many may have stopped reading at once, behind one connection: the others shall not wait for each of them.
            self._turn = Turn(self, 2 * turn.room)
        self.go_on(self._turn)
