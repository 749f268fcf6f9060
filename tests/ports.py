"""Ports for servers that a test starts, stops and starts again on the same one.

They lie below the range from which the system takes the near end of outgoing connections (from 32768 on Linux, from
49152 elsewhere). In that range a server that is down may find its port taken when it comes up again: by anybody's
connection, or by a client that tried to reach it and was given the very port it was calling.
"""

from __future__ import annotations

import secrets
import socket
from contextlib import ExitStack, suppress

_FIRST, _LAST = 10_240, 32_767


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """Return the first of so many free ports in a row."""
    while True:
        # Not by `random`: it is seeded alike in all processes that run tests.
        first = _FIRST + secrets.randbelow(_LAST - _FIRST - count)
        with ExitStack() as probes, suppress(OSError):
            for port in range(first, first + count):
                probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
