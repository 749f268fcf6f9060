"""Waiting for the end of a trace by repeated long polls, each a plain call that any proxy passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tracestatus.v1 import status_service_pb2 as pb

from status_grpc.client.encodings import set_time
from status_grpc.client.operations import Operation, Pause, Send
from status_grpc.client.options import ClientOptions
from status_grpc.client.retrying import Patience, Reconnect, report
from status_grpc.domain.errors import DeadlineExceeded, FieldViolation, InvalidArgument, StatusError
from status_grpc.domain.text import escape_surrogates
from status_grpc.domain.traces import Trace
from status_grpc.wire.times import encode_duration
from status_grpc.wire.traces import to_trace

#: How long one poll waits at the server, in seconds. Short enough that a dead connection is noticed.
_POLL = 30.0
#: The server answers after at most 90 % of a call's deadline; the rest, and this, is for the answer's way.
_SHARE = 0.9
_WAY = 0.5
#: A server that answers "not yet" sooner than asked would otherwise be asked in a tight loop.
_SHORTEST_POLL = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What to wait for or to follow: a trace, or the newest trace created with a path.

    `wait_for_trace`: it need not exist yet. `created_after`, only with a path: only a trace created after that time.
    """

    trace_id: str = ""
    s3_path: str = ""
    wait_for_trace: bool = False
    new_only: bool = False
    created_after: datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "trace_id", escape_surrogates(self.trace_id))
        object.__setattr__(self, "s3_path", escape_surrogates(self.s3_path))
        if bool(self.trace_id) == bool(self.s3_path):
            raise InvalidArgument([FieldViolation("target", "needs one of trace_id and s3_path")])
        if self.trace_id and (self.new_only or self.created_after is not None):
            raise InvalidArgument([FieldViolation("trace_id", "new_only and created_after are for s3_path")])

    @property
    def is_registered_by_stream(self) -> bool:
        """Whether "new" means since the registration, which only a stream can carry over a broken connection."""
        return self.new_only and self.created_after is None

    def __str__(self) -> str:
        return f"trace {self.trace_id!r}" if self.trace_id else f"a trace of path {self.s3_path!r}"


def wait(
    target: Target,
    options: ClientOptions,
    *,
    timeout: float | None,
    on_reconnect: Callable[[Reconnect], None] | None = None,
    clock: Callable[[], float],
) -> Operation[Trace]:
    """Wait until the trace is done, and return it.

    Raises DeadlineExceeded when it is not done in time, and the error of an outage that lasts too long.
    """
    request = pb.WaitTraceRequest(
        trace_id=target.trace_id or None,
        s3_path=target.s3_path or None,
        wait_for_trace=target.wait_for_trace,
        new_only=target.new_only,
    )
    set_time(request, "created_after", target.created_after)
    deadline = None if timeout is None else clock() + timeout
    patience = Patience(options.outage_timeout, deadline=deadline, clock=clock)
    while True:
        poll = _POLL if deadline is None else min(_POLL, deadline - clock())
        if poll <= 0:
            raise DeadlineExceeded(f"{target} was not done in time")
        request.timeout.CopyFrom(encode_duration(timedelta(seconds=poll)))
        try:
            answer: pb.WaitTraceResponse = yield Send("WaitTrace", request, poll / _SHARE + _WAY)
        except StatusError as error:
            reconnect = patience.failed(error)
            report(reconnect, on_reconnect, options.server)
            yield Pause(reconnect.delay)
            continue
        patience.alive()
        if answer.HasField("trace") and answer.trace.done:
            return to_trace(answer.trace)
        yield Pause(min(_SHORTEST_POLL, poll))
