"""What a fork does to a client: locks, threads and connections of the parent are of no use in the child.

gRPC does not survive a fork: when any thread of the parent was using it at that moment, the child may hang or crash,
and the parent's connections may break. So a fork waits a moment for the calls of this library to end, and a child of a
process that had loaded gRPC leaves gRPC alone (`relay` calls for it).
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

#: How long a fork waits for gRPC to be loaded, and for calls to end, in seconds. Most calls take milliseconds; those
#: that wait for something are not waited for.
_LONGEST_LOADING = 10.0
_LONGEST_CALL = 0.5


class ForkAware(Protocol):
    """Something that has to begin anew in a forked child."""

    def after_fork(self) -> None:
        """Forget what belongs to the parent. Called in the child, before anything else runs there."""


_aware: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def renew_after_fork(thing: ForkAware) -> None:
    """Have `after_fork` called in every forked child, for as long as the thing lives."""
    _aware.add(thing)


class _Forks:
    def __init__(self) -> None:
        self.grpc_crossed_fork = False
        self.begin()

    def begin(self) -> None:
        self.loading = threading.Lock()
        self.loading_held = False
        self.calls = threading.Condition()
        self.calls_under_way = 0
        self.forking = False

    def before(self) -> None:
        # The child would wait for ever for a module that was being loaded by a thread which is not there.
        self.loading_held = self.loading.acquire(timeout=_LONGEST_LOADING)
        deadline = time.monotonic() + _LONGEST_CALL
        with self.calls:
            self.forking = True
            while self.calls_under_way and (left := deadline - time.monotonic()) > 0:
                self.calls.wait(left)

    def in_parent(self) -> None:
        with self.calls:
            self.forking = False
            self.calls.notify_all()
        if self.loading_held:
            self.loading.release()

    def in_child(self) -> None:
        self.grpc_crossed_fork = self.grpc_crossed_fork or "grpc._cython.cygrpc" in sys.modules
        self.begin()
        for thing in list(_aware):
            thing.after_fork()


_forks = _Forks()


def grpc_is_usable() -> bool:
    """Return whether gRPC may be used in this process."""
    return not _forks.grpc_crossed_fork


@contextmanager
def loading_grpc() -> Iterator[None]:
    """Load gRPC within this: no fork happens meanwhile."""
    with _forks.loading:
        yield


@contextmanager
def calling() -> Iterator[None]:
    """Make a call within this: a fork waits for it, and it waits for a fork."""
    with _forks.calls:
        _forks.calls.wait_for(lambda: not _forks.forking, _LONGEST_CALL)
        _forks.calls_under_way += 1
    try:
        yield
    finally:
        with _forks.calls:
            _forks.calls_under_way -= 1
            if _forks.forking:
                _forks.calls.notify_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forks.before, after_in_parent=_forks.in_parent, after_in_child=_forks.in_child)
