"""Ends in a table are recorded as ends, whatever else is odd."""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import closing
from typing import Any, BinaryIO, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import odd_texts

from status_grpc.cli.old_table import LineReader, Sorted
from status_grpc.client.encodings import encode_draft
from status_grpc.domain.errors import FieldViolation, InvalidArgument
from status_grpc.domain.events import EventDraft, TraceEventStatus, TraceStatus
from status_grpc.domain.limits import Limits
from status_grpc.domain.validation import DraftRules, raise_if_any
from status_grpc.wire.events import decode_draft

NAMES = (
    *("trace_event_id", "domain", "domain_id", "start_time", "end_time", "user", "component", "operation"),
    *("status_body", "meta", "s3_path", "duration", "exception", "errors", "application_id", "date_end", "body"),
)
json_numbers = st.integers() | st.floats() | st.sampled_from([2**53 + 1, 2**1024, 10**310])
json_values = st.recursive(
    st.none() | st.booleans() | json_numbers | odd_texts | st.datetimes().map(str),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(odd_texts, below, max_size=4),
    max_leaves=4,
)
#: Values as DynamoDB types them, and some that it has no type for.
dynamo_values = st.recursive(
    st.builds(
        lambda kind, item: {kind: item}, st.sampled_from(["S", "N", "BOOL", "NULL", "SS", "NS", "X"]), json_values
    )
    | json_numbers.map(lambda number: {"N": str(number)}),
    lambda below: (
        st.lists(below, max_size=3).map(lambda items: {"L": items})
        | st.dictionaries(odd_texts, below, max_size=3).map(lambda items: {"M": items})
    ),
    max_leaves=4,
)
SURE = {"trace_id": "t", "trace_status": "FINISHED", "trace_event_status": "FAILED"}
plain_lines = st.dictionaries(st.sampled_from(NAMES) | odd_texts, json_values, max_size=5).map(lambda odd: odd | SURE)
items = st.dictionaries(st.sampled_from(NAMES) | odd_texts, dynamo_values, max_size=5).map(
    lambda odd: odd | {name: {"S": value} for name, value in SURE.items()}
)
lines = plain_lines | items.map(lambda item: {"Item": item}) | items.map(lambda item: {"NewImage": item, "Keys": {}})


def read(said: Any) -> EventDraft:
    """Return the event of a line as the server records it."""
    file = cast(BinaryIO, io.BufferedReader(io.BytesIO(json.dumps(said).encode())))  # type: ignore[arg-type]
    (first,) = LineReader().read([file], lambda _: None)
    assert (first.draft is not None, first.error) == (True, "")
    with closing(sqlite3.connect(":memory:")) as connection:
        sorted_lines = Sorted(connection)
        sorted_lines.add(first)
        (line,) = sorted_lines
    while True:
        assert line.draft is not None
        try:
            draft = taken(line.draft)
        except InvalidArgument as error:
            if not line.leave_out(error):
                raise
        else:
            assert first.draft is not None
            assert draft.trace_event_id == first.draft.trace_event_id, "importing it again records nothing twice"
            return draft


def taken(draft: EventDraft) -> EventDraft:
    """Return the event as the service takes it. Raises InvalidArgument."""
    violations: list[FieldViolation] = []
    received = decode_draft(encode_draft(draft), Limits(), violations)
    DraftRules(Limits()).check_create(received, violations)
    raise_if_any(violations)
    return received


@settings(deadline=None, max_examples=60)
@given(lines)
def test_readable_end_of_odd_item_is_recorded_as_end(said: Any) -> None:
    draft = read(said)
    assert (draft.trace_id, draft.trace_status) == ("t", TraceStatus.FINISHED)
    assert draft.trace_event_status is TraceEventStatus.FAILED
