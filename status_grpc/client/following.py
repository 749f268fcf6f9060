"""Following a trace, without doing it: what to ask, what an answer means, where to resume, when a stream is dead.

A driver opens a stream with `opening()`, hands each message to `receive()`, and tells `ended()` how the stream ended;
that says whether all is told, or when to open the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from tracestatus.v1 import status_service_pb2 as pb

from status_grpc.client.encodings import set_time
from status_grpc.client.options import ClientOptions
from status_grpc.client.retrying import Patience, Reconnect
from status_grpc.client.values import Checkpoint
from status_grpc.client.waiting import Target
from status_grpc.domain.errors import DeadlineExceeded, Internal, StatusError, Unavailable
from status_grpc.domain.events import TraceEvent
from status_grpc.domain.text import escape_surrogates
from status_grpc.domain.traces import Trace
from status_grpc.wire.events import to_event
from status_grpc.wire.times import encode_time, to_time
from status_grpc.wire.traces import to_trace


@dataclass(frozen=True, slots=True)
class Opening:
    """The stream to open. In seconds: how long it may last (None: for ever), and how long it may say nothing."""

    request: pb.StreamTraceRequest
    timeout: float | None
    silence_timeout: float


class BrokenStream(Unavailable):
    """The stream is not what it should be; resume it."""


#: A stream that skips the same event again and again is not a passing fault.
_MOST_GAPS = 3


class Following:
    """One follow, from its first stream to its last.

    `trace` is the trace's state as the server last told it, `checkpoint` the last checkpoint, `sequence` and
    `event_id` are those of the last event received: where to resume.
    """

    def __init__(
        self,
        target: Target,
        options: ClientOptions,
        *,
        after_sequence: int,
        after_event_id: str,
        timeout: float | None,
        clock: Callable[[], float],
    ) -> None:
        self.sequence = after_sequence
        self.event_id = escape_surrogates(after_event_id)
        self.trace_id = target.trace_id
        self.trace: Trace | None = None
        self.checkpoint: Checkpoint | None = None
        self._silence_timeout = options.silence_timeout
        self._target = target
        self._clock = clock
        self._deadline = None if timeout is None else clock() + timeout
        self._registered: datetime | None = None
        self._done = False
        self._gaps = 0
        self.server = options.server
        self._patience = Patience(options.outage_timeout, deadline=self._deadline, clock=clock)

    def opening(self) -> Opening:
        """Return the stream to open now. Raises DeadlineExceeded when the total timeout is over."""
        self._check_deadline()
        remaining = None if self._deadline is None else self._deadline - self._clock()
        self._done = False
        return Opening(self._request(), remaining, self._silence_timeout)

    def _check_deadline(self) -> None:
        # Also while messages keep coming: a server may send checkpoints without end.
        if self._deadline is not None and self._clock() >= self._deadline:
            raise DeadlineExceeded(f"{self._target} was not done in time")

    def _request(self) -> pb.StreamTraceRequest:
        target = self._target
        if self.trace_id:
            # Once a trace has been named it exists; before, a trace id may still have to appear.
            waits = target.wait_for_trace and self.trace is None
            return pb.StreamTraceRequest(
                trace_id=self.trace_id,
                after_sequence=self.sequence,
                after_event_id=self.event_id,
                wait_for_trace=waits,
            )
        request = pb.StreamTraceRequest(s3_path=target.s3_path, wait_for_trace=target.wait_for_trace)
        if target.new_only and self._registered is not None:
            # The first stream broke before a trace appeared: what was created since then counts as new.
            request.created_after.CopyFrom(encode_time(self._registered))
            return request
        request.new_only = target.new_only
        set_time(request, "created_after", target.created_after)
        return request

    def receive(self, message: pb.StreamTraceResponse) -> TraceEvent | Checkpoint | None:
        """Return what the message tells: an event, a checkpoint, or nothing new.

        Raises an error for a message that cannot follow the one before it, and DeadlineExceeded when the total timeout
        is over: cancel the stream and hand it to `ended()`.
        """
        self._check_deadline()
        kind = message.WhichOneof("message")
        if kind == "event":
            return self._event(message)
        if kind == "checkpoint":
            self._patience.alive()
            return self._checkpoint(message.checkpoint)
        return None

    def _event(self, message: pb.StreamTraceResponse) -> TraceEvent | None:
        event = message.event
        if event.sequence <= self.sequence:
            return None
        if event.sequence != self.sequence + 1:
            raise self._gap(f"event {event.sequence} of trace {event.trace_id!r} came after event {self.sequence}")
        self._patience.alive()
        self._gaps = 0
        self.sequence = event.sequence
        self.event_id = event.trace_event_id
        return to_event(event)

    def _checkpoint(self, message: pb.Checkpoint) -> Checkpoint:
        checkpoint = to_checkpoint(message)
        if checkpoint.trace_id:
            if checkpoint.sequence > self.sequence:
                raise self._gap(f"the stream claims to have delivered {checkpoint.sequence}, but {self.sequence} came")
            self.trace_id = checkpoint.trace_id
        elif self._registered is None:
            self._registered = checkpoint.server_time
        self.trace = checkpoint.trace or self.trace
        self.checkpoint = checkpoint
        self._done = checkpoint.done
        return checkpoint

    def _gap(self, message: str) -> StatusError:
        self._gaps += 1
        return BrokenStream(message) if self._gaps < _MOST_GAPS else Internal(message, incident="gap")

    def ended(self, error: StatusError | None) -> Reconnect | None:
        """Return when to open the next stream; None when the trace is done and all of it came.

        `error` is how the stream ended, None for OK. Raises it when no further stream can help.
        """
        if error is None:
            if self._done:
                return None
            error = BrokenStream("the stream ended before the trace was done")
        self._check_deadline()
        return self._patience.failed(error)

    def finished_trace(self) -> Trace:
        """Return the trace once it is done. Raises RuntimeError before that."""
        if self.trace is None or not self._done:
            raise RuntimeError("the trace has not been followed to its end")
        return self.trace


def to_checkpoint(message: pb.Checkpoint) -> Checkpoint:
    """Return the checkpoint of a message that the server made."""
    return Checkpoint(
        trace_id=message.trace_id,
        sequence=message.sequence,
        caught_up=message.caught_up,
        done=message.done,
        server_time=to_time(message.server_time),
        read_time=to_time(message.read_time) if message.HasField("read_time") else None,
        last_heard_time=to_time(message.last_heard_time) if message.HasField("last_heard_time") else None,
        trace=to_trace(message.trace) if message.HasField("trace") else None,
    )
