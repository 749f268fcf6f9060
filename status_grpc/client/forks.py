"""What a fork does to a client: locks, threads and connections of the parent are of no use in the child.

gRPC does not survive a fork: when any thread of the parent was using it at that moment, the child hangs or crashes as
soon as it uses gRPC too. So a child of a process that had loaded gRPC leaves gRPC alone (`relay` calls for it).
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from typing import Protocol


class ForkAware(Protocol):
    """Something that has to begin anew in a forked child."""

    def after_fork(self) -> None:
        """Forget what belongs to the parent. Called in the child, before anything else runs there."""


#: Held while gRPC is being loaded. A fork waits for that: the child would wait for ever for a module that was being
#: loaded by a thread which is not there.
loading = threading.Lock()
_LONGEST_LOADING = 10.0

_aware: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_grpc_crossed_fork = False
_held = False


def renew_after_fork(thing: ForkAware) -> None:
    """Have `after_fork` called in every forked child, for as long as the thing lives."""
    _aware.add(thing)


def grpc_is_usable() -> bool:
    """Return whether gRPC may be used in this process."""
    return not _grpc_crossed_fork


def _before_fork() -> None:
    global _held
    _held = loading.acquire(timeout=_LONGEST_LOADING)


def _in_parent() -> None:
    if _held:
        loading.release()


def _in_child() -> None:
    global _grpc_crossed_fork, loading
    loading = threading.Lock()
    _grpc_crossed_fork = _grpc_crossed_fork or "grpc._cython.cygrpc" in sys.modules
    for thing in list(_aware):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
