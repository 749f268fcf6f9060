"""Lone surrogates are escaped, and other text is untouched."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import odd_texts

from status_grpc.domain.text import escape_surrogates, escape_surrogates_within


@given(st.text())
def test_valid_unicode_is_untouched(text: str) -> None:
    assert escape_surrogates(text) == text


@given(odd_texts)
def test_every_escaped_text_can_be_encoded(text: str) -> None:
    escape_surrogates(text).encode()


@given(st.binary())
def test_file_name_is_escaped_as_backslashreplace_would(name: bytes) -> None:
    assert escape_surrogates(os.fsdecode(name)) == name.decode(errors="backslashreplace")


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("caf\udce9", "caf\\xe9"),
        ("\udc80\udcff", "\\x80\\xff"),
        ("\ud800 \udfff \udc7f \udd00", "\\ud800 \\udfff \\udc7f \\udd00"),
        ("C:\\x80\\temp", "C:\\x80\\temp"),
        ("blåbær 🚲", "blåbær 🚲"),
    ],
)
def test_each_surrogate_becomes_its_escape(text: str, escaped: str) -> None:
    assert escape_surrogates(text) == escaped


def test_keys_and_values_within_json_are_escaped() -> None:
    value = {"a\udc80": ["\udcff", {"b": "\ud800"}, 1, None]}
    assert escape_surrogates_within(value) == {"a\\x80": ["\\xff", {"b": "\\ud800"}, 1, None]}
