"""`status-grpc list --follow`: traces as they are created."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from status_grpc.cli.exits import outage
from status_grpc.cli.output import aside
from status_grpc.client.options import ClientOptions
from status_grpc.client.retrying import Patience
from status_grpc.domain.errors import StatusError
from status_grpc.domain.traces import Trace

#: How long there is between two looks, in seconds.
_EVERY = 1.0
#: How far a look reaches back behind the newest trace: one that was created earlier may be committed later, and the
#: clocks of several servers differ.
_OVERLAP = timedelta(seconds=30)

#: Reads the traces created at this time or later (None: all of them), the newest first.
Look = Callable[[datetime | None], Iterable[Trace]]


class Tail:
    """What is new since the last look."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._newest: datetime | None = None
        #: The traces that a look may find again.
        self._seen: dict[str, datetime] = {}

    def begin(self, limit: int) -> list[Trace]:
        """Return the newest traces there are, oldest first; at most `limit`, 0 for all."""
        last: list[Trace] = []
        seen: dict[str, datetime] = {}
        newest: datetime | None = None
        for trace in self._look(None):
            newest = newest or trace.create_time
            if not limit or len(last) < limit:
                last.append(trace)
            elif trace.create_time < newest - _OVERLAP:
                break
            seen[trace.trace_id] = trace.create_time
        self._newest, self._seen = newest, seen
        return last[::-1]

    def more(self) -> list[Trace]:
        """Return the traces that have appeared since, oldest first."""
        since = None if self._newest is None else self._newest - _OVERLAP
        new = [trace for trace in self._look(since) if trace.trace_id not in self._seen]
        self._seen |= {trace.trace_id: trace.create_time for trace in new}
        if self._seen:
            self._newest = max(self._seen.values())
            oldest = self._newest - _OVERLAP
            self._seen = {trace_id: created for trace_id, created in self._seen.items() if created >= oldest}
        return new[::-1]


def follow_traces(look: Look, limit: int, show: Callable[[Trace], None], options: ClientOptions) -> None:
    """Show the traces there are and those to come, until it is interrupted.

    Raises StatusError when the server is away for too long, as `watch` does.
    """
    tail = Tail(look)
    patience = Patience(options.outage_timeout, clock=time.monotonic)
    begun = lost = False
    while True:
        try:
            traces = tail.more() if begun else tail.begin(limit)
        except StatusError as error:
            reconnect = patience.failed(error)
            if not lost:
                lost = True
                aside("The connection is lost, reconnecting ..." if begun else outage(reconnect, options))
            time.sleep(reconnect.delay)
            continue
        if lost:
            lost = False
            aside("Connected again." if begun else "Connected.")
        begun = True
        patience.alive()
        for trace in traces:
            show(trace)
        time.sleep(_EVERY)
