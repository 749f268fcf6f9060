"""The state machine of a trace: what recording an event does to it, as pure functions.

`record` turns a draft into the event that is stored; `apply` folds a stored event into the trace's state. Beside its
heartbeats and its expire time a state is nothing but the fold of its events: whoever reads them all can compute it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from status_grpc.domain.errors import TraceNotDone
from status_grpc.domain.events import (
    ErrorDetail,
    EventDraft,
    Outcome,
    TraceEvent,
    TraceEventStatus,
    TraceStatus,
    trace_outcome,
)
from status_grpc.domain.limits import (
    FAILURE_MESSAGE_LENGTH,
    TRACE_ERROR_LENGTH,
    TRACE_ERROR_TEXT_LENGTH,
    TRACE_ERRORS,
)
from status_grpc.domain.values import quickly_made


@dataclass(frozen=True, slots=True)
class ReportedError:
    """An error of an event, with the one who reported it."""

    component: str
    operation: str
    sequence: int
    step_id: str
    error: ErrorDetail


@dataclass(frozen=True, slots=True)
class Failure:
    """Where and how a run first failed."""

    component: str
    operation: str
    sequence: int
    step_id: str = ""
    exception_type: str = ""
    exception_message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The state of a whole trace.

    `trace_status` and `trace_event_status` are FINISHED and the outcome once `done`, else those of the last event.
    `errors` come from the events of the current run; `error_count` counts also the errors that `errors` had no room
    for. `first_failure` is where that run first failed. None: no event has failed, or the run finished OK.
    """

    trace_id: str
    domain: str
    domain_id: str
    user: str = ""
    s3_path: str = ""
    trace_status: TraceStatus
    trace_event_status: TraceEventStatus
    done: bool
    run: int = 1
    create_time: datetime
    update_time: datetime
    finish_time: datetime | None = None
    event_count: int = 0
    failed_event_count: int = 0
    last_sequence: int = 0
    last_heard_time: datetime
    expire_time: datetime | None = None
    component: str = ""
    operation: str = ""
    errors: tuple[ReportedError, ...] = ()
    error_count: int = 0
    first_failure: Failure | None = None
    #: The id of the event at last_sequence: tells this history from another one of the same length. Not part of the
    #: value, and not told to clients.
    last_event_id: str = field(default="", compare=False)
    #: Counts the changes of this state, heartbeats included: tells a holder of a copy that it is old. Not part of the
    #: value, and not told to clients.
    revision: int = field(default=0, compare=False)

    @property
    def outcome(self) -> Outcome:
        """RUNNING until the current run is done, then OK or FAILED."""
        return trace_outcome(self.done, self.trace_event_status)


# Every write makes one of each, and every read some.
new_event = quickly_made(TraceEvent)
new_state = quickly_made(Trace)


def record_first(
    draft: EventDraft, trace_id: str, trace_event_id: str, *, now: datetime, legacy: str = ""
) -> TraceEvent:
    """Return the event that starts the trace with this id. The draft is valid; the ids count, not the draft's."""
    return _recorded(
        draft,
        trace_id,
        trace_event_id,
        draft.domain,
        draft.domain_id,
        draft.trace_status or TraceStatus.STARTED,
        sequence=1,
        run=1,
        now=now,
        legacy=legacy,
    )


def record(
    trace: Trace,
    draft: EventDraft,
    trace_event_id: str,
    *,
    new_run: bool = False,
    now: datetime,
    legacy: str = "",
) -> TraceEvent:
    """Return the event that the draft becomes when it is appended to the trace.

    Raises TraceNotDone when `new_run` is asked of a trace whose current run has not ended.
    """
    if new_run and not trace.done:
        raise TraceNotDone(f"run {trace.run} of trace {trace.trace_id!r} has not ended: it cannot be run again yet")
    return _recorded(
        draft,
        trace.trace_id,
        trace_event_id,
        draft.domain or trace.domain,
        draft.domain_id or trace.domain_id,
        draft.trace_status or TraceStatus.CONTINUE,
        sequence=trace.last_sequence + 1,
        run=trace.run + 1 if new_run else trace.run,
        now=now,
        legacy=legacy,
    )


