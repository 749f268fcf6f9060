"""The parts of a RunEvent that are not recorded as they came."""

from __future__ import annotations

from dataclasses import dataclass

#: How many parts of one RunEvent are named.
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One part of a RunEvent, and what became of it.

    `field` is its path in the RunEvent. `reason` is one of a few fixed texts without any values of the RunEvent.
    """

    field: str
    reason: str

    def __str__(self) -> str:
        """Return both for people."""
        return f"{self.field}: {self.reason}"


class Report:
    """The parts of one RunEvent, each once."""

    def __init__(self) -> None:
        self._parts: dict[LeftOut, None] = {}
        self._reasons: set[str] = set()

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """The parts, in the order in which they were added."""
        return tuple(self._parts)

    def add(self, field: str, reason: str) -> None:
        """Add a part, and beyond 20 only the first of each reason."""
        if len(self._parts) < _MOST_NAMED or reason not in self._reasons:
            self._reasons.add(reason)
            self._parts[LeftOut(field or "event", reason)] = None
