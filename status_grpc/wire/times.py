"""Timestamp and Duration to datetime and timedelta, to the microsecond."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from status_grpc.domain.errors import FieldViolation

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The range of google.protobuf.Timestamp: years 1 to 9999.
_FIRST_SECOND = -62_135_596_800
_LAST_SECOND = 253_402_300_799
# The range of google.protobuf.Duration: about 10,000 years.
_LONGEST_SECONDS = 315_576_000_000
_NANOS = 1_000_000_000

#: The time that was last encoded, and its message.
_last: tuple[datetime | None, Timestamp] = None, Timestamp()


def decode_time(path: str, message: Timestamp, violations: list[FieldViolation]) -> datetime | None:
    """Return the time, cut to the microsecond; None (and a violation) when it is out of range."""
    seconds, nanos = message.seconds, message.nanos
    if not (_FIRST_SECOND <= seconds <= _LAST_SECOND and 0 <= nanos < _NANOS):
        violations.append(FieldViolation(path, "is out of range: years 1 to 9999, nanos 0 to 999,999,999"))
        return None
    return _EPOCH + timedelta(0, seconds, nanos // 1000)


def decode_duration(path: str, message: Duration, violations: list[FieldViolation]) -> timedelta | None:
    """Return the duration, cut to the microsecond; None (and a violation) when it is negative or out of range."""
    seconds, nanos = message.seconds, message.nanos
    if seconds < 0 or nanos < 0:
        violations.append(FieldViolation(path, "must not be negative"))
        return None
    if seconds > _LONGEST_SECONDS or nanos >= _NANOS:
        violations.append(FieldViolation(path, "is out of range: at most 315,576,000,000 s, nanos 0 to 999,999,999"))
        return None
    return timedelta(seconds=seconds, microseconds=nanos // 1000)


def encode_time(time: datetime) -> Timestamp:
    """Return the time as a message, not to be changed.

    Raises TypeError for a time without an offset, and ValueError outside of the years 1 to 9999 in UTC.
    """
    # All that one transaction records carries the very same time, in several places each.
    global _last
    last, message = _last
    if last is not time:
        message = Timestamp()
        fill_time(message, time)
        _last = time, message
    return message


def fill_time(message: Timestamp, time: datetime) -> None:
    """Write the time into an empty message. Raises as `encode_time`."""
    since = time - _EPOCH
    seconds = since.days * 86_400 + since.seconds
    # The offset of a time at the edge may carry it out of the range, which JSON cannot express.
    if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
        raise ValueError("is out of range: years 1 to 9999")
    message.seconds = seconds
    message.nanos = since.microseconds * 1000


def encode_duration(duration: timedelta) -> Duration:
    """Return the duration as a message.

    Raises ValueError for a negative duration and beyond 315,576,000,000 s.
    """
    seconds = duration.days * 86_400 + duration.seconds
    if not 0 <= seconds <= _LONGEST_SECONDS:
        raise ValueError("is out of range: 0 to 315,576,000,000 s")
    return Duration(seconds=seconds, nanos=duration.microseconds * 1000)


def to_time(message: Timestamp) -> datetime:
    """Return the time of a message that the server made."""
    return _EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)


def milliseconds(duration: timedelta) -> int | float:
    """Return the duration in milliseconds, whole when they are."""
    whole, rest = divmod(duration, timedelta(milliseconds=1))
    return whole + rest.microseconds / 1000 if rest else whole


def to_duration(message: Duration) -> timedelta:
    """Return the duration of a message that the server made."""
    return timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
