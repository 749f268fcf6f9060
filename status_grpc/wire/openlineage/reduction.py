"""The reduction of RunEvents that are too large."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from status_grpc.domain.events import Dataset, EventDraft, JsonObject
from status_grpc.wire.events import with_message
from status_grpc.wire.openlineage.left_out import Report

#: How large a RunEvent may be that is kept as it came, as JSON. As a Struct it takes up to six times as much.
_MOST_CHARACTERS = 150_000
#: The fields that are kept of any RunEvent, and how much of each.
_SMALL_FIELDS = ("eventType", "eventTime", "producer", "schemaURL")
_SMALL_LENGTH = 1024
_LEFT_OUT_LENGTH = 4096
_TOO_LARGE = "what makes the event too large is left out"


def cut(field: str, text: str, most: int, report: Report) -> str:
    """Return the text with at most this many characters."""
    if len(text) <= most:
        return text
    report.add(field, f"a text longer than {most} characters is cut")
    return f"{text[: most - 1]}…"


def body_of(event: JsonObject, report: Report) -> JsonObject:
    """Return what is kept of the event.

    That is the whole event, or if it is too large the event without its largest parts, which its `left_out` names.
    """
    excess = _size(event) - _MOST_CHARACTERS
    if excess <= 0:
        return event
    kept = _copied(event)
    dropped = []
    for size, path in sorted(_parts(kept), reverse=True):
        if excess <= 0:
            break
        _drop(kept, path)
        dropped.append(".".join(path)[:_SMALL_LENGTH])
        report.add(dropped[-1], _TOO_LARGE)
        excess -= size
    if excess > 0:
        return _smallest(event) | {"left_out": "all but the type, the time and the producer"}
    return kept | {"left_out": ", ".join(dropped)[:_LEFT_OUT_LENGTH]}


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False))


def _copied(event: JsonObject) -> JsonObject:
    """Return a copy of the event that parts can be dropped from."""
    copy = dict(event)
    for name in ("run", "job"):
        copy[name] = dict(event[name])
        if isinstance(copy[name].get("facets"), dict):
            copy[name]["facets"] = dict(copy[name]["facets"])
    return copy


def _parts(event: JsonObject) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield size and path of each part that may be dropped."""
    for key, value in event.items():
        if key not in (*_SMALL_FIELDS, "run", "job"):
            yield _size(value), (key,)
    for name in ("run", "job"):
        facets = event[name].get("facets")
        for key, value in facets.items() if isinstance(facets, dict) else ():
            yield _size(value), (name, "facets", key)


def _drop(event: JsonObject, path: tuple[str, ...]) -> None:
    *above, key = path
    for step in above:
        event = event[step]
    del event[key]


def _smallest(event: JsonObject) -> JsonObject:
    """Return the fields that say what the event was, each cut."""
    texts = ((key, event.get(key)) for key in _SMALL_FIELDS)
    return {key: text[:_SMALL_LENGTH] for key, text in texts if isinstance(text, str)}


def fitted(draft: EventDraft, most: int, report: Report) -> EventDraft:
    """Return the draft with its message, in at most `most` bytes.

    Decorations are left out until it fits. It may be larger if it has none left.
    """
    draft = with_message(draft)
    for field, smaller in _SMALLER:
        if draft.encoded_bytes <= most:
            break
        changed = smaller(draft, most)
        if changed is not draft:
            report.add(field, _TOO_LARGE)
            draft = with_message(changed)
    return draft


def bare(draft: EventDraft) -> EventDraft:
    """Return the draft without its decorations."""
    return replace(draft, status_body=None, exception=None, inputs=(), outputs=())


def _with_small_body(draft: EventDraft, _: int) -> EventDraft:
    body = draft.status_body
    return replace(draft, status_body={"openlineage": _smallest(body["openlineage"])}) if body else draft


def _without_traceback(draft: EventDraft, _: int) -> EventDraft:
    detail = draft.exception
    return replace(draft, exception=replace(detail, traceback="")) if detail and detail.traceback else draft


def _with_fewer_datasets(draft: EventDraft, most: int) -> EventDraft:
    """Return the draft with the outputs, then the inputs, that fit."""
    left = most - with_message(replace(draft, inputs=(), outputs=())).encoded_bytes
    outputs, left = _first_that_fit(draft.outputs, left)
    inputs, _ = _first_that_fit(draft.inputs, left)
    return (
        replace(draft, inputs=inputs, outputs=outputs) if (inputs, outputs) != (draft.inputs, draft.outputs) else draft
    )


def _first_that_fit(datasets: tuple[Dataset, ...], left: int) -> tuple[tuple[Dataset, ...], int]:
    for index, dataset in enumerate(datasets):
        # The texts, and a few bytes for their tags and lengths.
        size = len(dataset.uri.encode()) + len(dataset.version.encode()) + 16
        if size > left:
            return datasets[:index], left
        left -= size
    return datasets, left


def _bare(draft: EventDraft, _: int) -> EventDraft:
    return bare(draft)


#: What is left out of a draft that is too large, one after another.
_SMALLER: tuple[tuple[str, Callable[[EventDraft, int], EventDraft]], ...] = (
    ("event", _with_small_body),
    ("run.facets.errorMessage.stackTrace", _without_traceback),
    ("inputs, outputs", _with_fewer_datasets),
    ("event", _bare),
)
