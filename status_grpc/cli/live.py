"""A trace as it happens, in place on a terminal: a row for each step, and the end, which stays on the screen."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

from status_grpc.cli.steps import Step, Steps, StepState
from status_grpc.cli.texts import pad, printable, width
from status_grpc.cli.views import View
from status_grpc.cli.wording import error_texts, exception_text, span, state, why
from status_grpc.domain.events import Outcome, TraceEvent
from status_grpc.domain.traces import Trace

if TYPE_CHECKING:
    from status_grpc.client.values import Checkpoint

_STYLES = {StepState.RUNNING: "cyan", StepState.OPEN: "", StepState.OK: "green", StepState.FAILED: "red"}
_FRAMES_PER_SECOND = 8
#: How many lines beside the steps the view has.
_LINES_AROUND = 6
#: How many steps stay on the screen; `status-grpc get` has all of them.
_MOST_STEPS_AT_THE_END = 500


class LiveView(View):
    """Redraws itself several times a second; a thread of rich's does that while the main thread waits for events."""

    def __init__(self, target: str, language: str, console: Console | None = None) -> None:
        super().__init__()
        self._console = console or Console(highlight=False, markup=False, emoji=False)
        utf8 = self._console.encoding.lower().startswith("utf")
        self._marks = {StepState.OPEN: "•", StepState.OK: "✓", StepState.FAILED: "✗"}
        if not utf8:
            self._marks = {StepState.OPEN: "-", StepState.OK: "+", StepState.FAILED: "x"}
        self._frames = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" if utf8 else "-\\|/"
        self._language = language
        self._target = target
        self._steps = Steps()
        self._trace: Trace | None = None
        self._notice = ""
        self._last_heard: datetime | None = None
        #: How far the server's clock is ahead of this machine's.
        self._ahead = timedelta()

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Draw the view until it is left, by a SIGTERM too: that must not leave the terminal without a cursor."""
        live = Live(
            console=self._console,
            get_renderable=self._frame,
            refresh_per_second=_FRAMES_PER_SECOND,
            vertical_overflow="crop",
            redirect_stdout=False,
            redirect_stderr=False,
        )
        before = signal.signal(signal.SIGTERM, _leave)
        try:
            with live:
                yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Take the clocks of the checkpoint, and the state if it has one."""
        super().checkpoint(checkpoint)
        self._ahead = checkpoint.server_time - datetime.now(UTC)
        self._heard(checkpoint.last_heard_time)
        self._trace = checkpoint.trace or self._trace

    def notice(self, sentence: str) -> None:
        """Show what happens to the connection under the steps."""
        self._notice = sentence

    def event(self, event: TraceEvent) -> None:
        """Show the next event as part of its step."""
        super().event(event)
        self._heard(event.record_time)
        self._steps.add(event)

    def _heard(self, when: datetime | None) -> None:
        if when is not None and (self._last_heard is None or when > self._last_heard):
            self._last_heard = when

    def end(self, trace: Trace) -> None:
        """Show how the trace ended: the last frame, which stays."""
        self._steps.end(trace.outcome)
        self._trace = trace

    def _frame(self) -> RenderableType:
        return Group(*self._head(), *self._rows(), *self._foot())

    def _head(self) -> list[Text]:
        if self._trace is None:
            return [Text(printable(self._target), "bold")]
        about = f"{self._trace.domain} {self._trace.domain_id}"
        lines = [Text(printable(self._trace.trace_id), "bold"), Text(printable(about), "dim")]
        return [*lines, Text(printable(self._trace.s3_path), "dim")] if self._trace.s3_path else lines

    def _rows(self) -> list[RenderableType]:
        steps = self._steps.all[:]
        first = max(0, len(steps) - _MOST_STEPS_AT_THE_END) if self._done else self._first_that_fits(steps)
        hidden = [Text(f"{first} earlier steps", "dim")] if first else []
        shown = steps[first:]
        columns = (
            max((width(printable(step.component)) for step in shown), default=0),
            max((width(_operation(step)) for step in shown), default=0),
        )
        return [*hidden, *(line for step in shown for line in self._row(step, columns))]

    def _first_that_fits(self, steps: list[Step]) -> int:
        """Return the first step to show so that the last ones are on the screen."""
        room = max(1, self._console.height - _LINES_AROUND)
        for index in range(len(steps) - 1, -1, -1):
            room -= 1 + sum(len(report.errors) or 1 for report in steps[index].reports)
            if room < 0:
                return min(index + 1, len(steps) - 1)
        return 0

    def _row(self, step: Step, columns: tuple[int, int]) -> Iterator[RenderableType]:
        running = step.state is StepState.RUNNING
        took = max(self._now() - step.began, timedelta()) if running else step.took
        yield Text.assemble(
            self._mark(step),
            f"  {pad(printable(step.component), columns[0])}  {pad(_operation(step), columns[1])}  ",
            ("" if took is None else f"{span(took):>10}", "cyan" if running else ""),
        )
        for report in step.reports:
            lines = [error_texts([error], self._language) for error in report.errors]
            if report.exception is not None:
                lines.append(exception_text(report.exception.type, report.exception.message))
            yield Padding(Text("\n".join(lines), "red"), (0, 0, 0, 5))

    def _mark(self, step: Step) -> tuple[str, str]:
        if step.state is StepState.RUNNING:
            return self._spinner(), "cyan"
        if step.state is StepState.OK and step.reports:
            return "!", "yellow"
        return self._marks[step.state], _STYLES[step.state]

    def _spinner(self) -> str:
        return self._frames[int(time.monotonic() * _FRAMES_PER_SECOND) % len(self._frames)]

    def _foot(self) -> list[RenderableType]:
        if self._done:
            assert self._trace is not None
            mark = StepState.FAILED if self._trace.outcome is Outcome.FAILED else StepState.OK
            summary = Text(f"{self._marks[mark]}  {state(self._trace)}", f"bold {_STYLES[mark]}")
            return [summary, *(Padding(Text(line), (0, 0, 0, 3)) for line in why(self._trace, self._language))]
        notice = [Text(self._notice, "yellow")] if self._notice else []
        return [*notice, self._clocks()]

    def _clocks(self) -> Text:
        """Return how long the trace has been running, and when its producers were last heard."""
        spinner = Text(self._spinner(), "cyan")
        if self._trace is None or self._last_heard is None:
            return spinner
        elapsed = _whole_seconds(self._now() - self._trace.create_time)
        silence = _whole_seconds(self._now() - self._last_heard)
        return spinner.append(f"  running for {elapsed}, last heard {silence} ago", "dim")

    @property
    def _done(self) -> bool:
        return self._trace is not None and self._trace.done

    def _now(self) -> datetime:
        return datetime.now(UTC) + self._ahead


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def _operation(step: Step) -> str:
    again = f" (attempt {step.attempt})" if step.attempt > 1 else ""
    return printable(step.operation) + again


def _whole_seconds(duration: timedelta) -> str:
    seconds = max(0, int(duration.total_seconds()))
    return f"{seconds} s" if seconds < 60 else span(timedelta(seconds=seconds))
