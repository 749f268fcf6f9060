"""Which drafts may be recorded: whatever is wrong is named, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from builders import NOON, draft
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import drafts

from status_grpc.domain.errors import FieldViolation, InvalidArgument
from status_grpc.domain.events import Dataset, ErrorDetail, EventDraft, ExceptionDetail, TraceEventStatus, TraceStatus
from status_grpc.domain.limits import Limits
from status_grpc.domain.validation import DraftRules, check_filter, check_id, check_path, raise_if_any

LIMITS = Limits()
RULES = DraftRules(LIMITS)


def bad_in_create(event: EventDraft) -> list[str]:
    violations: list[FieldViolation] = []
    RULES.check_create(event, violations)
    return [violation.field for violation in violations]


def bad_in_update(event: EventDraft) -> list[str]:
    violations: list[FieldViolation] = []
    RULES.check_update(event, violations)
    return [violation.field for violation in violations]


@settings(max_examples=60)
@given(drafts())
def test_anything_valid_is_accepted(event: EventDraft) -> None:
    assert bad_in_create(event) == []
    assert bad_in_update(event) == []


def an_error(text: str = "x", **texts: str) -> ErrorDetail:
    return ErrorDetail({"en": text} | texts)


#: The field that must be named, and what makes it bad.
BAD: list[tuple[str, dict[str, Any]]] = [
    ("event.component", {"component": ""}),
    ("event.trace_id", {"trace_id": "x" * 129}),
    ("event.trace_id", {"trace_id": "line\nbreak"}),
    ("event.trace_id", {"trace_id": "c1 \x85"}),
    ("event.trace_event_id", {"trace_event_id": "x" * 129}),
    ("event.trace_event_id", {"trace_event_id": "\0"}),
    ("event.domain", {"domain": "x" * 257}),
    ("event.domain", {"domain": "a\0b"}),
    ("event.domain_id", {"domain_id": "x" * 1025}),
    ("event.domain_id", {"domain_id": "a\0b"}),
    ("event.user", {"user": "x" * 257}),
    ("event.user", {"user": "\0"}),
    ("event.component", {"component": "x" * 257}),
    ("event.component", {"component": "\0"}),
    ("event.operation", {"operation": "x" * 10_000_000}),
    ("event.operation", {"operation": "\0"}),
    ("event.step_id", {"step_id": "x" * 129}),
    ("event.step_id", {"step_id": "\0"}),
    ("event.s3_path", {"s3_path": "å" * 1025}),
    ("event.s3_path", {"s3_path": "raw/\0"}),
    ("event.attempt", {"attempt": -1}),
    ("event.trace_event_status", {"trace_status": TraceStatus.FINISHED, "trace_event_status": None}),
    ("event.duration", {"duration": timedelta(microseconds=-1)}),
    ("event.exception.type", {"exception": ExceptionDetail(type="x" * 257)}),
    ("event.exception.type", {"exception": ExceptionDetail(type="\0")}),
    ("event.exception.message", {"exception": ExceptionDetail(message="x" * (16 * 1024 + 1))}),
    ("event.exception.message", {"exception": ExceptionDetail(message="\0")}),
    ("event.exception.traceback", {"exception": ExceptionDetail(traceback="x" * (64 * 1024 + 1))}),
    ("event.exception.traceback", {"exception": ExceptionDetail(traceback="\0")}),
    ("event.errors", {"errors": (an_error(),) * 101}),
    ("event.errors[1].message", {"errors": (an_error(), ErrorDetail({}))}),
    ("event.errors[0].message", {"errors": (ErrorDetail({f"l{n}": "x" for n in range(21)}),)}),
    ("event.errors[0].message", {"errors": (ErrorDetail({"": "x"}),)}),
    ("event.errors[0].message", {"errors": (ErrorDetail({"x" * 36: "x"}),)}),
    ("event.errors[0].message", {"errors": (ErrorDetail({"n\nb": "x"}),)}),
    ("event.errors[2].message['nb']", {"errors": (an_error(), an_error(), an_error(nb="x" * 4097))}),
    ("event.errors[0].message['en']", {"errors": (an_error("\0"),)}),
    ("event.inputs", {"inputs": (Dataset("s3://x"),) * 1001}),
    ("event.inputs[0].uri", {"inputs": (Dataset(""),)}),
    ("event.inputs[1].uri", {"inputs": (Dataset("a"), Dataset("x" * 2049))}),
    ("event.inputs[0].uri", {"inputs": (Dataset("\0"),)}),
    ("event.inputs[0].version", {"inputs": (Dataset("a", "x" * 257),)}),
    ("event.outputs", {"outputs": (Dataset("s3://x"),) * 1001}),
    ("event.outputs[0].uri", {"outputs": (Dataset("", "1"),)}),
    ("event.outputs[0].version", {"outputs": (Dataset("a", "\0"),)}),
]


@pytest.mark.parametrize(("field", "fields"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_wrong_is_named(field: str, fields: dict[str, Any]) -> None:
    event = draft(**{"trace_id": "a"} | fields)
    assert bad_in_create(event) == [field]
    assert bad_in_update(event) == [field]


@pytest.mark.parametrize("field", ["domain", "domain_id", "component"])
def test_create_needs(field: str) -> None:
    assert bad_in_create(draft(**{field: ""})) == [f"event.{field}"]


@pytest.mark.parametrize("field", ["trace_id", "component"])
def test_update_needs(field: str) -> None:
    assert bad_in_update(draft(**{"trace_id": "a", "domain": "", "domain_id": "", field: ""})) == [f"event.{field}"]


@settings(max_examples=50)
@given(drafts(), st.lists(st.sampled_from(BAD), min_size=2, max_size=6))
def test_all_that_is_wrong_is_named_at_once(event: EventDraft, bad: list[tuple[str, dict[str, Any]]]) -> None:
    fields: dict[str, Any] = {}
    expected: set[str] = set()
    for field, values in bad:
        if not fields.keys() & values.keys():
            fields |= values
            expected.add(field)
    # What the made-up draft says of the other of two related fields must not make a second finding.
    fields = {"trace_status": None, "start_time": None, "end_time": None} | fields
    assert set(bad_in_update(replace(event, **fields))) == expected


def test_a_finished_event_with_an_outcome_is_fine() -> None:
    for outcome in TraceEventStatus:
        assert bad_in_create(draft(trace_status=TraceStatus.FINISHED, trace_event_status=outcome)) == []


def test_the_largest_that_is_allowed_is_allowed() -> None:
    event = draft(
        trace_id="x" * 128,
        trace_event_id="å" * 128,
        domain="x" * 256,
        domain_id="x" * 1024,
        s3_path="å" * 1024,
        exception=ExceptionDetail("x" * 256, "x" * 16 * 1024, "x" * 64 * 1024),
        errors=(ErrorDetail({f"l{n}": "x" * 4096 for n in range(20)}),) * 100,
        inputs=(Dataset("x" * 2048, "x" * 256),) * 1000,
        duration=timedelta(),
        start_time=NOON,
        end_time=NOON,
    )
    assert bad_in_create(event) == []


def test_the_operator_s_limits_count() -> None:
    violations: list[FieldViolation] = []
    DraftRules(replace(LIMITS, name_length=3, errors_per_event=0)).check_create(draft(errors=(an_error(),)), violations)
    assert [v.field for v in violations] == ["event.domain", "event.component", "event.errors"]


@pytest.mark.parametrize("path", ["a//b/../c", "s3://bucket/æ ø/å%20", " ", "a/", "e\u0301"])
def test_a_path_is_any_exact_string(path: str) -> None:
    violations: list[FieldViolation] = []
    check_path("s3_path", path, LIMITS, violations)
    assert violations == []


@pytest.mark.parametrize(("value", "good"), [("", False), ("a", True), ("x" * 128, True), ("x" * 129, False)])
def test_ids(value: str, good: bool) -> None:
    violations: list[FieldViolation] = []
    check_id("trace_id", value, LIMITS, violations)
    assert [v.field for v in violations] == ([] if good else ["trace_id"])


def test_filters_may_be_empty_and_not_too_long() -> None:
    violations: list[FieldViolation] = []
    check_filter("user", "", 5, violations)
    check_filter("user", "12345", 5, violations)
    assert violations == []
    check_filter("user", "123456", 5, violations)
    check_filter("domain", "\0", 5, violations)
    assert [v.field for v in violations] == ["user", "domain"]


def test_an_invalid_argument_names_its_fields_and_can_be_put_under_another() -> None:
    violations = [FieldViolation("event.user", "is too long"), FieldViolation("event.domain", "is required")]
    with pytest.raises(InvalidArgument, match=r"event\.user: is too long; event\.domain: is required") as caught:
        raise_if_any(violations)
    assert caught.value.fields == {"event.user": "is too long", "event.domain": "is required"}
    assert list(caught.value.under("requests[3]").fields) == ["requests[3].event.user", "requests[3].event.domain"]
    raise_if_any([])
