"""Whatever a step tells about itself becomes an event that the service takes."""

from __future__ import annotations

import dataclasses
import enum
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tracestatus.v1 import trace_pb2

from status_grpc.client.reporting.fields import exception_detail, to_draft
from status_grpc.client.reporting.plain import plain_object
from status_grpc.client.reporting.reports import make_report, without_refused
from status_grpc.domain.errors import FieldViolation, InvalidArgument
from status_grpc.domain.events import Dataset, ErrorDetail, EventDraft, ExceptionDetail, TraceEventStatus, TraceStatus
from status_grpc.domain.limits import Limits
from status_grpc.domain.validation import DraftRules
from status_grpc.wire.events import decode_draft

ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.datetimes(timezones=st.just(UTC))
    | st.decimals()
    | st.builds(object),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.tuples(inner, inner)
        | st.frozensets(st.integers())
    ),
    max_leaves=10,
)
NAMES = [field.name for field in dataclasses.fields(EventDraft) if field.name not in ("encodings", "encoded_bytes")]


def accepted(draft: EventDraft) -> list[FieldViolation]:
    """Return what the service would refuse."""
    event = make_report(draft).request().event
    violations: list[FieldViolation] = []
    DraftRules(Limits()).check_update(decode_draft(event, Limits(), violations), violations)
    return violations


@given(st.dictionaries(st.sampled_from([*NAMES, "no_such_field"]), ANYTHING))
def test_anything_becomes_an_event_that_can_be_sent(fields: dict[str, Any]):
    draft = to_draft(fields | {"trace_id": "t", "component": "c"})
    report = make_report(draft)
    assert report.request().event.trace_id == "t"


@given(ANYTHING)
def test_anything_in_a_body_is_taken_by_the_service(value: Any):
    draft = to_draft({"trace_id": "t", "component": "c", "status_body": value, "meta": {"key": value}})
    assert accepted(draft) == []


@given(st.text(st.characters()), st.text(st.characters()))
def test_any_text_is_taken_by_the_service(text: str, other: str):
    fields = {"domain": text, "user": other, "operation": text * 200, "domain_id": other * 900, "exception": text}
    fields |= {"errors": [{"message": {"en": text * 900}, "details": other}]}
    draft = to_draft(fields | {"trace_id": "t", "component": "c"})
    assert accepted(draft) == []


def test_values_are_converted_generously():
    class Old(enum.StrEnum):
        FINISHED = "FINISHED"

    @dataclasses.dataclass
    class Meta:
        git_rev: str

    draft = to_draft(
        {
            "trace_status": Old.FINISHED,
            "trace_event_status": "FAILED",
            "start_time": "2026-01-02T03:04:05",
            "end_time": "N/A",
            "duration": 1.5,
            "status_body": {
                "when": date(2026, 1, 2),
                "price": Decimal("1.5"),
                "set": {1},
                "nan": float("nan"),
                3: "three",
            },
            "meta": Meta("abc"),
            "s3_path": PurePosixPath("raw/a"),
            "exception": "ZeroDivisionError: division by zero",
            "inputs": "s3://one",
            "outputs": [PurePosixPath("a"), ("b", 2), {"uri": "c"}, Dataset("d", "e")],
            "errors": [ErrorDetail({"nb": "feil"}, {"row": 1})],
            "attempt": "3",
            "user": None,
        }
    )
    assert draft == EventDraft(
        trace_status=TraceStatus.FINISHED,
        trace_event_status=TraceEventStatus.FAILED,
        start_time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        duration=timedelta(microseconds=1500),
        status_body={"when": "2026-01-02", "price": 1.5, "set": [1], "nan": None, "3": "three"},
        meta={"git_rev": "abc"},
        s3_path="raw/a",
        exception=ExceptionDetail(message="ZeroDivisionError: division by zero"),
        inputs=(Dataset("s3://one"),),
        outputs=(Dataset("a"), Dataset("b", "2"), Dataset("c"), Dataset("d", "e")),
        errors=(ErrorDetail({"nb": "feil"}, {"row": 1}),),
        attempt=3,
    )
    assert to_draft({"status_body": "N/A"}).status_body == {"value": "N/A"}


def test_what_nothing_can_be_made_of_is_left_out_and_that_is_said_once(caplog: pytest.LogCaptureFixture):
    for _ in range(2):
        draft = to_draft({"start_time": "yesterday", "bogus": 1, "attempt": "first", "user": "u"})
    assert draft == EventDraft(user="u")
    assert len(caplog.records) == 3


def test_a_body_is_never_deeper_or_more_circular_than_the_service_takes():
    circle: dict[str, Any] = {}
    circle["self"] = circle
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    assert accepted(to_draft({"trace_id": "t", "component": "c", "status_body": circle, "meta": {"deep": deep}})) == []


def test_numbers_of_other_libraries_are_numbers():
    class Array:
        def tolist(self) -> list[float]:
            return [1.0, 2.5]

    assert plain_object({"array": Array()}, 5) == {"array": [1.0, 2.5]}
    assert plain_object(10**400, 5) == str(10**400)


def test_an_exception_is_bounded_and_its_end_is_kept():
    def recurse(depth: int) -> None:
        if depth:
            recurse(depth - 1)
        raise ValueError("x" * 100_000)

    with pytest.raises(ValueError) as raised:
        recurse(500)
    detail = exception_detail(raised.value)
    assert (detail.type, len(detail.message)) == ("ValueError", 4096)
    assert len(detail.traceback) <= 16 * 1024
    assert detail.traceback.endswith("x\n")

    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert exception_detail(Unspeakable()).message == "(its text cannot be had)"


def test_what_makes_an_event_too_large_is_left_out():
    draft = EventDraft(trace_id="t", component="c", status_body={"x": "x" * 2_000_000}, meta={"git_rev": "abc"})
    event = make_report(draft).request().event
    assert event.ByteSize() < 1024 * 1024
    assert not event.HasField("status_body")
    assert event.meta["git_rev"] == "abc"
    assert dict(event.meta["left_out"]) == {"status_body": "too large"}


def test_what_the_service_refuses_is_left_out():
    report = make_report(EventDraft(trace_id="t", component="c", user="u", status_body={"a": 1}))
    refusal = InvalidArgument(
        [FieldViolation("event.status_body.a", "no"), FieldViolation("requests[3].event.user", "no")]
    )
    mended = without_refused(report, refusal)
    assert mended is not None
    event: trace_pb2.TraceEvent = mended.request().event
    assert (event.trace_id, event.user, event.HasField("status_body")) == ("t", "", False)
    assert set(event.meta["left_out"]) == {"user", "status_body"}
    assert without_refused(report, InvalidArgument([FieldViolation("event.trace_id", "no")])) is None
