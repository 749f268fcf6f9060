"""Returns freed memory to the system, which the C library's allocator keeps after a burst."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from pathlib import Path

_STATM = Path("/proc/self/statm")
#: How often the process looks at its memory, in seconds.
_LOOK_SECONDS = 0.25
#: How much more than the least it has had makes a trim worth while, in bytes. A trim takes some 20 ms of a thread.
_EXCESS_BYTES = 32 * 1024 * 1024
#: The pause after a trim, in seconds. It doubles, up to the second number, while trims free little.
_PAUSES = (1.0, 60.0)


class MemoryTrimmer:
    """Calls malloc_trim while the process holds much more memory than before; does nothing without glibc or /proc.

    A header bomb left 320 MB, of which 20 MB were in use. A trim brought that to 117 MB.
    """

    def __init__(self) -> None:
        self._trim = _malloc_trim()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        if self._trim is not None and _STATM.exists():
            self._task = asyncio.create_task(self._run(self._trim), name="memory")

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, trim: Callable[[int], int]) -> None:
        least = resident_bytes()
        pause = _PAUSES[0]
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            before = resident_bytes()
            least = min(least, before)
            if before < least + _EXCESS_BYTES:
                pause = _PAUSES[0]
                continue
            await asyncio.to_thread(trim, 0)
            freed = before - resident_bytes()
            pause = _PAUSES[0] if freed > _EXCESS_BYTES // 2 else min(pause * 2, _PAUSES[1])
            await asyncio.sleep(pause)


def resident_bytes() -> int:
    """Return how much memory this process holds, from /proc/self/statm (proc(5))."""
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _malloc_trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    return trim
