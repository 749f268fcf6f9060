"""The outcome of traces and events."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from builders import FINISHED_FAILED, FINISHED_OK, NOON, draft, error
from hypothesis import given
from hypothesis import strategies as st

from status_grpc.domain.events import ExceptionDetail, Outcome, TraceEventStatus, TraceStatus
from status_grpc.domain.traces import Failure, Trace, apply, record, record_first
from status_grpc.storage.rows import RowCodec

FAILED = TraceEventStatus.FAILED
STEP_FAILED = {"trace_event_status": FAILED, "exception": ExceptionDetail("OSError", "disk full")}


def trace_of(*events: dict[str, Any]) -> Trace:
    first, *rest = events
    trace = apply(None, record_first(draft(**first), "a", "0", now=NOON))
    for number, fields in enumerate(rest, 1):
        new_run = bool(fields.get("new_run"))
        said = {name: value for name, value in fields.items() if name != "new_run"}
        trace = apply(trace, record(trace, draft(**said), str(number), new_run=new_run, now=NOON))
    return trace


def test_trace_until_its_end_is_running() -> None:
    assert trace_of({}).outcome is Outcome.RUNNING
    assert trace_of({}, STEP_FAILED).outcome is Outcome.RUNNING
    assert trace_of({}, FINISHED_OK).outcome is Outcome.OK
    assert trace_of({}, FINISHED_FAILED).outcome is Outcome.FAILED
    assert trace_of({}, FINISHED_FAILED, {"new_run": True}).outcome is Outcome.RUNNING


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"trace_status": TraceStatus.STARTED}, Outcome.RUNNING),
        ({"trace_status": TraceStatus.STARTED, "end_time": NOON}, Outcome.OK),
        ({"step_id": "s-1"}, Outcome.RUNNING),
        ({"step_id": "s-1", "end_time": NOON}, Outcome.OK),
        ({"step_id": "s-1", "duration": timedelta(0)}, Outcome.OK),
        ({"step_id": "s-1", "trace_event_status": FAILED}, Outcome.FAILED),
        ({}, Outcome.OK),
        (FINISHED_OK, Outcome.OK),
        (FINISHED_FAILED, Outcome.FAILED),
    ],
)
def test_event_that_starts_something_is_running(fields: dict[str, Any], outcome: Outcome) -> None:
    assert record(trace_of({}), draft(**fields), "e", now=NOON).outcome is outcome


def test_trace_that_finished_ok_has_no_first_failure() -> None:
    on_the_way = trace_of({}, STEP_FAILED, {"errors": (error("a warning"),)})
    assert on_the_way.first_failure is not None
    trace = trace_of({}, STEP_FAILED, {"errors": (error("a warning"),)}, FINISHED_OK)
    assert trace.first_failure is None
    assert (len(trace.errors), trace.error_count, trace.failed_event_count) == (1, 1, 1)


def test_failure_after_a_good_end_is_no_first_failure() -> None:
    trace = trace_of({}, FINISHED_OK, STEP_FAILED, FINISHED_FAILED)
    assert (trace.outcome, trace.first_failure, trace.failed_event_count) == (Outcome.OK, None, 2)


def test_new_run_after_a_good_end_has_its_own_failure() -> None:
    trace = trace_of({}, STEP_FAILED, FINISHED_OK, {"new_run": True}, {**STEP_FAILED, "component": "writer"})
    assert trace.first_failure is not None
    assert (trace.first_failure.component, trace.first_failure.sequence) == ("writer", 5)


ends = st.sampled_from([{}, STEP_FAILED, {"errors": (error("x"),)}, FINISHED_OK, FINISHED_FAILED])


@given(st.lists(ends, max_size=6))
def test_failed_trace_alone_is_done_with_a_failure(events: list[dict[str, Any]]) -> None:
    trace = trace_of({}, *events)
    if trace.done:
        assert (trace.first_failure is not None) == (trace.outcome is Outcome.FAILED)


def test_row_of_an_earlier_release_has_no_first_failure() -> None:
    codec = RowCodec(time_in=datetime.isoformat, time_out=datetime.fromisoformat)
    ended = trace_of({}, FINISHED_OK)
    kept = replace(ended, first_failure=Failure("writer", "", 2))
    assert codec.trace(codec.new_trace_row(kept)) == ended
    running = replace(trace_of({}), first_failure=Failure("writer", "", 2))
    assert codec.trace(codec.new_trace_row(running)) == running
