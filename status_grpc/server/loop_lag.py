"""Lag of the event loop, for which every call waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

#: How often the loop is expected to run, in seconds.
PULSE_SECONDS = 1.0
#: The worst lag of so many pulses is reported, so that a scrape every 15 to 60 s misses none.
_KEPT_PULSES = 60


class LoopPulse:
    """Calls `on_pulse` once a second from the event loop, and notes its lag."""

    def __init__(self, on_pulse: Callable[[], None] | None) -> None:
        self._on_pulse = on_pulse
        self._lags = [0.0]
        self._task: asyncio.Task[None] | None = None

    @property
    def worst_lag(self) -> float:
        """The worst lag of the last minute, in seconds."""
        return max(self._lags)

    def start(self) -> None:
        """Begin to pulse."""
        self._task = asyncio.create_task(self._run(), name="pulse")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._on_pulse is not None:
                self._on_pulse()
            due = loop.time() + PULSE_SECONDS
            await asyncio.sleep(PULSE_SECONDS)
            self._lags = [*self._lags[1 - _KEPT_PULSES :], max(0.0, loop.time() - due)]
