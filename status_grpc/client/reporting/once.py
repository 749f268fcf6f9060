"""Warnings about reporting: each once, for who reports a million times need not be told a million times."""

from __future__ import annotations

import logging
import sys

from status_grpc.domain.escapes import escaped

_log = logging.getLogger("status_grpc")
_warned: set[str] = set()


def warn_once(key: str, message: str, *arguments: object) -> None:
    """Log a warning, unless one with this key was logged before."""
    if key not in _warned:
        _warned.add(key)
        # Without a handler Python writes it to a terminal, and it may hold the words of a server.
        _log.warning("%s", escaped(message % arguments if arguments else message))


def forget_warnings() -> None:
    """Warn again about what was warned about."""
    _warned.clear()


def log_fault() -> None:
    """Log the exception being handled, once for each kind: a fault of this library, which must not hurt a step."""
    kind = type(sys.exception()).__name__
    if kind not in _warned:
        _warned.add(kind)
        _log.exception("status-grpc: an event could not be reported")
