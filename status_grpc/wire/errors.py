"""The error table: every error of the domain, its code, its reason and its details, in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from tracestatus.v1 import status_service_pb2 as pb

from status_grpc.domain import errors
from status_grpc.domain.errors import FieldViolation, InvalidArgument, StatusError
from status_grpc.wire.codes import Code
from status_grpc.wire.times import decode_duration, encode_duration

M = TypeVar("M", bound=Message)

#: google.rpc.ErrorInfo.domain of every error this service makes.
ERROR_DOMAIN = "status-grpc"

#: The metadata key under which gRPC carries a google.rpc.Status with details.
DETAILS_KEY = "grpc-status-details-bin"

#: How much of an error goes out: peers refuse trailers of more than 8 KiB, and both parts grow in transit (a message by
#: percent-encoding, the details by base64).
_LONGEST_MESSAGE_BYTES = 1500
_MOST_VIOLATION_BYTES = 2500

CODES: dict[type[StatusError], Code] = {
    errors.InvalidArgument: Code.INVALID_ARGUMENT,
    errors.TraceNotFound: Code.NOT_FOUND,
    errors.PathNotFound: Code.NOT_FOUND,
    errors.AlreadyExists: Code.ALREADY_EXISTS,
    errors.TraceExists: Code.ALREADY_EXISTS,
    errors.SequenceMismatch: Code.ABORTED,
    errors.TraceNotDone: Code.FAILED_PRECONDITION,
    errors.CursorAhead: Code.OUT_OF_RANGE,
    errors.HistoryChanged: Code.DATA_LOSS,
    errors.Unauthenticated: Code.UNAUTHENTICATED,
    errors.PermissionDenied: Code.PERMISSION_DENIED,
    errors.ResourceExhausted: Code.RESOURCE_EXHAUSTED,
    errors.TraceFull: Code.RESOURCE_EXHAUSTED,
    errors.Overloaded: Code.RESOURCE_EXHAUSTED,
    errors.Unavailable: Code.UNAVAILABLE,
    errors.Draining: Code.UNAVAILABLE,
    errors.StreamTooOld: Code.UNAVAILABLE,
    errors.SlowReader: Code.UNAVAILABLE,
    errors.DeadlineExceeded: Code.DEADLINE_EXCEEDED,
    errors.Internal: Code.INTERNAL,
}

_BY_REASON: dict[str, type[StatusError]] = {kind.reason: kind for kind in CODES}
# What an error without our ErrorInfo is taken for: made by the gRPC core or by something in between. First in the table
# wins, so that NOT_FOUND is TraceNotFound.
_BY_CODE: dict[int, type[StatusError]] = {}
for _error, _code in CODES.items():
    _BY_CODE.setdefault(_code, _error)


def encode_error(error: StatusError, *, brief: bool = False) -> status_pb2.Status:
    """Return the error as google.rpc.Status, with ErrorInfo and what else belongs to its kind.

    `brief`: with a short message and ErrorInfo only, for one of very many.
    """
    code = CODES[type(error)]
    status = status_pb2.Status(code=code, message=_fitting(error.message[:100] if brief else error.message))
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN)
    if isinstance(error, errors.Internal) and error.incident:
        info.metadata["incident"] = error.incident
    status.details.add().Pack(info)
    if brief:
        return status
    if isinstance(error, InvalidArgument):
        status.details.add().Pack(_bad_request(error.violations))
    if isinstance(error, errors.PassingError):
        retry = error_details_pb2.RetryInfo(retry_delay=encode_duration(error.retry_after))
        status.details.add().Pack(retry)
    return status


def fill_item_error(result: pb.BatchUpdateResult, error: StatusError, *, brief: bool = False) -> None:
    """Write the error of one update of a batch into its result.

    `reason` and `field_violations` are for clients that do not know the types of the details.
    """
    result.error.CopyFrom(encode_error(error, brief=brief))
    result.reason = error.reason
    if isinstance(error, InvalidArgument) and not brief:
        for violation in _bad_request(error.violations).field_violations:
            result.field_violations.add(field=violation.field, description=violation.description)


def decode_item_error(result: pb.BatchUpdateResult) -> StatusError:
    """Return the error of one update of a batch."""
    status = result.error
    if not status.details and result.reason:
        status = status_pb2.Status(code=status.code, message=status.message)
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=result.reason, domain=ERROR_DOMAIN))
        violations = [FieldViolation(v.field, v.description) for v in result.field_violations]
        status.details.add().Pack(_bad_request(violations))
    return decode_status(status)


def _bad_request(violations: Sequence[FieldViolation]) -> error_details_pb2.BadRequest:
    """Return the first violations, as many as there is room for."""
    message = error_details_pb2.BadRequest()
    for violation in violations:
        message.field_violations.add(field=violation.field[:200], description=violation.description[:300])
        if message.ByteSize() > _MOST_VIOLATION_BYTES and len(message.field_violations) > 1:
            del message.field_violations[-1]
            break
    return message


def _fitting(message: str) -> str:
    """Return as much of the message as fits once it is percent-encoded: three bytes for each that is not plain text."""
    if len(message) * 12 <= _LONGEST_MESSAGE_BYTES:
        return message
    encoded, room = message[:_LONGEST_MESSAGE_BYTES].encode(), _LONGEST_MESSAGE_BYTES
    for end, byte in enumerate(encoded):
        room -= 1 if 0x20 <= byte <= 0x7E and byte != ord("%") else 3
        if room < 0:
            return encoded[:end].decode(errors="ignore")
    return encoded.decode()


def decode_error(code: int, message: str | None, details: bytes | None) -> StatusError:
    """Return the error that a gRPC call ended with; `details` is the value of DETAILS_KEY, if there is one."""
    status = status_pb2.Status()
    if details is not None:
        try:
            status.ParseFromString(details)
        except DecodeError:
            status = status_pb2.Status()
    if not status.message:
        status.message = message or ""
    status.code = code
    return decode_status(status)


def decode_status(status: status_pb2.Status) -> StatusError:
    """Return the error of a google.rpc.Status."""
    info = _detail(status, error_details_pb2.ErrorInfo) or error_details_pb2.ErrorInfo()
    kind = _kind(status.code, info)
    if kind is InvalidArgument:
        bad_request = _detail(status, error_details_pb2.BadRequest)
        violations = (
            [FieldViolation(v.field, v.description) for v in bad_request.field_violations] if bad_request else []
        )
        error: StatusError = InvalidArgument(violations)
        error.args = (status.message or error.message,)
        return error
    if issubclass(kind, errors.Internal):
        return kind(status.message, incident=info.metadata.get("incident", ""))
    if issubclass(kind, errors.PassingError):
        retry = _detail(status, error_details_pb2.RetryInfo)
        delay = decode_duration("retry_delay", retry.retry_delay, []) if retry else None
        return kind(status.message) if delay is None else kind(status.message, retry_after=delay)
    return kind(status.message)


def _detail(status: status_pb2.Status, kind: type[M]) -> M | None:
    """Return the detail of that kind, if there is one that can be read: who made it is not known."""
    for packed in status.details:
        if packed.Is(kind.DESCRIPTOR):
            try:
                return kind.FromString(packed.value)
            except DecodeError:
                pass
    return None


def _kind(code: int, info: error_details_pb2.ErrorInfo) -> type[StatusError]:
    kind = _BY_REASON.get(info.reason) if info.domain == ERROR_DOMAIN else None
    if kind is not None and CODES[kind] == code:
        return kind
    return _BY_CODE.get(code, errors.Internal)
