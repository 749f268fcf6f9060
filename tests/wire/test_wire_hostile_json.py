"""JSON that is made to keep a parser busy takes time in proportion to its size."""

from __future__ import annotations

import pytest

from status_grpc.wire.json_values import NotJson
from status_grpc.wire.openlineage import read_json
from status_grpc.wire.tolerant_json import parse_tolerant
from status_grpc.wire.weight import MOST_VALUES, weigh_json

#: Too deep to parse, with a string that never ends: each of these took minutes when the search began anew in it.
ENDLESS = [
    b"[" * 1_500 + b'"' + b'\\"' * 200_000,
    b"[" * 1_500 + b'"x' * 200_001,
    b"[" * 1_500 + b'"' + b"\\" * 300_001,
    b"[" * 1_500 + b"1" * 400_000,
]


@pytest.mark.parametrize("text", ENDLESS, ids=lambda text: text[1_498:1_504].decode())
@pytest.mark.timeout(30)
def test_endless_text_is_refused_in_linear_time(text: bytes) -> None:
    with pytest.raises(NotJson):
        read_json(text)
    with pytest.raises(NotJson):
        parse_tolerant(text, lambda _: None)
    weigh_json(text)


def test_values_are_counted_outside_of_strings() -> None:
    assert weigh_json(b"[" + b"0," * MOST_VALUES + b"0]") is not None
    assert weigh_json(b'["' + b",[{" * MOST_VALUES + b'\\"' + b"," * MOST_VALUES + b'"]') is None