def _recorded(
    draft: EventDraft,
    trace_id: str,
    trace_event_id: str,
    domain: str,
    domain_id: str,
    trace_status: TraceStatus,
    *,
    sequence: int,
    run: int,
    now: datetime,
    legacy: str,
) -> TraceEvent:
    """Return the event: what its trace decides about it, and beside that the draft with its defaults filled in."""
    return new_event(
        trace_id=trace_id,
        trace_event_id=trace_event_id,
        domain=domain,
        domain_id=domain_id,
        start_time=draft.start_time or _not_after(now, draft.end_time),
        end_time=draft.end_time,
        trace_status=trace_status,
        trace_event_status=draft.trace_event_status or TraceEventStatus.OK,
        user=draft.user,
        component=draft.component,
        operation=draft.operation,
        status_body=draft.status_body,
        meta=draft.meta,
        s3_path=draft.s3_path,
        duration=draft.duration,
        exception=draft.exception,
        errors=draft.errors,
        inputs=draft.inputs,
        outputs=draft.outputs,
        step_id=draft.step_id,
        attempt=draft.attempt,
        legacy=legacy,
        sequence=sequence,
        record_time=now,
        run=run,
        encoded_bytes=draft.encoded_bytes,
        encodings=draft.encodings,
    )


def _not_after(now: datetime, end_time: datetime | None) -> datetime:
    """Return the default start time: now, but never after an end time that the caller did give."""
    return now if end_time is None or now <= end_time else end_time


def apply(trace: Trace | None, event: TraceEvent) -> Trace:
    """Return the state of the trace after this event, which is the next in its sequence.

    The first FINISHED event of a run decides `done`, the outcome and `finish_time`; what comes after it in the same
    run is counted and changes none of them. An event of a later run opens the trace again.
    """
    if trace is None:
        return _fold_into_run(_new_trace(event), event)
    if event.run > trace.run:
        opened = replace(
            trace,
            run=event.run,
            done=False,
            finish_time=None,
            expire_time=None,
            errors=(),
            error_count=0,
            first_failure=None,
        )
        return _fold_into_run(opened, event)
    if trace.done:
        # The end may overtake a report: what it says counts as a reason, and changes nothing else.
        errors, first_failure = _reasons(trace, event)
        return replace(
            trace,
            errors=errors,
            error_count=trace.error_count + len(event.errors),
            first_failure=first_failure,
            s3_path=trace.s3_path or event.s3_path,
            update_time=max(trace.update_time, event.record_time),
            last_heard_time=max(trace.last_heard_time, event.record_time),
            event_count=trace.event_count + 1,
            failed_event_count=trace.failed_event_count + _is_failed(event),
            last_sequence=event.sequence,
            last_event_id=event.trace_event_id,
            revision=trace.revision + 1,
        )
    return _fold_into_run(trace, event)


def heard(trace: Trace, *, now: datetime) -> Trace:
    """Return the state of the trace after a heartbeat."""
    return replace(trace, last_heard_time=max(trace.last_heard_time, now), revision=trace.revision + 1)


def _new_trace(event: TraceEvent) -> Trace:
    return Trace(
        trace_id=event.trace_id,
        domain=event.domain,
        domain_id=event.domain_id,
        user=event.user,
        s3_path=event.s3_path,
        trace_status=event.trace_status,
        trace_event_status=event.trace_event_status,
        done=False,
        create_time=event.record_time,
        update_time=event.record_time,
        last_heard_time=event.record_time,
    )


