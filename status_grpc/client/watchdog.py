"""Ends streams that say nothing for too long: a thread that reads a gRPC stream cannot look at the clock itself."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Cancellable(Protocol):
    """A stream."""

    def cancel(self) -> object:
        """End it; whoever reads it gets an error."""


class Watch:
    """Watches one stream while somebody reads it."""

    def __init__(self, stream: Cancellable, timeout: float) -> None:
        self._stream = stream
        #: How long the stream may be silent, in seconds. It holds from the next `with` on.
        self.timeout = timeout
        self._expiry = float("inf")
        #: Whether the stream was ended for its silence.
        self.expired = False

    def __enter__(self) -> None:
        self._expiry = time.monotonic() + self.timeout

    def __exit__(self, *_: object) -> None:
        self._expiry = float("inf")

    def check(self, now: float) -> None:
        """End the stream if it is time."""
        if now >= self._expiry:
            self.expired = True
            self._stream.cancel()


class Watchdog:
    """One thread for all streams of a client; it lives while there are some. Silences are noticed a second late."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()
        self._thread: threading.Thread | None = None

    def watch(self, stream: Cancellable, timeout: float) -> Watch:
        """Watch a stream, which may be silent for `timeout` seconds while it is read (within the watch's `with`)."""
        watch = Watch(stream, timeout)
        with self._lock:
            self._watches.add(watch)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="status-grpc-watchdog", daemon=True)
                self._thread.start()
        return watch

    def forget(self, watch: Watch) -> None:
        """Watch this stream no longer."""
        with self._lock:
            self._watches.discard(watch)

    def _run(self) -> None:
        while True:
            time.sleep(1.0)
            with self._lock:
                watches = list(self._watches)
                if not watches:
                    self._thread = None
                    return
            now = time.monotonic()
            for watch in watches:
                watch.check(now)
