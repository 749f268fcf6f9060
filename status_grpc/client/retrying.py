"""When a call that failed is made again: pure decisions about time and errors."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from status_grpc.domain.errors import DeadlineExceeded, Internal, PassingError, StatusError, Unavailable


class NotConnected(Unavailable):
    """No connection can be made: the call has not been sent."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before the next attempt, in seconds: grows from `first` to `longest`, at random within it."""

    first: float = 0.1
    longest: float = 5.0
    factor: float = 2.0

    def delay(self, failures: int, chance: float) -> float:
        """Return the delay after so many failures in a row; `chance` is a random number from 0 to 1."""
        # The exponent is bounded: a follower may fail for days.
        ceiling = min(self.longest, self.first * self.factor ** min(failures - 1, 32))
        return ceiling * (0.5 + chance / 2)


#: An INTERNAL that carries no incident was not made by the server but by gRPC or a proxy between: it may pass, or not.
_ATTEMPTS_FOR_FOREIGN_ERRORS = 3


def may_pass(error: StatusError, failures: int) -> bool:
    """Return whether the same call may succeed later, after so many failures in a row."""
    if isinstance(error, PassingError | DeadlineExceeded):
        return True
    return isinstance(error, Internal) and not error.incident and failures < _ATTEMPTS_FOR_FOREIGN_ERRORS


class Attempts:
    """The attempts of one call, from now on: how long each may take, and whether there is another.

    `timeout` is for all of them, `attempt_timeout` for each, `connect_timeout` for those before there is a connection;
    in seconds, None for no limit. `clock` is monotonic.
    """

    def __init__(
        self,
        timeout: float | None,
        attempt_timeout: float,
        *,
        connect_timeout: float | None = None,
        clock: Callable[[], float],
        chance: Callable[[], float] = random.random,
        backoff: Backoff = Backoff(),
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._backoff = backoff
        self._attempt_timeout = attempt_timeout
        self._deadline = None if timeout is None else clock() + timeout
        self._connect_deadline = None if connect_timeout is None else clock() + connect_timeout
        self._failures = 0

    def remaining(self) -> float | None:
        """Return how long there is until the deadline; None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - self._clock())

    def next_timeout(self) -> float:
        """Return how long the next attempt may take."""
        remaining = self.remaining()
        return self._attempt_timeout if remaining is None else min(self._attempt_timeout, remaining)

    def succeeded(self) -> None:
        """Note that an attempt succeeded: the next failure is the first one again."""
        self._failures = 0

    def failed(self, error: StatusError) -> float:
        """Return how long to wait before the next attempt.

        Raises the error when it will not pass, or not before the deadline.
        """
        self._failures += 1
        if not may_pass(error, self._failures):
            raise error
        delay = self._backoff.delay(self._failures, self._chance())
        if isinstance(error, PassingError):
            delay = max(delay, error.retry_after.total_seconds())
        remaining = self.remaining()
        if remaining is not None and delay >= remaining:
            raise error
        limit = self._connect_deadline if isinstance(error, NotConnected) else None
        if limit is not None and self._clock() + delay >= limit:
            raise error
        return delay


class Patience:
    """How long somebody who waits puts up with errors that may pass: an outage may last so long, then they are raised.

    Nobody knows yet whether the server exists at all: until the first sign of life the patience is `first_contact`, or
    `connect_timeout` when there is not even a connection.
    Times are in seconds, `clock` is monotonic.
    """

    def __init__(
        self, first_contact: float, outage: float, *, connect_timeout: float | None = None, clock: Callable[[], float]
    ) -> None:
        self._outage = outage
        self._clock = clock
        self._attempts = Attempts(first_contact, first_contact, connect_timeout=connect_timeout, clock=clock)

    def alive(self) -> None:
        """Note a sign of life."""
        self._attempts = Attempts(self._outage, self._outage, clock=self._clock)

    def failed(self, error: StatusError) -> float:
        """Return how long to wait before the next attempt. Raises the error when it will not pass or has lasted."""
        return self._attempts.failed(error)
