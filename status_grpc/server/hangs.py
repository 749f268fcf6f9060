"""Detection of workers that hang: they live, but their event loops do not run."""

from __future__ import annotations

#: A supervisor that looks later than it should has slept itself, by so many times its interval.
_OVERSLEPT = 2.0
#: A worker imports and opens its database before its first pulse: so many seconds more than later.
_START_SECONDS = 30.0


class HangDetector:
    """Finds workers whose last pulse is too long ago.

    Times are monotonic. A machine that was suspended, or a supervisor that was stopped, has seen no pulses either: the
    gap between two looks is added to every worker's last pulse.
    """

    def __init__(self, hang_seconds: float, *, look_seconds: float) -> None:
        """Workers may be silent for `hang_seconds`. `hanging` is called every `look_seconds`."""
        self._hang_seconds = hang_seconds
        self._look_seconds = look_seconds
        self._pulses: dict[int, float] = {}
        self._looked: float | None = None

    def started(self, worker: int, now: float) -> None:
        """Watch a worker from its start. Its first pulse may come 30 seconds later than the others."""
        self._pulses[worker] = now + _START_SECONDS

    def pulsed(self, worker: int, now: float) -> None:
        """Record a pulse. That of a worker which is not watched is ignored."""
        if worker in self._pulses:
            self._pulses[worker] = now

    def forget(self, worker: int) -> None:
        """Stop watching a worker that has ended."""
        self._pulses.pop(worker, None)

    def hanging(self, now: float) -> dict[int, float]:
        """Return the workers that hang, and for how many seconds each has been silent."""
        if self._looked is not None:
            slept = now - self._looked
            if slept > self._look_seconds * _OVERSLEPT:
                self._pulses = {worker: max(pulse, min(pulse + slept, now)) for worker, pulse in self._pulses.items()}
        self._looked = now
        return {worker: now - pulse for worker, pulse in self._pulses.items() if now - pulse > self._hang_seconds}
