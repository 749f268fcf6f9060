"""The fingerprint of an event's content: tells a retry from another event under the same id."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

import orjson

from status_grpc.domain.events import EventDraft

_BYTES = 16


def fingerprint(draft: EventDraft) -> str:
    """Return a text (32 hex digits) that is the same for the same content as the caller sent it, before any default.

    The ids are not part of it, nor is the order of the keys in JSON objects.
    """
    content = [
        draft.domain,
        draft.domain_id,
        draft.start_time,
        draft.end_time,
        draft.trace_status,
        draft.trace_event_status,
        draft.user,
        draft.component,
        draft.operation,
        draft.status_body,
        draft.meta,
        draft.s3_path,
        draft.duration,
        draft.exception and (draft.exception.type, draft.exception.message, draft.exception.traceback),
        draft.errors and [(error.message, error.details) for error in draft.errors],
        draft.inputs and [(dataset.uri, dataset.version) for dataset in draft.inputs],
        draft.outputs and [(dataset.uri, dataset.version) for dataset in draft.outputs],
        draft.step_id,
        draft.attempt,
    ]
    try:
        encoded = orjson.dumps(content, default=_other, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # an integer of more than 64 bits
        encoded = json.dumps(content, default=_other, sort_keys=True).encode()
    return blake2b(encoded, digest_size=_BYTES).hexdigest()


def _other(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not part of an event")
