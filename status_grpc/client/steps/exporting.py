"""STATUS_GRPC_TRACE_ID: how a trace is handed to child processes, and how they find it."""

from __future__ import annotations

import os
import threading

from status_grpc.client.forks import renew_after_fork
from status_grpc.domain.text import escape_surrogates

TRACE_ID_VARIABLE = "STATUS_GRPC_TRACE_ID"


class _Exported:
    """The traces that are open in this process. The environment names one only while it is the only one."""

    def __init__(self) -> None:
        self.original = ""
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        # What the parent exported is there for its children.
        self.lock = threading.Lock()
        self.open: list[str] = []
        self.value: str | None = None

    def add(self, trace_id: str) -> None:
        with self.lock:
            if not self.open:
                self.original = os.environ.get(TRACE_ID_VARIABLE, "")
            self.open.append(trace_id)
            self._set()

    def remove(self, trace_id: str) -> None:
        with self.lock:
            if trace_id in self.open:
                self.open.remove(trace_id)
                self._set()

    def _set(self) -> None:
        # Two open traces, in two threads or tasks: a child process of which is this? It must be told by its command.
        self.value = self.open[0] if len(self.open) == 1 else None
        value = self.value or ("" if self.open else self.original)
        if value:
            os.environ[TRACE_ID_VARIABLE] = value
        else:
            os.environ.pop(TRACE_ID_VARIABLE, None)


_exported = _Exported()


def export(trace_id: str) -> None:
    """Hand the trace to child processes that are started from now on, unless another one is open as well."""
    _exported.add(trace_id)


def end_export(trace_id: str) -> None:
    """Hand the trace to child processes no more."""
    _exported.remove(trace_id)


def imported_trace_id() -> str:
    """Return the trace that this process was started for; empty if there is none.

    What this process itself exports does not count: another thread's trace is not everybody's.
    """
    trace_id = os.environ.get(TRACE_ID_VARIABLE, "")
    return "" if trace_id == _exported.value else escape_surrogates(trace_id)
