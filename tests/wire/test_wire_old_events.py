"""Events of the older service's JSON, and JSON itself: whatever arrives is read exactly, or said to be wrong."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import OLD_END, drafts, json_values, old_ends

from status_grpc.domain.errors import FieldViolation
from status_grpc.domain.events import EventDraft, ExceptionDetail, TraceEventStatus, TraceStatus
from status_grpc.domain.limits import Limits
from status_grpc.domain.traces import record_first
from status_grpc.domain.validation import DraftRules
from status_grpc.service.fingerprint import fingerprint
from status_grpc.wire.events import encode_event
from status_grpc.wire.json_values import NotJson, parse_value
from status_grpc.wire.old_events import OLDER_NAMES, REQUIRED_TO_UPDATE, old_event, read_old_event
from status_grpc.wire.tolerant_json import parse_tolerant

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def read(said: dict[str, object], **options: object) -> tuple[EventDraft, list[FieldViolation]]:
    violations: list[FieldViolation] = []
    draft, _ = read_old_event(said, Limits(), violations, [], **options)  # type: ignore[arg-type]
    return draft, violations


@given(drafts())
def test_what_is_told_can_be_read_again_and_is_the_same(draft):
    event = record_first(draft, "t", "e", now=NOW)
    said = json.loads(json.dumps(old_event(event)))
    read_again, violations = read(said)
    assert violations == []
    # What the older service has no field for is not told.
    forgotten = {"inputs": (), "outputs": (), "step_id": "", "attempt": 0}
    again = record_first(
        replace(draft, **{name: getattr(read_again, name) for name in draft.__slots__}), "t", "e", now=NOW
    )
    assert old_event(again) == old_event(replace(event, **forgotten))


@pytest.mark.parametrize(
    ("exception", "text"),
    [
        (ExceptionDetail("ValueError", "no price", "Traceback ..."), "ValueError: no price"),
        (ExceptionDetail("KeyboardInterrupt"), "KeyboardInterrupt"),
        (ExceptionDetail(message="no price"), "no price"),
        (ExceptionDetail(traceback="Traceback ..."), "Traceback ..."),
    ],
)
def test_an_exception_is_one_text(exception, text):
    draft = EventDraft(domain="d", domain_id="d", component="c", exception=exception)
    assert old_event(record_first(draft, "t", "e", now=NOW))["exception"] == text


@given(st.dictionaries(st.sampled_from([*EventDraft.__slots__, *OLDER_NAMES, "more"]), json_values))
def test_whatever_is_said_is_read_or_named(said):
    _, violations = read(said, required=REQUIRED_TO_UPDATE)
    assert {violation.field.partition(".")[0] for violation in violations} <= {"event"}


LIMITS = Limits(event_bytes=20_000)


@given(old_ends())
@settings(max_examples=400)
def test_an_end_that_can_be_understood_is_recorded_whatever_is_around_it(text):
    violations: list[FieldViolation] = []
    cleaned: list[FieldViolation] = []
    value = parse_tolerant(text, lambda _: None)
    draft, legacy = read_old_event(
        value, LIMITS, violations, cleaned, required=REQUIRED_TO_UPDATE, ignored=("trace_id", "trace_event_id")
    )
    draft = replace(draft, trace_id="t")
    DraftRules(LIMITS).check_update(draft, violations)
    assert violations == []
    assert (draft.trace_status, draft.trace_event_status) == (TraceStatus.FINISHED, TraceEventStatus.FAILED)
    # It can be fingerprinted, sent over gRPC, stored, and returned in valid UTF-8.
    fingerprint(draft)
    event = record_first(replace(draft, domain_id="x"), "t", "e", now=NOW, legacy=legacy)
    encode_event(event)
    json.dumps(old_event(event), ensure_ascii=False, allow_nan=False).encode()
    legacy.encode()
    assert "\0" not in legacy


def read_end(**fields: object) -> tuple[EventDraft, str]:
    return read_old_event(OLD_END | {"domain_id": "x"} | fields, Limits(), [], [])


@given(json_values)
def test_a_status_body_that_can_be_stored_is_returned_as_it_was_sent(body):
    draft, legacy = read_end(status_body=body)
    event = record_first(draft, "t", "e", now=NOW, legacy=legacy)
    assert json.dumps(old_event(event).get("status_body")) == json.dumps(body)


@pytest.mark.parametrize("fields", [{}, {"status_body": {"a": 1}, "errors": [{"message": {"en": "x"}}], "meta": {}}])
def test_an_event_that_the_protocol_can_hold_needs_nothing_beside_it(fields):
    assert read_end(duration=12.5, **fields)[1] == ""


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
    max_leaves=20,
)


@given(any_json)
def test_any_json_is_read_as_it_is(value):
    try:
        text = json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half of a character
        with pytest.raises(NotJson):
            parse_value(json.dumps(value).encode())
    else:
        assert parse_value(text) == parse_value(b"\xef\xbb\xbf" + text) == value


@given(st.binary(max_size=40) | st.text('[]{}",:0123456789.eE+-\\u truefalsn', max_size=40).map(str.encode))
def test_any_bytes_are_json_or_said_to_be_none(data):
    try:
        value = parse_value(data)
    except NotJson:
        return
    assert parse_value(json.dumps(value).encode()) == value
