"""Page tokens: good for their query and for nothing else."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from status_grpc.domain.errors import InvalidArgument
from status_grpc.wire.tokens import make_page_token, read_page_token

QUERY = ("GetTrace", "a", 0)
positions = st.lists(st.integers() | st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=3)


def refused(query: object, token: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_page_token(query, token)
    assert list(caught.value.fields) == ["page_token"]


@given(st.text(), positions)
def test_a_token_brings_its_query_on(trace_id: str, position: list[Any]) -> None:
    query = ("GetTrace", trace_id, 0)
    token = make_page_token(query, position)
    assert read_page_token(query, token) == position
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
