"""Why a trace failed: its errors, who reported them, and what failed first."""

from __future__ import annotations

from typing import Any

import pytest
from builders import FINISHED_FAILED, FINISHED_OK, NOON, draft, error
from hypothesis import given
from hypothesis import strategies as st

from status_grpc.domain.events import ErrorDetail, ExceptionDetail, TraceEventStatus
from status_grpc.domain.limits import TRACE_ERROR_LENGTH, TRACE_ERROR_TEXT_LENGTH, TRACE_ERRORS
from status_grpc.domain.traces import Failure, Trace, apply, record, record_first

FAILED = TraceEventStatus.FAILED


def trace_of(*events: dict[str, Any]) -> Trace:
    """Return the state after these events; "new_run" among the fields opens one."""
    first, *rest = events
    trace = apply(None, record_first(draft(**first), "a", "0", now=NOON))
    for number, fields in enumerate(rest, 1):
        new_run = fields.pop("new_run", False)
        trace = apply(trace, record(trace, draft(**fields), str(number), new_run=new_run, now=NOON))
    return trace


def test_a_validator_s_errors_are_the_reason_when_the_end_says_only_failed() -> None:
    trace = trace_of(
        {"component": "uploader"},
        {"component": "validator", "operation": "check", "step_id": "v1", "errors": (error("row 3 is bad"),)},
        {"component": "state-machine", **FINISHED_FAILED},
    )
    assert trace.trace_event_status is FAILED
    assert trace.first_failure == Failure("validator", "check", 2, "v1")
    assert [(e.component, e.operation, e.sequence, e.step_id) for e in trace.errors] == [
        ("validator", "check", 2, "v1")
    ]
    assert trace.errors[0].error.message == {"en": "row 3 is bad"}


def test_an_event_that_failed_is_the_reason_and_not_the_end_after_it() -> None:
    trace = trace_of(
        {"component": "uploader"},
        {
            "component": "writer",
            "trace_event_status": FAILED,
            "exception": ExceptionDetail("OSError", "disk full", "…"),
        },
        {"component": "state-machine", "exception": ExceptionDetail("States.TaskFailed", "…"), **FINISHED_FAILED},
    )
    assert trace.first_failure == Failure("writer", "", 2, exception_type="OSError", exception_message="disk full")


def test_a_failure_that_says_why_is_its_own_reason_though_others_reported_errors_before() -> None:
    trace = trace_of(
        {"component": "validator", "errors": (error("a warning"),)},
        {"component": "writer", "trace_event_status": FAILED, "errors": (error("no room"),)},
    )
    assert trace.first_failure is not None
    assert trace.first_failure.component == "writer"
    assert [reported.component for reported in trace.errors] == ["validator", "writer"]


def test_a_bare_failure_with_nothing_before_it_is_the_reason_itself() -> None:
    trace = trace_of({"component": "uploader"}, {"component": "state-machine", **FINISHED_FAILED})
    assert trace.first_failure == Failure("state-machine", "", 2)


def test_errors_of_a_run_that_ends_well_are_told_and_nothing_failed() -> None:
    trace = trace_of({"errors": (error("a warning"),)}, FINISHED_OK)
    assert trace.first_failure is None
    assert trace.error_count == 1


def test_errors_that_come_after_a_bare_end_still_tell_why() -> None:
    before = trace_of({}, FINISHED_FAILED)
    late = record(before, draft(component="validator", errors=(error("late"),)), "late", now=NOON)
    after = apply(before, late)
    assert [reported.component for reported in after.errors] == ["validator"]
    assert after.error_count == 1
    assert after.first_failure is not None
    assert (after.first_failure.component, after.first_failure.sequence) == ("validator", late.sequence)
    assert (after.component, after.operation) == (before.component, before.operation)
    assert (after.done, after.trace_event_status, after.finish_time) == (True, FAILED, before.finish_time)


def test_late_errors_do_not_replace_a_failure_that_said_why() -> None:
    exception = ExceptionDetail("ValueError", "bad header")
    before = trace_of({}, {**FINISHED_FAILED, "component": "writer", "exception": exception})
    late = record(before, draft(component="validator", errors=(error("late"),)), "late", now=NOON)
    after = apply(before, late)
    assert after.first_failure == before.first_failure
    assert after.error_count == 1


def test_a_new_run_begins_with_no_reason_and_has_its_own() -> None:
    failed = {"component": "validator", "trace_event_status": FAILED, "errors": (error("bad"),)}
    again = trace_of({}, failed, FINISHED_FAILED, {"new_run": True, "component": "redrive"})
    assert (again.run, again.done, again.finish_time) == (2, False, None)
    assert (again.errors, again.error_count, again.first_failure) == ((), 0, None)
    assert again.failed_event_count == 2, "counts the failed events of all runs"
    well = trace_of({}, failed, FINISHED_FAILED, {"new_run": True}, FINISHED_OK)
    assert (well.done, well.trace_event_status) == (True, TraceEventStatus.OK)


def test_a_later_path_is_the_trace_s_only_if_it_had_none() -> None:
    assert trace_of({}, {"s3_path": "raw/x"}).s3_path == "raw/x"
    assert trace_of({"s3_path": "raw/x"}, {"s3_path": "raw/y"}).s3_path == "raw/x"
    assert trace_of({}, FINISHED_OK, {"s3_path": "raw/late"}).s3_path == "raw/late"


sizes = st.sampled_from((1, 100, TRACE_ERROR_TEXT_LENGTH, 4096))
reports = st.lists(st.lists(sizes, max_size=40), max_size=12)


@given(reports, st.integers(1, 20))
def test_a_state_stays_small_whatever_is_reported(reported: list[list[int]], languages: int) -> None:
    def detailed(size: int) -> ErrorDetail:
        return ErrorDetail({f"l{n}": "x" * size for n in range(languages)}, {"rows": list(range(1000))})

    trace = trace_of({}, *({"errors": tuple(map(detailed, event))} for event in reported))
    assert trace.error_count == sum(map(len, reported))
    assert len(trace.errors) <= TRACE_ERRORS
    length = sum(len(text) for entry in trace.errors for text in entry.error.message.values())
    assert length <= TRACE_ERROR_LENGTH or len(trace.errors) == 1
    assert all(entry.error.details is None for entry in trace.errors), "the details are in the event"
    assert (trace.error_count > 0) == bool(trace.errors), "the first is always kept"
    assert [entry.sequence for entry in trace.errors] == sorted(entry.sequence for entry in trace.errors)


@pytest.mark.parametrize("length", [1024, 100_000])
def test_an_exception_is_summarised(length: int) -> None:
    trace = trace_of({"trace_event_status": FAILED, "exception": ExceptionDetail("E", "x" * length, "t" * 10_000)})
    assert trace.first_failure is not None
    assert trace.first_failure.exception_message == "x" * 1024
