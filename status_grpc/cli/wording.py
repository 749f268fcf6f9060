"""What a trace's state says, in words for people."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from itertools import groupby

from status_grpc.cli.texts import message_in, printable
from status_grpc.domain.events import ErrorDetail, Outcome, TraceEvent, TraceStatus
from status_grpc.domain.traces import Failure, ReportedError, Trace

#: What errors are called that are not the reason of a failure.
ON_THE_WAY = "Reported on the way"


def why(trace: Trace, language: str = "en") -> list[str]:
    """Return the lines that explain the end of the trace.

    Of a failed trace they are the reason, of any other what was reported on the way.
    """
    lines = reports(trace, language)
    if trace.outcome is Outcome.FAILED or not lines:
        return lines
    return [f"{ON_THE_WAY}:", *(f"  {line}" for line in lines)]


def reports(trace: Trace, language: str = "en") -> list[str]:
    """Return what components reported in the current run, one sentence each.

    These sentences are the reason only if the run failed. Without errors the list is empty.
    """
    lines = []
    for (component, _), group in groupby(trace.errors, key=_reporter):
        lines.append(f"{printable(component)} said: {error_texts((entry.error for entry in group), language)}")
    missing = trace.error_count - len(trace.errors)
    if missing > 0:
        lines.append(f"... and {missing} more errors, which the events have.")
    failure = trace.first_failure
    if failure is not None and (failure.exception_type or failure.exception_message):
        lines.append(f"{_whose(failure)} raised {exception_text(failure.exception_type, failure.exception_message)}")
    elif failure is not None and not lines:
        lines.append(f"{_whose(failure)} reported FAILED, and nobody said why.")
    return lines


def _reporter(reported: ReportedError) -> tuple[str, int]:
    return reported.component, reported.sequence


def _whose(failure: Failure) -> str:
    doing = f" ({printable(failure.operation)})" if failure.operation else ""
    return f"{printable(failure.component)}{doing}"


def error_texts(errors: Iterable[ErrorDetail], language: str) -> str:
    """Return the errors in one language, on one line."""
    return "; ".join(printable(message_in(error.message, language)) for error in errors)


def said(event: TraceEvent, language: str) -> str:
    """Return what the event says went wrong, on one line."""
    texts = [error_texts(event.errors, language)] if event.errors else []
    if event.exception is not None:
        texts.append(exception_text(event.exception.type, event.exception.message))
    return "; ".join(texts)


def exception_text(kind: str, message: str) -> str:
    """Return an exception on one line, as Python prints it."""
    return printable(": ".join(part for part in (kind, message) if part))


def state(trace: Trace) -> str:
    """Return how the trace stands, in a few words."""
    run = f", run {trace.run}" if trace.run > 1 else ""
    if not trace.done:
        return f"not finished{run}, last heard from {printable(trace.component)}"
    took = "" if trace.finish_time is None else f" after {span(trace.finish_time - trace.create_time)}"
    verb = "failed" if trace.outcome is Outcome.FAILED else "finished OK"
    return f"{verb}{took}{run}"


def late_end(trace: Trace, event: TraceEvent) -> str:
    """Return a sentence about an end that was reported after the end.

    Empty: the event is no end, or is the one that ended its run.
    """
    if event.trace_status is not TraceStatus.FINISHED or not trace.done or event.run != trace.run:
        return ""
    # What is recorded in one transaction has one time: the other fields tell two such ends apart.
    its_end = (trace.finish_time, trace.trace_event_status, trace.component, trace.operation)
    if its_end == (event.record_time, event.trace_event_status, event.component, event.operation):
        return ""
    return (
        f"Trace {printable(trace.trace_id)} had ended before: event {event.sequence} is recorded and does not change "
        f"that it {state(trace)}."
    )


def span(duration: timedelta) -> str:
    """Return a length of time as people say it: 0.02 s, 3.1 s, 2 min 5 s, 3 h 10 min."""
    seconds = duration.total_seconds()
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
