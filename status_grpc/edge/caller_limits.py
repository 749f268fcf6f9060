"""Limit of open calls per caller."""

from __future__ import annotations

from datetime import timedelta

from status_grpc.domain.errors import Overloaded

_RETRY_AFTER = timedelta(seconds=5)


class CallerLimits:
    """Counts the open calls of each caller.

    Streams and waits are not among them. `service.following` counts those.
    """

    def __init__(self, most_per_caller: int) -> None:
        self._most = most_per_caller
        self._open: dict[str, int] = {}

    def begin(self, caller: str) -> None:
        """Count a call. Raises Overloaded when the caller has too many open."""
        count = self._open.get(caller, 0)
        if count >= self._most:
            raise Overloaded(f"this caller has {count} calls open; try again later", retry_after=_RETRY_AFTER)
        self._open[caller] = count + 1

    def end(self, caller: str) -> None:
        """Forget a call that was counted."""
        count = self._open[caller] - 1
        if count:
            self._open[caller] = count
        else:
            del self._open[caller]
