"""Hints: how a process learns sooner than by its next poll that another one has committed something.

A hint carries nothing and may be lost: whoever gets one reads the feed, and reads it now and then without any.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod


class Hints(ABC):
    """Hints from and to the other processes that share a database."""

    def __init__(self) -> None:
        self._given = asyncio.Event()

    @abstractmethod
    async def start(self) -> None:
        """Begin to take and give hints. A way that does not work is tried again and again, never reported here."""

    @abstractmethod
    async def close(self) -> None:
        """Give up whatever was held for it."""

    @abstractmethod
    def give(self) -> None:
        """Tell the others that this process has committed something. Many of these may become one hint."""

    async def wait(self, seconds: float) -> bool:
        """Return True at a hint, False after so many seconds without. A hint that comes while nobody waits is kept."""
        try:
            async with asyncio.timeout(seconds):
                await self._given.wait()
        except TimeoutError:
            return False
        self._given.clear()
        return True


class NoHints(Hints):
    """Polling is all there is."""

    async def start(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""

    def give(self) -> None:
        """Do nothing."""
