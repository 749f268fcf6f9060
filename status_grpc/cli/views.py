"""What somebody who follows a trace gets to see: lines for people, or JSON for programs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from status_grpc.cli.exits import outage
from status_grpc.cli.json_forms import event_object, trace_object
from status_grpc.cli.output import aside, bold, colored, local_time_exact, write, write_json
from status_grpc.cli.texts import pad, printable
from status_grpc.cli.wording import said, span, state, why
from status_grpc.domain.errors import StreamTooOld
from status_grpc.domain.events import JsonObject, TraceEvent
from status_grpc.domain.traces import Trace

if TYPE_CHECKING:
    from status_grpc.client.options import ClientOptions
    from status_grpc.client.retrying import Reconnect
    from status_grpc.client.values import Checkpoint


class View(ABC):
    """What is told while a trace is followed. What is not data, and so for people, goes to standard error."""

    def __init__(self) -> None:
        #: The sequence of the last event.
        self.sequence = 0
        self._connected = False
        self._waiting = False
        self._lost = False

    def showing(self) -> AbstractContextManager[object]:
        """Return what to follow the trace within."""
        return nullcontext()

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """A sign of life: tell if it is the first, or the first after a while."""
        first, self._connected = not self._connected, True
        if not checkpoint.trace_id and not self._waiting:
            self._waiting = True
            self.notice("Waiting for the trace to be created ...")
        if self._lost:
            self._lost = False
            self.notice("Connected." if first else f"Connected again, resumed after event {self.sequence}.")

    def reconnect(self, reconnect: Reconnect, options: ClientOptions) -> None:
        """Report the first failure of an outage."""
        if not self._lost and not isinstance(reconnect.error, StreamTooOld):
            self._lost = True
            lost = "The connection is lost, reconnecting ..."
            self.notice(lost if self._connected else outage(reconnect, options))

    def notice(self, sentence: str) -> None:
        """Tell what happens to the connection."""
        aside(sentence)

    def event(self, event: TraceEvent) -> None:
        """Show the next event."""
        self.sequence = event.sequence

    @abstractmethod
    def end(self, trace: Trace) -> None:
        """Show how the trace ended."""


class Lines(View):
    """A line for each event, and why it ended as it did."""

    def __init__(self, language: str) -> None:
        super().__init__()
        self._language = language

    def event(self, event: TraceEvent) -> None:
        """Show the next event."""
        super().event(event)
        what = " ".join(printable(part) for part in (event.component, event.operation) if part)
        took = "" if event.duration is None else f" in {span(event.duration)}"
        words = said(event, self._language)
        outcome = colored(event.outcome, pad(event.outcome, 7))
        write(
            f"{local_time_exact(event.record_time)}  {event.sequence:>3}  {pad(event.trace_status, 8)}  {outcome}  "
            f"{what}{took}{': ' if words else ''}{words}"
        )

    def end(self, trace: Trace) -> None:
        """Show how the trace ended."""
        write(f"{bold(printable(trace.trace_id))} {colored(trace.outcome, state(trace))}")
        for line in why(trace, self._language):
            write(f"  {line}")


class JsonLines(View):
    """An object for each event as it comes, and one for the trace."""

    def event(self, event: TraceEvent) -> None:
        """Show the next event."""
        super().event(event)
        write_json({"event": event_object(event)})

    def end(self, trace: Trace) -> None:
        """Show how the trace ended."""
        write_json({"trace": trace_object(trace)})


class Json(View):
    """One object, at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._events: list[JsonObject] = []

    def event(self, event: TraceEvent) -> None:
        """Remember the next event."""
        super().event(event)
        self._events.append(event_object(event))

    def end(self, trace: Trace) -> None:
        """Show all of it."""
        write_json({"trace": trace_object(trace), "events": self._events})
