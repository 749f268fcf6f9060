"""Recording OpenLineage RunEvents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from status_grpc.client.batches import batch_update
from status_grpc.client.operations import Operation, create
from status_grpc.client.options import ClientOptions
from status_grpc.client.retrying import Attempts
from status_grpc.client.values import Update, UpdateResult
from status_grpc.domain.errors import AlreadyExists, InvalidArgument, StatusError, TraceExists, TraceNotFound
from status_grpc.domain.events import EventDraft
from status_grpc.wire.openlineage import draft_of


@dataclass(slots=True)
class _Item:
    """A RunEvent: what it becomes, and how recording that went."""

    draft: EventDraft | None = None
    result: UpdateResult | None = None


def record_run_events(
    options: ClientOptions, run_events: Iterable[Any], tries: Attempts
) -> Operation[list[UpdateResult | None]]:
    """Record the RunEvents; returns one result for each, None for what is about no run.

    Each is appended to its trace, and the first one of a trace that does not exist creates it. What was recorded before
    is recorded still.
    """
    items = [_item(run_event) for run_event in run_events]
    yield from _append([item for item in items if item.draft is not None], tries)
    missing: dict[str, list[_Item]] = {}
    for item in items:
        if item.draft is not None and item.result is not None and isinstance(item.result.error, TraceNotFound):
            missing.setdefault(item.draft.trace_id, []).append(item)
    rest: list[_Item] = []
    for first, *later in missing.values():
        rest += later if (yield from _created(options, first, tries)) else [first, *later]
    yield from _append(rest, tries)
    return [item.result for item in items]


def _item(run_event: Any) -> _Item:
    try:
        return _Item(draft_of(run_event))
    except InvalidArgument as error:
        return _Item(result=UpdateResult("", error=error))


def _append(items: list[_Item], tries: Attempts) -> Operation[None]:
    if not items:
        return
    results = yield from batch_update([Update(item.draft) for item in items if item.draft is not None], tries)
    for item, result in zip(items, results, strict=True):
        # The id is made from what the RunEvent says: what has it already is this RunEvent, read by another release.
        item.result = replace(result, error=None) if isinstance(result.error, AlreadyExists) else result


def _created(options: ClientOptions, item: _Item, tries: Attempts) -> Operation[bool]:
    """Create the trace of this item; False when somebody else has done so in the meantime."""
    assert item.draft is not None
    try:
        written = yield from create(options, item.draft, expire_time=None, timeout=tries.remaining())
    except TraceExists:
        return False
    except StatusError as error:
        item.result = UpdateResult(item.draft.trace_event_id, error=error)
    else:
        event = written.event
        item.result = UpdateResult(event.trace_event_id, event.sequence, event.record_time)
    return True
