"""Parser of the times that options take.

It reads ISO 8601, and words such as yesterday, 15m or 2h ago.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Literal

#: What a length of time without "ago" or "in" means.
Direction = Literal["past", "future"]

_FORMS = (
    "must be now, today, yesterday, 2026-01-31 or 2026-01-31T12:00:00+01:00 (without an offset: UTC), "
    'or a length of time such as 15m, 2h or 3d, which is {meaning} (also "2h ago", "in 2h")'
)
_MEANINGS: dict[Direction, str] = {"past": "before now", "future": "from now on"}
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LENGTH = re.compile(
    r"(?P<ahead>in\s+|\+)?(?P<number>[0-9]{1,9}(?:\.[0-9]{1,6})?)\s*"
    r"(?P<unit>s|sec|secs|seconds?|m|min|mins|minutes?|h|hours?|d|days?|w|weeks?)(?P<ago>\s+ago)?"
)
_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}


def read_time(text: str, *, direction: Direction = "past", now: datetime | None = None) -> datetime:
    """Return the time that a text names, with its offset.

    A time without an offset is UTC. today, yesterday and tomorrow begin at midnight by this machine's clock, which is
    the one that times are printed by. `direction`: whether 15m is before or after now.
    Raises ValueError, whose message names the accepted forms.
    """
    words = " ".join(text.lower().split())
    try:
        time = _named(words, direction, now or datetime.now(UTC))
        if time is None:
            time = datetime.fromisoformat(text.strip())
        # Not converted to UTC: at the edges of the calendar that overflows, and the client says which years it takes.
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError(_FORMS.format(meaning=_MEANINGS[direction])) from None


def _named(words: str, direction: Direction, now: datetime) -> datetime | None:
    """Return the time that the words name, None if they name no time."""
    if words == "now":
        return now
    if words in _DAYS:
        # By the calendar and not by 24 hours: a day on which the clocks change has 23 or 25.
        day = now.astimezone().date() + timedelta(days=_DAYS[words])
        return datetime(day.year, day.month, day.day).astimezone()
    match = _LENGTH.fullmatch(words)
    if match is None or (match["ahead"] and match["ago"]):
        return None
    length = timedelta(**{_UNITS[match["unit"][0]]: float(match["number"])})
    is_ahead = bool(match["ahead"]) or (direction == "future" and not match["ago"])
    return now + length if is_ahead else now - length
