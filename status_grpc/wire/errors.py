"""The error table: every error of the domain, its gRPC code, its reason and its details, in both directions."""

from __future__ import annotations

from datetime import timedelta

import grpc
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from status_grpc.domain import errors
from status_grpc.domain.errors import FieldViolation, InvalidArgument, StatusError
from status_grpc.wire.times import encode_duration, to_duration

#: google.rpc.ErrorInfo.domain of every error this service makes.
ERROR_DOMAIN = "status-grpc"

#: The metadata key under which gRPC carries a google.rpc.Status with details.
DETAILS_KEY = "grpc-status-details-bin"

#: How much of an error goes out: peers refuse trailers of more than 8 KiB, and both parts grow in transit (a message by
#: percent-encoding, the details by base64).
_LONGEST_MESSAGE_BYTES = 2000
_MOST_VIOLATION_BYTES = 2500

CODES: dict[type[StatusError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.TraceNotFound: grpc.StatusCode.NOT_FOUND,
    errors.PathNotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.TraceExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.SequenceMismatch: grpc.StatusCode.ABORTED,
    errors.TraceNotDone: grpc.StatusCode.FAILED_PRECONDITION,
    errors.CursorAhead: grpc.StatusCode.OUT_OF_RANGE,
    errors.HistoryChanged: grpc.StatusCode.DATA_LOSS,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TraceFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.Draining: grpc.StatusCode.UNAVAILABLE,
    errors.StreamTooOld: grpc.StatusCode.UNAVAILABLE,
    errors.SlowReader: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Internal: grpc.StatusCode.INTERNAL,
}

_BY_REASON: dict[str, type[StatusError]] = {kind.reason: kind for kind in CODES}
# What an error without our ErrorInfo is taken for: made by the gRPC core or by something in between. First in the table
# wins, so that NOT_FOUND is TraceNotFound.
_BY_CODE: dict[grpc.StatusCode, type[StatusError]] = {}
for _error, _code in CODES.items():
    _BY_CODE.setdefault(_code, _error)


def encode_error(error: StatusError) -> status_pb2.Status:
    """Return the error as google.rpc.Status, with ErrorInfo and what else belongs to its kind."""
    code = CODES[type(error)]
    status = status_pb2.Status(code=code.value[0], message=_fitting(error.message))
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN)
    if isinstance(error, errors.Internal) and error.incident:
        info.metadata["incident"] = error.incident
    status.details.add().Pack(info)
    if isinstance(error, InvalidArgument):
        bad_request = error_details_pb2.BadRequest()
        for violation in error.violations:
            bad_request.field_violations.add(field=violation.field[:200], description=violation.description[:300])
            if bad_request.ByteSize() > _MOST_VIOLATION_BYTES:
                break
        status.details.add().Pack(bad_request)
    if isinstance(error, errors.PassingError):
        retry = error_details_pb2.RetryInfo(retry_delay=encode_duration(error.retry_after))
        status.details.add().Pack(retry)
    return status


def _fitting(message: str) -> str:
    """Return as much of the message as fits once it is percent-encoded: three bytes for each that is not ASCII."""
    if len(message) * 9 <= _LONGEST_MESSAGE_BYTES:
        return message
    room = _LONGEST_MESSAGE_BYTES // (1 if message.isascii() else 3)
    return message.encode()[:room].decode(errors="ignore")


def decode_error(code: grpc.StatusCode, message: str | None, details: bytes | None) -> StatusError:
    """Return the error that a call ended with; `details` is the value of `grpc-status-details-bin`, if there is one."""
    status = status_pb2.Status()
    if details is not None:
        try:
            status.ParseFromString(details)
        except DecodeError:
            status = status_pb2.Status()
    if not status.message:
        status.message = message or ""
    status.code = code.value[0]
    return decode_status(status)


def decode_status(status: status_pb2.Status) -> StatusError:
    """Return the error of a google.rpc.Status."""
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry: timedelta | None = None
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            detail.Unpack(bad_request)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            message = error_details_pb2.RetryInfo()
            detail.Unpack(message)
            retry = to_duration(message.retry_delay)
    kind = _kind(status.code, info)
    if kind is InvalidArgument:
        violations = [FieldViolation(v.field, v.description) for v in bad_request.field_violations]
        error: StatusError = InvalidArgument(violations)
        error.args = (status.message or error.message,)
        return error
    if issubclass(kind, errors.Internal):
        return kind(status.message, incident=info.metadata.get("incident", ""))
    if issubclass(kind, errors.PassingError):
        return kind(status.message, **({} if retry is None else {"retry_after": retry}))
    return kind(status.message)


def _kind(code: int, info: error_details_pb2.ErrorInfo) -> type[StatusError]:
    kind = _BY_REASON.get(info.reason) if info.domain == ERROR_DOMAIN else None
    grpc_code = _GRPC_CODES.get(code, grpc.StatusCode.UNKNOWN)
    if kind is not None and CODES[kind] is grpc_code:
        return kind
    return _BY_CODE.get(grpc_code, errors.Internal)


_GRPC_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
assert set(_GRPC_CODES) == set(code_pb2.Code.values())
