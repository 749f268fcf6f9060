"""Struct and JSON: what goes in comes out, and what cannot be stored is named with its place."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import given
from hypothesis import strategies as st
from strategies import json_objects
from tracestatus.v1 import status_service_pb2 as pb

from status_grpc.domain.errors import FieldViolation, InvalidArgument
from status_grpc.wire.structs import decode_struct, fill_struct, to_object


def struct_of(value: dict[str, Any]) -> Struct:
    message = Struct()
    fill_struct(message, value)
    return message


def decoded(message: Struct, depth: int = 24) -> tuple[Any, dict[str, str]]:
    violations: list[FieldViolation] = []
    value = decode_struct("event.meta", message, depth, violations)
    return value, {violation.field: violation.description for violation in violations}


@given(json_objects)
def test_what_goes_in_comes_out(value: dict[str, Any]) -> None:
    parsed = Struct.FromString(struct_of(value).SerializeToString())
    assert decoded(parsed) == (value, {})
    assert to_object(parsed) == value


@given(json_objects)
def test_a_struct_is_the_one_that_protobuf_makes_of_the_json(value: dict[str, Any]) -> None:
    assert struct_of(value) == json_format.ParseDict(value, Struct())


@given(st.integers(-(2**53), 2**53))
def test_whole_numbers_stay_integers(number: int) -> None:
    value, bad = decoded(struct_of({"n": number, "l": [number]}))
    assert bad == {}
    assert (value["n"], type(value["n"]), type(value["l"][0])) == (number, int, int)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_finite_number_keeps_its_value(number: float) -> None:
    value, bad = decoded(struct_of({"n": number}))
    assert (value, bad) == ({"n": number}, {})
    assert isinstance(value["n"], int) == (number.is_integer() and abs(number) <= 2**53)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_in_json_is_refused_with_its_place(number: float) -> None:
    bad_one = Struct()
    bad_one.update({"rows": [{"ok": 1}, {"counts": [0, number]}]})
    assert decoded(bad_one) == (None, {"event.meta.rows[1].counts[1]": "must be a finite number"})


def test_u_0000_is_refused_with_its_place() -> None:
    assert list(decoded(struct_of({"a": {"b": "x\0"}}))[1]) == ["event.meta.a.b"]
    assert list(decoded(struct_of({"a": {"b\0": "x"}}))[1]) == ["event.meta.a"]


def test_a_value_of_no_kind_is_refused_with_its_place() -> None:
    assert list(decoded(Struct(fields={"a": Value()}))[1]) == ["event.meta.a"]
    nothing = Struct()
    nothing.fields["l"].list_value.values.add()
    assert list(decoded(nothing)[1]) == ["event.meta.l[0]"]


@pytest.mark.parametrize("wrap", [lambda below: {"a": below}, lambda below: [below]], ids=["objects", "lists"])
def test_nesting_is_allowed_to_the_limit_and_not_beyond(wrap: Any) -> None:
    def nested(levels: int) -> Struct:
        value: Any = 1
        for _ in range(levels - 1):
            value = wrap(value)
        return struct_of({"top": value})

    assert decoded(nested(5), depth=5)[1] == {}
    value, bad = decoded(nested(6), depth=5)
    assert value is None
    assert list(bad.values()) == ["is nested too deep"]
    assert next(iter(bad)).startswith("event.meta.top")


def test_the_place_in_a_huge_struct_is_told_in_few_words() -> None:
    value: Any = math.nan
    for _ in range(20):
        value = {"k" * 1000: value}
    huge = Struct()
    huge.update({"top": value})
    ((place, _),) = decoded(huge)[1].items()
    assert len(place) <= 500


def test_an_empty_struct_is_an_object_and_no_nothing() -> None:
    assert decoded(struct_of({})) == ({}, {})
    holder = Value()
    fill_struct(holder.struct_value, {})
    assert holder.WhichOneof("kind") == "struct_value"


def test_integers_beyond_a_double_lose_digits_and_nothing_else() -> None:
    value, bad = decoded(struct_of({"n": 2**53 + 1}))
    assert bad == {}
    assert value == {"n": float(2**53)}


def circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "description"),
    [
        (b"bytes", "is not a JSON value, but of type bytes"),
        ({1, 2}, "is not a JSON value, but of type set"),
        (2**1024, "must be a finite number that a double can hold"),
        pytest.param(-(10**5000), "must be a finite number that a double can hold", id="5,001 digits"),
        (math.nan, "must be a finite number that a double can hold"),
        (math.inf, "must be a finite number that a double can hold"),
        ({1: "x"}, "has a key that is not a text but of type int"),
    ],
)
def test_value_without_encoding_is_refused_with_its_place(value: object, description: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        struct_of({"ok": 1, "rows": [0, {"x": value}]})
    assert refused.value.fields == {".rows[1].x": description}


def test_a_circular_value_is_refused_as_too_deep() -> None:
    with pytest.raises(InvalidArgument) as refused:
        struct_of({"x": circular()})
    assert list(refused.value.fields.values()) == ["is nested too deep"]


@pytest.mark.parametrize(("wrap", "most"), [(lambda below: {"a": below}, 31), (lambda below: [below], 46)])
def test_deepest_encodable_struct_can_be_parsed_in_batch(wrap: Any, most: int) -> None:
    def nested(levels: int) -> dict[str, Any]:
        value: Any = 1
        for _ in range(levels):
            value = wrap(value)
        return {"top": value}

    request = pb.BatchUpdateRequest()
    fill_struct(request.requests.add().event.errors.add().details, nested(most - 1))
    assert pb.BatchUpdateRequest.FromString(request.SerializeToString()) == request
    with pytest.raises(InvalidArgument):
        struct_of(nested(most + 1))
