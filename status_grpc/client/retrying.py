"""When a call that failed is made again: pure decisions about time and errors."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

from status_grpc.domain.errors import (
    DeadlineExceeded,
    Draining,
    Internal,
    PassingError,
    StatusError,
    StreamTooOld,
    Unavailable,
)

log = logging.getLogger("status_grpc")


class NotConnected(Unavailable):
    """No connection can be made: the call has not been sent."""


class Misconfigured(NotConnected):
    """The address, a TLS file or a certificate allows no connection."""


class NotTheService(Internal):
    """Something else than the status service answers at this address."""


#: What gRPC and the resolvers report of a name that does not exist. A resolver that is out of reach is not among them.
_NO_SUCH_NAME = (
    "Domain name not found",
    "returned answer with no data",
    "Misformatted domain name",
    "Failed to parse",
    "Name or service not known",
    "No address associated with hostname",
    "nodename nor servname provided",
    "invalid HostPort",
)
#: What gRPC reports of TLS that cannot work. "Handshake read failed", a server that hangs up, is not among them.
_TLS_CANNOT_WORK = (
    "CERTIFICATE_VERIFY_FAILED",
    "WRONG_VERSION_NUMBER",
    "Hostname Verification Check",
    "Tls handshake failed",
    "Ssl handshake failed",
    "security handshaker",
)


def not_connected(message: str) -> NotConnected:
    """Classify a failed connection by the message of gRPC."""
    if any(words in message for words in _NO_SUCH_NAME + _TLS_CANNOT_WORK):
        return Misconfigured(message)
    return NotConnected(message)


@dataclass(frozen=True, slots=True)
class Reconnect:
    """A failed attempt of a follower or a waiter, because of `error`.

    The next attempt follows after `delay` seconds. It is failure number `failures` since the last sign of life. Without
    a sign of life within `remaining` seconds the error is raised.
    """

    error: StatusError
    delay: float
    failures: int = 1
    remaining: float = 0.0


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


def may_pass(error: StatusError, foreign_failures: int) -> bool:
    """Return whether the same call may succeed later.

    `foreign_failures` counts INTERNALs since the last success.
    """
    if isinstance(error, PassingError | DeadlineExceeded):
        return True
    return isinstance(error, Internal) and not error.incident and foreign_failures < _ATTEMPTS_FOR_FOREIGN_ERRORS


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
        self._failures = self._foreign_failures = 0

    @property
    def failures(self) -> int:
        """How many attempts have failed in a row."""
        return self._failures

    def remaining(self) -> float | None:
        """Return how long there is until the deadline; None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - self._clock())

    def next_timeout(self) -> float:
        """Return how long the next attempt may take."""
        remaining = self.remaining()
        return self._attempt_timeout if remaining is None else min(self._attempt_timeout, remaining)

    def succeeded(self) -> None:
        """Note that an attempt succeeded: the next failure is the first one again."""
        self._failures = self._foreign_failures = 0

    def failed(self, error: StatusError) -> float:
        """Return how long to wait before the next attempt.

        Raises the error when it will not pass, or not before the deadline.
        """
        self._failures += 1
        self._foreign_failures += isinstance(error, Internal)
        if not may_pass(error, self._foreign_failures):
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
    """Decides how long a follower or a waiter retries during an outage.

    It retries for `outage` seconds without a sign of life. Before the first sign of life, errors that retrying cannot
    mend are raised at once: an unknown host name, TLS that cannot work, an answer of another service. Later such errors
    may pass. Times are in seconds, `clock` is monotonic.
    """

    def __init__(self, outage: float, *, deadline: float | None = None, clock: Callable[[], float]) -> None:
        """Begin the outage.

        No pause goes beyond `deadline`, a time of the clock. None: no limit.
        """
        self._outage = outage
        self._clock = clock
        self._deadline = deadline
        self._reached = False
        self._attempts = self._new_attempts()

    def _new_attempts(self) -> Attempts:
        return Attempts(self._outage, self._outage, clock=self._clock)

    def alive(self) -> None:
        """Note a sign of life."""
        self._reached = True
        self._attempts = self._new_attempts()

    def failed(self, error: StatusError) -> Reconnect:
        """Return when to try again. Raises the error if retrying ends."""
        if not self._reached and isinstance(error, Misconfigured | NotTheService):
            raise error
        delay = self._attempts.failed(error)
        remaining = self._attempts.remaining() or 0.0
        if self._deadline is not None:
            until_deadline = max(0.0, self._deadline - self._clock())
            delay, remaining = min(delay, until_deadline), min(remaining, until_deadline)
        return Reconnect(error, delay, self._attempts.failures, remaining)


def report(reconnect: Reconnect, hook: Callable[[Reconnect], None] | None, server: str) -> None:
    """Call the hook with a failure, or log it if it begins an outage."""
    if hook is not None:
        hook(reconnect)
    elif reconnect.failures == 1 and not isinstance(reconnect.error, StreamTooOld | Draining):
        log.warning(
            "no answer from the status service at %s, retrying for %.0f s: %s",
            server,
            reconnect.remaining,
            reconnect.error.message,
        )
