"""The error table, in both directions, and what of an error goes out."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import quote

import pytest
from google.protobuf.any_pb2 import Any
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hypothesis import example, given
from hypothesis import strategies as st

from status_grpc.domain import errors
from status_grpc.domain.errors import FieldViolation, InvalidArgument, StatusError
from status_grpc.wire.codes import Code
from status_grpc.wire.errors import CODES, DETAILS_KEY, ERROR_DOMAIN, decode_error, decode_status, encode_error

#: Bases of others, never raised themselves.
ABSTRACT = {StatusError, errors.PassingError}

#: What the contract says of each.
CONTRACT = {
    "INVALID_ARGUMENT": {errors.InvalidArgument},
    "NOT_FOUND": {errors.TraceNotFound, errors.PathNotFound},
    "ALREADY_EXISTS": {errors.AlreadyExists, errors.TraceExists},
    "ABORTED": {errors.SequenceMismatch},
    "FAILED_PRECONDITION": {errors.TraceNotDone},
    "OUT_OF_RANGE": {errors.CursorAhead},
    "DATA_LOSS": {errors.HistoryChanged},
    "UNAUTHENTICATED": {errors.Unauthenticated},
    "PERMISSION_DENIED": {errors.PermissionDenied},
    "RESOURCE_EXHAUSTED": {errors.ResourceExhausted, errors.TraceFull, errors.Overloaded},
    "UNAVAILABLE": {errors.Unavailable, errors.Draining, errors.StreamTooOld, errors.SlowReader},
    "DEADLINE_EXCEEDED": {errors.DeadlineExceeded},
    "INTERNAL": {errors.Internal},
}


def all_kinds() -> list[type[StatusError]]:
    def below(kind: type[StatusError]) -> Iterator[type[StatusError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from below(child)

    seen = dict.fromkeys(below(StatusError))
    return [kind for kind in seen if kind not in ABSTRACT and kind.__module__ == errors.__name__]


KINDS = all_kinds()


def an(kind: type[StatusError]) -> StatusError:
    if kind is InvalidArgument:
        return InvalidArgument([FieldViolation("event.user", "is too long"), FieldViolation("event.domain", "is æ")])
    return kind(f"a {kind.__name__}")


def details_of(status: status_pb2.Status) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for detail in status.details:
        found.setdefault(detail.TypeName(), []).append(detail)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_in_the_table_as_the_contract_says(kind: type[StatusError]) -> None:
    assert kind in CONTRACT[CODES[kind].name]


def test_the_table_has_nothing_else_and_every_reason_once() -> None:
    assert set(CODES) == set(KINDS)
    assert len({kind.reason for kind in CODES}) == len(CODES)
    assert Code.UNKNOWN not in CODES.values()


def test_the_codes_are_those_of_google_rpc() -> None:
    assert {code.name: code.value for code in Code} == dict(code_pb2.Code.items())


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_comes_back_as_what_it_was(kind: type[StatusError]) -> None:
    error = an(kind)
    sent = encode_error(error)
    for came_back in (decode_status(sent), decode_error(CODES[kind], "ignored", sent.SerializeToString())):
        assert type(came_back) is kind
        assert came_back.message == error.message
        assert came_back.passing == error.passing


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_carries_its_reason_and_passing_ones_when_to_try_again(kind: type[StatusError]) -> None:
    details = details_of(encode_error(an(kind)))
    info = error_details_pb2.ErrorInfo()
    (packed,) = details["google.rpc.ErrorInfo"]
    packed.Unpack(info)
    assert (info.reason, info.domain) == (kind.reason, ERROR_DOMAIN)
    assert ("google.rpc.RetryInfo" in details) == issubclass(kind, errors.PassingError)
    assert ("google.rpc.BadRequest" in details) == (kind is InvalidArgument)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_says_something_by_itself(kind: type[StatusError]) -> None:
    error = kind([]) if kind is InvalidArgument else kind()
    assert error.message.endswith(".")


def test_what_an_error_knows_comes_back() -> None:
    bad = decode_status(encode_error(an(InvalidArgument)))
    assert isinstance(bad, InvalidArgument)
    assert bad.fields == {"event.user": "is too long", "event.domain": "is æ"}
    busy = decode_status(encode_error(errors.Overloaded(retry_after=timedelta(seconds=5, microseconds=3))))
    assert isinstance(busy, errors.Overloaded)
    assert busy.retry_after == timedelta(seconds=5, microseconds=3)
    broken = decode_status(encode_error(errors.Internal(incident="c0ffee")))
    assert isinstance(broken, errors.Internal)
    assert broken.incident == "c0ffee"


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
@pytest.mark.parametrize("details", [None, b"", b"\xff\xff\xff"])
def test_an_error_that_another_made_is_taken_for_one_of_ours(code: Code, details: bytes | None) -> None:
    error = decode_error(code, "made by the core", details)
    assert error.message == "made by the core"
    expected = CODES.get(type(error), None)
    assert expected is code or (code not in CODES.values() and type(error) is errors.Internal)
    assert decode_error(code, None, details).message


def test_an_unknown_reason_or_one_that_contradicts_its_code_is_told_by_the_code() -> None:
    sent = encode_error(errors.PathNotFound("x"))
    sent.code = Code.UNAVAILABLE
    assert type(decode_status(sent)) is errors.Unavailable
    later = status_pb2.Status(code=5, message="x")
    later.details.add().Pack(error_details_pb2.ErrorInfo(reason="NEW_IN_A_LATER_RELEASE", domain=ERROR_DOMAIN))
    assert type(decode_status(later)) is errors.TraceNotFound
    foreign = status_pb2.Status(code=5, message="x")
    foreign.details.add().Pack(error_details_pb2.ErrorInfo(reason="PATH_NOT_FOUND", domain="elsewhere"))
    assert type(decode_status(foreign)) is errors.TraceNotFound


@given(
    st.sampled_from([int(c) for c in Code if c is not Code.OK]) | st.integers(17, 2**31 - 1),
    st.lists(st.tuples(st.sampled_from(["ErrorInfo", "BadRequest", "RetryInfo", "Other"]), st.binary(max_size=30))),
)
def test_a_client_survives_details_that_are_none(code: int, details: list[tuple[str, bytes]]) -> None:
    status = status_pb2.Status(code=code, message="x")
    for name, value in details:
        status.details.append(Any(type_url=f"type.googleapis.com/google.rpc.{name}", value=value))
    assert isinstance(decode_status(status), StatusError)


def test_a_client_survives_a_delay_out_of_range() -> None:
    status = encode_error(errors.Unavailable("x"))
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.seconds = 2**62
    status.details[-1].Pack(retry)
    assert type(decode_status(status)) is errors.Unavailable


#: Fields and descriptions as hostile as a caller can make them: long, many, of characters that grow in transit.
hostile = st.sampled_from(["x", "%", "\n", "\x7f", "å", "漢", "🎉"]).flatmap(
    lambda c: st.sampled_from([0, 1, 300, 5_000]).map(lambda n: c * n)
)


def trailer_bytes(status: status_pb2.Status) -> int:
    """Return what the error takes in the trailers: percent-encoded text, base64 details, 32 bytes a header."""
    message = len(
        quote(status.message, safe="".join(map(chr, range(0x20, 0x25))) + "".join(map(chr, range(0x26, 0x7F))))
    )
    details = len(base64.b64encode(status.SerializeToString()))
    names = len("grpc-status") + len("grpc-message") + len(DETAILS_KEY)
    return message + details + names + 3 * 32


@given(st.lists(st.tuples(hostile, hostile), max_size=60))
@example([("%" * 5000, "%" * 5000)])
@example([("å" * 300, "🎉" * 300)] * 3)
@example([("x" * 200, "x" * 300)] * 30)
def test_an_error_fits_into_the_trailers_of_any_peer(violations: list[tuple[str, str]]) -> None:
    status = encode_error(InvalidArgument([FieldViolation(*violation) for violation in violations]))
    assert status.ByteSize() <= 6 * 1024
    assert trailer_bytes(status) <= 8 * 1024


@given(hostile)
def test_any_message_fits_into_the_trailers_of_any_peer(message: str) -> None:
    status = encode_error(errors.TraceNotFound(f"there is no trace {message}"))
    assert trailer_bytes(status) <= 8 * 1024
    assert status.message.startswith("there is no trace ")


def test_the_first_violations_are_told_whole_when_there_is_no_room_for_all() -> None:
    many = [FieldViolation(f"requests[{n}].event.component", "is required") for n in range(1000)]
    told = decode_status(encode_error(InvalidArgument(many)))
    assert isinstance(told, InvalidArgument)
    assert len(told.violations) >= 20
    assert list(told.violations) == many[: len(told.violations)]
