"""Whatever bytes arrive, every parser returns or raises an error that it documents."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsers import PARSERS, SEED_BYTES

json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(2**70), 2**1100) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid text or message in which some bytes are replaced, repeated or left out."""
    data = bytearray(draw(st.sampled_from(SEED_BYTES)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 8)))
        data[start:end] = draw(st.binary(max_size=8)) * draw(st.integers(1, 3))
    return bytes(data)


anything = st.binary(max_size=100) | mutated() | json_values.map(lambda value: json.dumps(value).encode())


@pytest.mark.parametrize("name", PARSERS)
@given(data=anything)
def test_parser_returns_or_raises_a_documented_error(name: str, data: bytes) -> None:
    parse, errors = PARSERS[name]
    try:
        parse(data)
    except errors:
        pass