def _fold_into_run(trace: Trace, event: TraceEvent) -> Trace:
    """Return the state after an event of the current run, which has not ended before it."""
    finished = event.trace_status is TraceStatus.FINISHED
    errors, first_failure = _reasons(trace, event)
    return new_state(
        trace_id=trace.trace_id,
        domain=trace.domain,
        domain_id=trace.domain_id,
        user=trace.user,
        s3_path=trace.s3_path or event.s3_path,
        trace_status=event.trace_status,
        trace_event_status=event.trace_event_status,
        done=finished,
        run=trace.run,
        create_time=trace.create_time,
        update_time=max(trace.update_time, event.record_time),
        finish_time=event.record_time if finished else None,
        event_count=trace.event_count + 1,
        failed_event_count=trace.failed_event_count + _is_failed(event),
        last_sequence=event.sequence,
        last_heard_time=max(trace.last_heard_time, event.record_time),
        expire_time=trace.expire_time,
        component=event.component,
        operation=event.operation,
        errors=errors,
        error_count=trace.error_count + len(event.errors),
        first_failure=first_failure,
        last_event_id=event.trace_event_id,
        revision=trace.revision + 1,
    )


def _reasons(trace: Trace, event: TraceEvent) -> tuple[tuple[ReportedError, ...], Failure | None]:
    """Return the trace's errors and its first failure, with what this event of the current run adds."""
    errors, first_failure = trace.errors, trace.first_failure
    if event.errors:
        errors = _with_reported(errors, event)
    if trace.outcome is Outcome.OK or (not trace.done and _ends_well(event)):
        # Whatever failed on the way, the run did not.
        return errors, None
    if first_failure is None:
        if _is_failed(event):
            first_failure = _failure(trace, event)
    elif trace.done and event.errors and not trace.errors and not _says_why(first_failure):
        # The end said only FAILED, and the one who knows why comes after it.
        first_failure = Failure(event.component, event.operation, event.sequence, event.step_id)
    return errors, first_failure


def _ends_well(event: TraceEvent) -> bool:
    return event.trace_status is TraceStatus.FINISHED and not _is_failed(event)


def _says_why(failure: Failure) -> bool:
    return bool(failure.exception_type or failure.exception_message)


def _is_failed(event: TraceEvent) -> bool:
    return event.trace_event_status is TraceEventStatus.FAILED


def _with_reported(errors: tuple[ReportedError, ...], event: TraceEvent) -> tuple[ReportedError, ...]:
    """Return the errors with those of the event, as far as there is room: a state must stay small."""
    kept = list(errors)
    length = sum(_length(reported.error) for reported in kept)
    for error in event.errors:
        summary = _summary(error)
        length += _length(summary)
        if kept and (len(kept) >= TRACE_ERRORS or length > TRACE_ERROR_LENGTH):
            break
        kept.append(ReportedError(event.component, event.operation, event.sequence, event.step_id, summary))
    return tuple(kept)


def _summary(error: ErrorDetail) -> ErrorDetail:
    """Return the error as a state keeps it: its texts, cut when they are very long. The details are in the event."""
    return ErrorDetail({tag: text[:TRACE_ERROR_TEXT_LENGTH] for tag, text in error.message.items()})


def _length(error: ErrorDetail) -> int:
    return sum(map(len, error.message.values()))


def _failure(trace: Trace, event: TraceEvent) -> Failure:
    """Return what to call the first failure of the run, whose first FAILED event this is.

    An end event that says only FAILED is not the reason: if somebody reported errors before it, theirs is.
    """
    says_why = event.errors or event.exception
    if trace.errors and not says_why:
        earlier = trace.errors[0]
        return Failure(earlier.component, earlier.operation, earlier.sequence, earlier.step_id)
    exception_type, exception_message = "", ""
    if event.exception:
        exception_type = event.exception.type
        exception_message = event.exception.message[:FAILURE_MESSAGE_LENGTH]
    return Failure(event.component, event.operation, event.sequence, event.step_id, exception_type, exception_message)
