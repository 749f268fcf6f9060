"""Recording OpenLineage RunEvents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from status_grpc.client.batches import batch_update
from status_grpc.client.operations import Operation, attempts, create
from status_grpc.client.options import ClientOptions
from status_grpc.client.retrying import Attempts
from status_grpc.client.values import RunEventResult, Update, UpdateResult
from status_grpc.domain.errors import (
    AlreadyExists,
    DeadlineExceeded,
    InvalidArgument,
    PassingError,
    StatusError,
    TraceExists,
    TraceNotFound,
)
from status_grpc.domain.events import EventDraft
from status_grpc.wire.openlineage import LeftOut, accept, bare

#: What is recorded before the next events are read: events, and bytes of their messages. A larger event is alone.
_CHUNK_ITEMS = 200
_CHUNK_BYTES = 1024 * 1024
#: A chunk gets this much time beside the timeout of the call: for each byte and for each event, in seconds.
_SECONDS_PER_BYTE = 30 / _CHUNK_BYTES
_SECONDS_PER_ITEM = 0.1

_REFUSED = LeftOut("event", "what the server refuses beside the run and its state is left out")


@dataclass(slots=True)
class _Item:
    """A RunEvent: what it becomes, and how recording that went."""

    draft: EventDraft | None = None
    left_out: tuple[LeftOut, ...] = ()
    result: UpdateResult | None = None


def record_run_events(
    options: ClientOptions, run_events: Iterable[Any], timeout: float | None
) -> Operation[list[RunEventResult | None]]:
    """Record the RunEvents; returns one result for each, None for what is about no run.

    Each is appended to its trace, and the first one of a trace that does not exist creates it. What was recorded before
    is recorded still. Events are recorded in chunks of about 1 MiB, and `timeout` is for each chunk.
    """
    results: list[RunEventResult | None] = []
    for chunk in _chunks(run_events):
        allowed, extra = _with_time_for(options, chunk)
        tries = attempts(allowed, None if timeout is None else timeout + extra)
        yield from _record(allowed, [item for item in chunk if item.draft is not None], tries)
        results += map(_result, chunk)
    return results


def _chunks(run_events: Iterable[Any]) -> Iterator[list[_Item]]:
    chunk: list[_Item] = []
    size = 0
    for run_event in run_events:
        item = _item(run_event)
        added = _size(item)
        if chunk and (len(chunk) >= _CHUNK_ITEMS or size + added > _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += added
    if chunk:
        yield chunk


def _item(run_event: Any) -> _Item:
    try:
        accepted = accept(run_event)
    except InvalidArgument as error:
        return _Item(result=UpdateResult("", error=error))
    return _Item() if accepted is None else _Item(accepted.draft, accepted.left_out)


def _size(item: _Item) -> int:
    return 0 if item.draft is None else item.draft.encoded_bytes


def _with_time_for(options: ClientOptions, chunk: list[_Item]) -> tuple[ClientOptions, float]:
    """Return options with more time, and the seconds added."""
    extra = sum(map(_size, chunk)) * _SECONDS_PER_BYTE + len(chunk) * _SECONDS_PER_ITEM
    return replace(options, timeout=options.timeout + extra, attempt_timeout=options.attempt_timeout + extra), extra


def _result(item: _Item) -> RunEventResult | None:
    result = item.result
    if result is None:
        return None
    return RunEventResult(
        result.trace_event_id,
        result.sequence,
        result.record_time,
        result.error,
        result.recorded_before,
        tuple(map(str, item.left_out)) if result.error is None else (),
    )


def _record(options: ClientOptions, items: list[_Item], tries: Attempts) -> Operation[None]:
    yield from _written(options, items, tries)
    # The server's limits may be lower than the default ones.
    refused = [item for item in items if item.result is not None and isinstance(item.result.error, InvalidArgument)]
    for item in refused:
        assert item.draft is not None
        item.draft, item.left_out = bare(item.draft), (*item.left_out, _REFUSED)
    yield from _written(options, refused, tries)


def _written(options: ClientOptions, items: list[_Item], tries: Attempts) -> Operation[None]:
    """Append the items, and create the traces that do not exist."""
    yield from _append(items, tries)
    missing: dict[str, list[_Item]] = {}
    for item in items:
        if item.draft is not None and item.result is not None and isinstance(item.result.error, TraceNotFound):
            missing.setdefault(item.draft.trace_id, []).append(item)
    rest: list[_Item] = []
    for first, *later in missing.values():
        rest += later if (yield from _created(options, first, tries)) else [first, *later]
    yield from _append(rest, tries)


def _append(items: list[_Item], tries: Attempts) -> Operation[None]:
    if not items:
        return
    results = yield from batch_update([Update(item.draft) for item in items if item.draft is not None], tries)
    for item, result in zip(items, results, strict=True):
        # The id is made from what the RunEvent says: what has it already is this RunEvent, read by another release.
        known = isinstance(result.error, AlreadyExists)
        item.result = replace(result, error=None, recorded_before=True) if known else result


def _created(options: ClientOptions, item: _Item, tries: Attempts) -> Operation[bool]:
    """Create the trace of this item; False when somebody else has done so in the meantime."""
    assert item.draft is not None
    try:
        written = yield from create(options, item.draft, expire_time=None, timeout=tries.remaining())
    except TraceExists:
        return False
    except StatusError as error:
        if isinstance(error, PassingError | DeadlineExceeded):
            raise
        item.result = UpdateResult(item.draft.trace_event_id, error=error)
    else:
        event = written.event
        item.result = UpdateResult(event.trace_event_id, event.sequence, event.record_time)
    return True
