"""Objects that have arrived in a bucket, as S3 tells of them: by its own notifications, or by EventBridge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from status_grpc.aws.errors import Unroutable


@dataclass(frozen=True, slots=True)
class ArrivedObject:
    """One object that was written, or one version of it. Empty texts: not said; `size` is in bytes.

    `sequencer` orders the writes of one key, and is the same however often S3 tells of one of them.
    """

    bucket: str
    key: str
    version: str = ""
    sequencer: str = ""
    etag: str = ""
    size: int | None = None
    time: str = ""

    @property
    def uri(self) -> str:
        """The object as a URI, without its version."""
        return f"s3://{self.bucket}/{self.key}"

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells this write from every other: who is told of it twice finds the same."""
        known = (self.bucket, self.key, self.version, self.sequencer)
        # Stores that only resemble S3 may say neither.
        return known if self.version or self.sequencer else (*known, self.etag, self.time)


def arrived_object(message: Any) -> ArrivedObject | None:
    """Return the object that the message tells of; None if it is about something else, such as a deletion.

    Raises Unroutable when it is no message of S3, or names no object.
    """
    if isinstance(message, Mapping):
        if message.get("source") == "aws.s3":
            return _of_event_bridge(message) if message.get("detail-type") == "Object Created" else None
        if message.get("Event") == "s3:TestEvent":
            return None
        records = message.get("Records")
        if isinstance(records, list) and len(records) == 1 and isinstance(records[0], Mapping):
            return _of_record(records[0])
    raise Unroutable("This is no message of S3 about an object.")


def _of_record(record: Mapping[str, Any]) -> ArrivedObject | None:
    if "s3" not in record:
        raise Unroutable("This is no message of S3 about an object.")
    if not str(record.get("eventName", "")).removeprefix("s3:").startswith("ObjectCreated:"):
        return None
    about = record["s3"]
    item = _mapping(about, "object")
    try:
        key = unquote_plus(_text(item, "key"), errors="strict")
    except UnicodeDecodeError:
        raise Unroutable("The key of the object is not UTF-8.") from None
    return _arrived(about, item, key, version=item.get("versionId"), time=record.get("eventTime"))


def _of_event_bridge(event: Mapping[str, Any]) -> ArrivedObject:
    detail = event.get("detail")
    item = _mapping(detail, "object")
    # Unlike in a notification, this key is not encoded.
    return _arrived(detail, item, _text(item, "key"), version=item.get("version-id"), time=event.get("time"))


def _arrived(about: Any, item: Mapping[str, Any], key: str, *, version: Any, time: Any) -> ArrivedObject:
    size = item.get("size")
    return ArrivedObject(
        bucket=_text(_mapping(about, "bucket"), "name"),
        key=key,
        # Where versions are suspended, the only one is called "null".
        version=str(version) if version not in (None, "null") else "",
        sequencer=str(item.get("sequencer") or ""),
        etag=str(item.get("eTag") or item.get("etag") or "").strip('"'),
        size=size if isinstance(size, int) else None,
        time=str(time or ""),
    )


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    found = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(found, Mapping):
        raise Unroutable(f"The message of S3 has no {name}.")
    return found


def _text(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str) or not found:
        raise Unroutable(f"The message of S3 has no {name} of its {'bucket' if name == 'name' else 'object'}.")
    return found
