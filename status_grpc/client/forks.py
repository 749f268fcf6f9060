"""What a fork does to a client: locks, threads and connections of the parent are of no use in the child.

gRPC does not survive a fork: when any thread of the parent was using it at that moment, the child hangs or crashes as
soon as it uses gRPC too. So a child of a process that had loaded gRPC leaves gRPC alone (`relay` calls for it).
"""

from __future__ import annotations

import os
import sys
import weakref
from typing import Protocol


class ForkAware(Protocol):
    """Something that has to begin anew in a forked child."""

    def after_fork(self) -> None:
        """Forget what belongs to the parent. Called in the child, before anything else runs there."""


_aware: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_grpc_crossed_fork = False


def renew_after_fork(thing: ForkAware) -> None:
    """Have `after_fork` called in every forked child, for as long as the thing lives."""
    _aware.add(thing)


def grpc_is_usable() -> bool:
    """Return whether gRPC may be used in this process."""
    return not _grpc_crossed_fork


def _in_child() -> None:
    global _grpc_crossed_fork
    _grpc_crossed_fork = _grpc_crossed_fork or "grpc._cython.cygrpc" in sys.modules
    for thing in list(_aware):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
