"""The end of a step is recorded whatever it is given."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import odd_numbers, odd_texts, odd_times, odd_values

from status_grpc import status_add, status_step, trace
from status_grpc.client.reporting import default
from status_grpc.client.reporting.default import NoReporter
from status_grpc.client.reporting.outbox import Ticket
from status_grpc.client.reporting.reports import Report, without_refused
from status_grpc.domain.errors import FieldViolation, InvalidArgument
from status_grpc.domain.events import EventDraft, TraceEventStatus, TraceStatus
from status_grpc.domain.limits import Limits
from status_grpc.domain.validation import DraftRules
from status_grpc.wire.events import decode_draft

#: As often as a report is mended before it is lost.
MENDED = 2

errors = st.lists(
    st.builds(
        lambda texts, more: {**more, "message": texts},
        st.dictionaries(odd_texts, odd_texts, min_size=1, max_size=3),
        st.dictionaries(odd_texts, odd_values, max_size=2),
    ),
    max_size=3,
)
decorations = st.fixed_dictionaries(
    {},
    optional={
        "trace_event_id": odd_values,
        "start_time": odd_times | odd_values,
        "end_time": odd_times | odd_values,
        "duration": odd_numbers | odd_values,
        "trace_event_status": odd_values,
        "user": odd_values,
        "component": odd_texts | odd_values,
        "operation": odd_texts,
        "status_body": odd_values,
        "meta": odd_values,
        "s3_path": odd_texts | odd_values,
        "errors": errors,
        "inputs": st.lists(odd_values | st.tuples(odd_texts, odd_texts)) | odd_values,
        "outputs": st.lists(odd_values) | odd_values,
        "step_id": odd_values,
        "attempt": odd_numbers | odd_values,
    },
)


class Collecting(NoReporter):
    """Keeps reports for the test to deliver."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def put(self, report: Report, *, urgent: bool = False) -> Ticket | None:
        self.reports.append(report)
        return super().put(report, urgent=urgent)


@pytest.fixture(scope="module")
def reporter() -> Collecting:
    return Collecting()


def recorded(report: Report) -> EventDraft:
    """Return the event as the server records it."""
    for _ in range(MENDED + 1):
        violations: list[FieldViolation] = []
        draft = decode_draft(report.request().event, Limits(), violations)
        rules = DraftRules(Limits())
        (rules.check_create if report.creates else rules.check_update)(draft, violations)
        if not violations:
            return draft
        mended = without_refused(report, InvalidArgument(violations))
        assert mended is not None, violations
        report = mended
    raise AssertionError(violations)


def reports_of(reporter: Collecting, fields: dict[str, Any], error: Exception | None, on: str) -> list[EventDraft]:
    reporter.reports.clear()
    default._default.reporter = reporter
    try:
        step = {"operation": "end", "trace_id": "t"} | fields
        with trace("d", "odd/1", **fields) if on == "trace" else status_step(**step):
            status_add(trace_status="FINISHED")
            if error is not None:
                raise error
    except ValueError:
        pass
    return [recorded(report) for report in reporter.reports]


@given(decorations, st.none() | odd_texts, st.sampled_from(["trace", "step"]))
def test_end_of_step_is_recorded_whatever_it_is_given(
    reporter: Collecting, fields: dict[str, Any], failure: str | None, on: str
) -> None:
    error = None if failure is None else ValueError(failure)
    last = reports_of(reporter, fields, error, on)[-1]
    assert last.trace_status is TraceStatus.FINISHED
    assert last.trace_event_id
    if error is not None:
        assert last.trace_event_status is TraceEventStatus.FAILED
        assert last.exception is not None
        assert last.exception.type == "ValueError"


@given(odd_texts, odd_texts)
def test_trace_of_any_name_does_not_raise(reporter: Collecting, name: str, trace_id: str) -> None:
    default._default.reporter = reporter
    with trace(name, name, trace_id=trace_id) as of_given_id, trace(name, name) as of_minted_id:
        of_given_id.trace_id.encode()
        assert not of_minted_id.trace_id.startswith("-")


def test_unfit_field_is_left_out_and_rest_sent(reporter: Collecting) -> None:
    fields = {"duration": 10**18, "attempt": 2**40, "status_body": {"rows": 7}, "user": "u"}
    last = reports_of(reporter, fields, None, "step")[-1]
    assert (last.duration, last.attempt, last.status_body, last.user) == (None, 0, {"rows": 7}, "u")


def test_number_of_too_many_digits_becomes_text(reporter: Collecting) -> None:
    fields = {"status_body": {"huge": 10**400, "longer": -(16**5000)}, "attempt": 10**5000, "duration": 10**5000}
    last = reports_of(reporter, fields, None, "step")[-1]
    assert last.status_body == {"huge": str(10**400), "longer": f"-0x1{'0' * 5000}"}
    assert last.attempt == 0
