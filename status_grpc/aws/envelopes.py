"""The messages in what a Lambda function is handed: S3, SNS, SQS and EventBridge put them into each other."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_log = logging.getLogger("status_grpc")

#: S3 in SNS in SQS is three. What is nested deeper than this is not ours.
_DEEPEST = 8
#: An invocation with less time left than this, in milliseconds, takes on no further message.
_LEAST_TIME = 10_000


@dataclass(frozen=True, slots=True)
class Message:
    """What a source has said: JSON, or a text that is none. `message_id` is that of the SQS message it came in."""

    content: Any
    message_id: str = ""


class NoTimeLeft(Exception):
    """The invocation ends before this message can be handled."""


def messages(event: object) -> Iterator[Message]:
    """Return the messages of an event, each S3 record by itself, out of whatever they are wrapped in."""
    # A list of records is how EventBridge Pipes hand over what they took from a queue.
    yield from _unwrapped(Message(event), _DEEPEST)


def deliver(event: object, handle: Callable[[Any], Any], context: object = None) -> dict[str, Any]:
    """Handle each message of the event, and return what a Lambda handler has to: nothing is lost without a word.

    What came from SQS and failed is named in `batchItemFailures`, so that only that is delivered again; the event
    source mapping must have ReportBatchItemFailures. If all of it failed, or what failed did not come from SQS, the
    error is raised. Messages are left to the next delivery when `context` says that there is no time left.
    """
    failed: dict[str, Exception] = {}
    errors: list[Exception] = []
    seen: set[str] = set()
    results: list[Any] = []
    for message in messages(event):
        seen.add(message.message_id)
        if message.message_id and message.message_id in failed:
            continue
        try:
            if results or failed:  # the first is tried with whatever time there is
                _check_time(context)
            results.append(handle(message.content))
        except Exception as error:
            _log.warning("status-grpc: a message is left to be delivered again: %s: %s", type(error).__name__, error)
            if message.message_id:
                failed[message.message_id] = error
            else:
                errors.append(error)
    if failed and len(failed) == len(seen):
        errors.extend(failed.values())
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ExceptionGroup("messages that are to be delivered again", errors)
    if seen - {""}:
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
    return {"results": [str(result) for result in results]}


def _check_time(context: object) -> None:
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if callable(remaining) and remaining() < _LEAST_TIME:
        raise NoTimeLeft("the invocation is about to end")


def _unwrapped(message: Message, depth: int) -> Iterator[Message]:
    content = _parsed(message.content)
    inner = _inner(content, message.message_id) if depth else None
    if inner is None:
        yield Message(content, message.message_id)
        return
    for each in inner:
        yield from _unwrapped(each, depth - 1)


def _parsed(content: Any) -> Any:
    if isinstance(content, str | bytes):
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            pass
    return content


def _inner(content: Any, message_id: str) -> list[Message] | None:
    """Return what is wrapped in this, or None if it is no wrapping."""
    if isinstance(content, Mapping) and content.get("Type") == "Notification" and "Message" in content:
        return [Message(content["Message"], message_id)]
    records = content if isinstance(content, list) else content.get("Records") if isinstance(content, Mapping) else None
    if not isinstance(records, list) or (len(records) == 1 and _is_plain(records[0])):
        return None
    return [_record(record, message_id) for record in records]


def _is_plain(record: Any) -> bool:
    """Return whether the record is not a wrapping, so that an event of it alone is as small as it gets."""
    return not isinstance(record, Mapping) or _source(record) not in ("aws:sqs", "aws:sns")


def _record(record: Any, message_id: str) -> Message:
    if isinstance(record, Mapping):
        source = _source(record)
        if source == "aws:sqs" and "body" in record:
            # A queue within a queue: the outer message is the one that can be delivered again.
            return Message(record["body"], message_id or str(record.get("messageId", "")))
        if source == "aws:sns" and isinstance(record.get("Sns"), Mapping):
            return Message(record["Sns"].get("Message"), message_id)
    return Message({"Records": [record]}, message_id)


def _source(record: Mapping[str, Any]) -> Any:
    return record.get("eventSource") or record.get("EventSource")
