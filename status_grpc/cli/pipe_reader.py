"""Ends a waiting command as soon as its output has no reader."""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from status_grpc.cli.exits import BROKEN_PIPE, UNREAD


@contextmanager
def ends_without_reader() -> Iterator[None]:
    """Context manager that ends the process when standard output loses its reader.

    A write would notice it too, and the next write may be hours away.
    """
    output = _pipe()
    if output is None:
        yield
        return
    watch = _Watch(output)
    threading.Thread(target=watch.run, name="status-grpc-pipe-reader", daemon=True).start()
    try:
        yield
    finally:
        watch.stop()


def _pipe() -> int | None:
    """Return the descriptor of standard output if it is a pipe or socket."""
    if not hasattr(select, "poll"):
        return None
    try:
        number = sys.stdout.fileno()
        mode = os.fstat(number).st_mode
    except (OSError, ValueError):
        return None
    return number if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else None


class _Watch:
    """Waits in a thread of its own until the reader is gone."""

    def __init__(self, output: int) -> None:
        self._output = output
        self._lock = threading.Lock()
        self._stopped = False

    def run(self) -> None:
        poll = select.poll()
        # No event is asked for: an error and a hang-up are reported anyway.
        poll.register(self._output, 0)
        poll.poll()
        with self._lock:
            if self._stopped:
                return
            # The main thread may be in a call that no exception ends. There is nothing to clean up: what is still
            # in the buffer has no reader, and the server notices the end of the connection.
            with suppress(OSError, ValueError):
                sys.stderr.write(f"Error: {UNREAD}\n")
                sys.stderr.flush()
            os._exit(BROKEN_PIPE)

    def stop(self) -> None:
        """From here on the command ends by itself."""
        with self._lock:
            self._stopped = True
