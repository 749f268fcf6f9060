"""A limit of log lines for each peer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

#: The peer that counts for all others once there are too many.
OTHERS = "others"


@dataclass(slots=True)
class _Window:
    ends: float
    lines: int = 0
    left_out: int = 0


class LineLimit:
    """Allows each peer `most` lines in `seconds`.

    Then `report` gets the peer and the number of lines left out. A peer's time begins with its first line. Of more than
    `peers` peers at a time the later ones share one allowance.
    """

    def __init__(
        self,
        report: Callable[[str, int], None],
        *,
        most: int = 20,
        seconds: float = 10.0,
        peers: int = 1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report = report
        self._most = most
        self._seconds = seconds
        self._peers = peers
        self._clock = clock
        #: In the order in which they end: all last equally long.
        self._windows: dict[str, _Window] = {}

    def allows(self, peer: str) -> bool:
        """Count a line of the peer and return whether to write it."""
        self.close_windows()
        window = self._windows.get(peer)
        if window is None:
            if len(self._windows) >= self._peers:
                peer = OTHERS
            window = self._windows.setdefault(peer, _Window(self._clock() + self._seconds))
        if window.lines < self._most:
            window.lines += 1
            return True
        if not window.left_out:
            self._close_later()
        window.left_out += 1
        return False

    def close_windows(self) -> None:
        """Report and forget the windows that have ended."""
        now = self._clock()
        while self._windows:
            peer, window = next(iter(self._windows.items()))
            if window.ends > now:
                return
            del self._windows[peer]
            if window.left_out:
                self._report(peer, window.left_out)

    def _close_later(self) -> None:
        """Report also when no further call fails."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        loop.call_later(self._seconds, self.close_windows)
