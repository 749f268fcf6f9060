"""Page tokens: good for their query and for nothing else."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from status_grpc.domain.errors import InvalidArgument
from status_grpc.wire.tokens import make_page_token, number_in_token, read_page_token, text_in_token, time_in_token

QUERY = ("GetTrace", "a", 0)
NOW = datetime(2026, 11, 30, tzinfo=UTC)
positions = st.lists(st.integers() | st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=3)


def as_it_is(value: Any) -> Any:
    return value


def refused(query: object, token: str, *readers: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_page_token(query, token, *readers)
    assert list(caught.value.fields) == ["page_token"]


@given(st.text(), positions)
def test_a_token_brings_its_query_on(trace_id: str, position: list[Any]) -> None:
    query = ("GetTrace", trace_id, 0)
    token = make_page_token(query, position)
    assert read_page_token(query, token, *[as_it_is] * len(position)) == position
    assert token.isascii()


@given(positions, st.data())
def test_a_token_that_was_cut_or_changed_is_refused(position: list[Any], data: st.DataObject) -> None:
    token = make_page_token(QUERY, position)
    refused(QUERY, token[: data.draw(st.integers(0, len(token) - 1))])
    raw = bytearray(base64.urlsafe_b64decode(token))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    refused(QUERY, base64.urlsafe_b64encode(raw).decode())


@pytest.mark.parametrize(
    "other", [("GetTrace", "b", 0), ("GetTrace", "a", 1), ("ListTraces", "a", 0), ("GetTrace", "a"), None]
)
def test_a_token_of_another_query_is_refused(other: object) -> None:
    refused(other, make_page_token(QUERY, [7]))


@given(st.text())
def test_a_token_that_was_made_up_is_refused(token: str) -> None:
    refused(QUERY, token)


@given(st.binary(max_size=60))
def test_a_token_of_random_bytes_is_refused(raw: bytes) -> None:
    refused(QUERY, base64.urlsafe_b64encode(raw).decode())


def made_by_hand(body: bytes) -> str:
    """Return a token of QUERY with any body."""
    from status_grpc.wire import tokens

    return base64.urlsafe_b64encode(tokens._digest(QUERY, body) + body).decode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"7",
        b"{}",
        b"[",
        b"\xff",
        b"[" * 100_000,
        b"[" + b"9" * 5_000 + b"]",
        b"[9223372036854775808]",
        b"[-1]",
        b"[7.0]",
        b"[true]",
        b'["7"]',
        b"[7, 7]",
        b"[NaN]",
    ],
)
def test_handmade_number_positions_are_refused(body: bytes) -> None:
    refused(QUERY, made_by_hand(body), number_in_token)


@pytest.mark.parametrize(
    "position",
    [
        ["nodate", "x"],
        [7, "x"],
        ["2026-11-30", "x"],
        ["2026-11-30T00:00:00", "x"],
        ["0001-01-01T00:00:00+14:00", "x"],
        [NOW.isoformat(), None],
        [NOW.isoformat(), "\ud800"],
        [NOW.isoformat(), "a\0b"],
        [NOW.isoformat()],
        [NOW.isoformat(), "x", "x"],
    ],
)
def test_handmade_time_and_text_positions_are_refused(position: list[Any]) -> None:
    refused(QUERY, make_page_token(QUERY, position), time_in_token, text_in_token)


def test_positions_that_the_service_makes_are_read() -> None:
    token = make_page_token(QUERY, [NOW.isoformat(), "bike-trips-æ"])
    assert read_page_token(QUERY, token, time_in_token, text_in_token) == [NOW, "bike-trips-æ"]
    token = make_page_token(QUERY, [2**63 - 1])
    assert read_page_token(QUERY, token, number_in_token) == [2**63 - 1]
