"""What hypothesis makes up: any valid value of the domain."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from status_grpc.domain.events import (
    Dataset,
    ErrorDetail,
    EventDraft,
    ExceptionDetail,
    TraceEventStatus,
    TraceStatus,
)

#: Any text but U+0000, and but the halves of characters, which no UTF-8 can carry.
_ALPHABET = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
#: Ids: no control characters either.
_ID_ALPHABET = st.characters(exclude_categories=["Cs", "Cc"])


def texts(most: int, least: int = 0) -> st.SearchStrategy[str]:
    return st.text(_ALPHABET, min_size=least, max_size=most)


def ids(least: int = 0) -> st.SearchStrategy[str]:
    return st.text(_ID_ALPHABET, min_size=least, max_size=40)


def times() -> st.SearchStrategy[datetime]:
    return st.datetimes(timezones=st.just(UTC))


#: JSON as a Struct can carry it: whole numbers up to 2^53, finite floats.
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    # Adding 0 makes 0 of -0: a Struct tells them apart, JSON's whole numbers do not.
    | st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)
    | texts(20),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(texts(8), below, max_size=4),
    max_leaves=12,
)
json_objects = st.dictionaries(texts(8), json_values, max_size=4)

#: Texts as programs have them: with U+0000, control characters and lone surrogates, such as of `os.fsdecode`.
odd_texts = st.text(st.characters(exclude_categories=[]), max_size=40) | st.binary(max_size=20).map(os.fsdecode)
#: Numbers beyond what a double or an int64 holds, and numbers that JSON does not have.
odd_numbers = (
    st.integers()
    | st.floats()
    | st.decimals()
    | st.sampled_from([2**53 + 1, 2**63, 2**1024, -(2**1024), 1e308 * 10, Decimal("1E+9999")])
)
#: Times at the edges of what there is, whose offsets may carry them beyond it, and without an offset.
odd_times = (
    st.datetimes(timezones=st.none() | st.timezones())
    | st.sampled_from([datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59)])  # noqa: DTZ001 - without an offset
    | st.sampled_from([timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))]).map(
        lambda offset: datetime.max.replace(tzinfo=offset)
    )
    | st.just(datetime.min.replace(tzinfo=timezone(timedelta(hours=14))))
)
#: Whatever a program may take for a value.
odd_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | odd_numbers | odd_texts | odd_times | st.timedeltas() | st.binary() | st.builds(object),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(odd_texts | st.integers(), below, max_size=4),
    max_leaves=10,
)

exceptions = st.builds(ExceptionDetail, texts(20), texts(40), texts(40))
error_details = st.builds(
    ErrorDetail,
    st.dictionaries(st.text(_ID_ALPHABET, min_size=1, max_size=5), texts(30), min_size=1, max_size=3),
    st.none() | json_objects,
)
datasets = st.builds(Dataset, texts(30, 1), texts(10))


@st.composite
def drafts(draw: st.DrawFn, **fixed: Any) -> EventDraft:
    """Any draft that both Create and Update accept."""
    status = draw(st.none() | st.sampled_from(TraceStatus))
    outcomes = st.sampled_from(TraceEventStatus)
    fields: dict[str, Any] = {
        "trace_id": draw(ids(1)),
        "trace_event_id": draw(ids()),
        "domain": draw(texts(20, 1)),
        "domain_id": draw(texts(20, 1)),
        "start_time": draw(st.none() | times()),
        "end_time": draw(st.none() | times()),
        "trace_status": status,
        "trace_event_status": draw(outcomes if status is TraceStatus.FINISHED else st.none() | outcomes),
        "user": draw(texts(20)),
        "component": draw(texts(20, 1)),
        "operation": draw(texts(20)),
        "status_body": draw(st.none() | json_objects),
        "meta": draw(st.none() | json_objects),
        "s3_path": draw(texts(30)),
        "duration": draw(st.none() | st.timedeltas(timedelta(), timedelta(days=3_000_000))),
        "exception": draw(st.none() | exceptions),
        "errors": tuple(draw(st.lists(error_details, max_size=3))),
        "inputs": tuple(draw(st.lists(datasets, max_size=3))),
        "outputs": tuple(draw(st.lists(datasets, max_size=3))),
        "step_id": draw(texts(20)),
        "attempt": draw(st.integers(0, 2**31 - 1)),
    }
    return EventDraft(**fields | fixed)


def _nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value


#: JSON as senders print it that check nothing: NaN, any integer, halves of characters, any depth.
hostile_json: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**1020, 2**1030)
    | st.floats()
    | st.text(st.characters(), max_size=12)
    | st.sampled_from(["\ud800", "a\0b", "N/A", "", "x" * 300, "x" * 5000, "2026-01-01", "12", 10**4000, 1e308 * 10]),
    lambda below: (
        st.lists(below, max_size=4)
        | st.dictionaries(
            st.text(st.characters(), max_size=6) | st.sampled_from(["message", "nb", "en"]), below, max_size=4
        )
        | st.builds(_nested, below, st.integers(1, 60))
    ),
    max_leaves=10,
)


_DECORATIONS = ["domain_id", "user", "operation", "status_body", "meta", "s3_path", "duration", "exception", "errors"]
_DECORATIONS += ["trace_id", "trace_event_id", "id", "sequence", "application_id", "s3path", "body", "more"]
OLD_END = {"domain": "d", "component": "c", "trace_status": "FINISHED", "trace_event_status": "FAILED"}


@st.composite
def old_ends(draw: st.DrawFn) -> bytes:
    """JSON of a valid end of the older contract, with anything around it."""
    times = st.sampled_from(["N/A", "2026-01-01", "9999-12-31T23:59:59.999999-14:00"])
    said = draw(st.dictionaries(st.sampled_from(_DECORATIONS), hostile_json, max_size=5))
    said |= {
        name: draw(times | hostile_json.filter(lambda value: value not in (None, "")))
        for name in ("start_time", "end_time")
    }
    return json.dumps(said | OLD_END).encode()
