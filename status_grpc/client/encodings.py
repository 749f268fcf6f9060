"""Encodings of what a client sends, for both transports."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from google.protobuf.message import Message
from tracestatus.v1 import trace_pb2

from status_grpc.domain.errors import FieldViolation, InvalidArgument
from status_grpc.domain.events import Dataset, ErrorDetail, EventDraft, ExceptionDetail
from status_grpc.domain.text import escape_surrogates, escape_surrogates_within
from status_grpc.wire.events import draft_message
from status_grpc.wire.times import encode_time

_TEXTS = ("trace_id", "trace_event_id", "domain", "domain_id", "user", "component", "operation", "s3_path", "step_id")


def encode_draft(draft: EventDraft) -> trace_pb2.TraceEvent:
    """Return the event as a message, with lone surrogates escaped.

    Raises InvalidArgument, which names every field that has no encoding.
    """
    try:
        return draft_message(draft)
    except UnicodeEncodeError:
        return draft_message(_escaped(draft))


def set_time(message: Message, name: str, time: datetime | None) -> None:
    """Set a time of the message. Raises InvalidArgument.

    None: the field stays unset.
    """
    if time is None:
        return
    try:
        getattr(message, name).CopyFrom(encode_time(time))
    except (TypeError, ValueError, OverflowError):
        expected = "must be a time with an offset, in the years 1 to 9999"
        raise InvalidArgument([FieldViolation(name, expected)]) from None


def _escaped(draft: EventDraft) -> EventDraft:
    return replace(
        draft,
        **{name: escape_surrogates_within(getattr(draft, name)) for name in _TEXTS},
        status_body=escape_surrogates_within(draft.status_body),
        meta=escape_surrogates_within(draft.meta),
        exception=None if draft.exception is None else _escaped_exception(draft.exception),
        errors=tuple(_escaped_error(error) for error in draft.errors),
        inputs=tuple(_escaped_dataset(dataset) for dataset in draft.inputs),
        outputs=tuple(_escaped_dataset(dataset) for dataset in draft.outputs),
    )


def _escaped_exception(exception: ExceptionDetail) -> ExceptionDetail:
    return ExceptionDetail(
        *(escape_surrogates(text) for text in (exception.type, exception.message, exception.traceback))
    )


def _escaped_error(error: ErrorDetail) -> ErrorDetail:
    return ErrorDetail(escape_surrogates_within(error.message), escape_surrogates_within(error.details))


def _escaped_dataset(dataset: Dataset) -> Dataset:
    return Dataset(escape_surrogates(dataset.uri), escape_surrogates(dataset.version))
