"""The steps of a trace, as they follow from its events: each execution of a step is one row of a live view."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from status_grpc.domain.events import Outcome, TraceEvent


class StepState(Enum):
    """How far a step has come."""

    RUNNING = "running"
    #: It began, and its end was not reported: it has no step_id, or the trace ended first.
    OPEN = "open"
    OK = "ok"
    FAILED = "failed"


@dataclass(slots=True)
class Step:
    """One execution of a step. `reports` are its events that said what went wrong."""

    component: str
    operation: str
    began: datetime
    state: StepState = StepState.OK
    attempt: int = 0
    took: timedelta | None = None
    reports: list[TraceEvent] = field(default_factory=list)


class Steps:
    """Folds events into steps, in the order in which the steps were first heard of.

    Events of one step_id are one step, which runs until one of them has an end or failed. Any other event is a step by
    itself: it reports something that is over, or starts the trace.
    """

    def __init__(self) -> None:
        self.all: list[Step] = []
        self._by_id: dict[tuple[int, str], Step] = {}

    def add(self, event: TraceEvent) -> None:
        """Add the next event of the trace."""
        step = self._by_id.get((event.run, event.step_id)) if event.step_id else None
        if step is None:
            step = Step(event.component, event.operation, event.start_time)
            self.all.append(step)
            if event.step_id:
                self._by_id[event.run, event.step_id] = step
        if event.attempt > step.attempt:
            step.attempt, step.began = event.attempt, event.start_time
        step.state = _state(event)
        step.took = _took(event, step)
        if event.errors or event.exception:
            step.reports.append(event)

    def end(self, outcome: Outcome) -> None:
        """Close the steps that still run when the trace ends."""
        for step in self.all:
            if step.state in (StepState.RUNNING, StepState.OPEN):
                step.state = StepState.OK if outcome is Outcome.OK else StepState.OPEN


def _state(event: TraceEvent) -> StepState:
    if event.outcome is Outcome.RUNNING and not event.step_id:
        return StepState.OPEN
    return StepState(event.outcome.value)


def _took(event: TraceEvent, step: Step) -> timedelta | None:
    if event.duration is not None:
        return event.duration
    return None if event.end_time is None else max(event.end_time - step.began, timedelta())
