"""Appending many events: in requests that a server takes, each item repeated until it is recorded or refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from tracestatus.v1 import status_service_pb2 as pb

from status_grpc.client.operations import Operation, Pause, call, complete_draft, update_request
from status_grpc.client.retrying import Attempts
from status_grpc.client.values import Update, UpdateResult
from status_grpc.domain.errors import (
    FieldViolation,
    InvalidArgument,
    PassingError,
    ResourceExhausted,
    StatusError,
    Unavailable,
)
from status_grpc.domain.events import EventDraft
from status_grpc.wire.times import to_time

#: What one request holds at most. A server refuses more than 1,000 items, and in JSON more than 4 MiB and 262,144
#: values, which take at least 4 bytes each in nearly all events. What it refuses all the same is halved.
_MOST_ITEMS = 1000
_MOST_BYTES = 1024 * 1024
#: A request of so few bytes is not refused for its size, so halving it would only repeat the refusal.
_SMALL_BYTES = 64 * 1024

#: How an error names an item: by its place in the request.
_ITEM = re.compile(r"\brequests\[(\d+)\]")


def as_updates(updates: Iterable[EventDraft | Update]) -> list[Update]:
    """Return the events as updates whose drafts have ids, so that they can be sent again without a duplicate."""
    return [
        replace(update, draft=complete_draft(update.draft, {}))
        if isinstance(update, Update)
        else Update(complete_draft(update, {}))
        for update in updates
    ]


def batch_update(updates: Sequence[Update], tries: Attempts) -> Operation[list[UpdateResult]]:
    """Append the events; returns one result per update, in their order.

    An item that cannot be encoded, or makes the server refuse its request, fails alone. Items that failed for a passing
    reason are sent again, together and in order. Raises an error only when nothing is known about some of them: then
    none, some or all of those are recorded, and sending them again is safe.
    """
    results: list[UpdateResult | None] = [None] * len(updates)
    for chunk in _chunks(updates, results):
        yield from _send(chunk, results, tries)
    return [result for result in results if result is not None]


def _send(
    chunk: list[tuple[int, pb.UpdateRequest]], results: list[UpdateResult | None], tries: Attempts
) -> Operation[None]:
    """Send the items until each has a result that stays."""
    while chunk:
        request = pb.BatchUpdateRequest(requests=[item for _, item in chunk])
        places = [index for index, _ in chunk]
        try:
            answer: pb.BatchUpdateResponse = yield from call(tries, "BatchUpdate", request)
        except (InvalidArgument, ResourceExhausted) as error:
            if not _is_about_content(error, request):
                raise
            yield from _send_halves(chunk, results, tries, error)
            return
        if len(answer.results) != len(chunk):
            raise Unavailable(f"{len(chunk)} updates were answered with {len(answer.results)} results")
        again = []
        passing: StatusError | None = None
        for (index, item), message in zip(chunk, answer.results, strict=True):
            result = results[index] = _to_result(item, message, places)
            if isinstance(result.error, PassingError):
                again.append((index, item))
                passing = passing or result.error
        if passing is not None:
            try:
                pause = tries.failed(passing)
            except StatusError:
                return
            yield Pause(pause)
        chunk = again


def _is_about_content(error: StatusError, request: pb.BatchUpdateRequest) -> bool:
    """Return whether the server refused the content or the size."""
    if isinstance(error, InvalidArgument):
        return True
    return type(error) is ResourceExhausted and request.ByteSize() > _SMALL_BYTES


def _send_halves(
    chunk: list[tuple[int, pb.UpdateRequest]],
    results: list[UpdateResult | None],
    tries: Attempts,
    error: StatusError,
) -> Operation[None]:
    """Send both halves of what was refused as a whole.

    An item alone gets the error as its result.
    """
    if len(chunk) > 1:
        middle = len(chunk) // 2
        yield from _send(chunk[:middle], results, tries)
        yield from _send(chunk[middle:], results, tries)
        return
    ((index, item),) = chunk
    if isinstance(error, InvalidArgument):
        error = _renumbered(error, [index])
    results[index] = UpdateResult(item.event.trace_event_id, error=error)


def _to_result(item: pb.UpdateRequest, message: pb.BatchUpdateResult, places: Sequence[int]) -> UpdateResult:
    from status_grpc.wire.errors import decode_item_error

    if message.HasField("error"):
        error = decode_item_error(message)
        if isinstance(error, InvalidArgument):
            error = _renumbered(error, places)
        return UpdateResult(item.event.trace_event_id, error=error)
    time = to_time(message.record_time)
    return UpdateResult(message.trace_event_id, message.sequence, time, recorded_before=message.recorded_before)


def _renumbered(error: InvalidArgument, places: Sequence[int]) -> InvalidArgument:
    """Return the error with the items named by their places in the caller's list, whose requests nobody sees."""

    def place(item: re.Match[str]) -> str:
        number = int(item[1])
        return f"requests[{places[number]}]" if number < len(places) else item[0]

    renumbered = InvalidArgument(
        [FieldViolation(_ITEM.sub(place, v.field), _ITEM.sub(place, v.description)) for v in error.violations]
    )
    renumbered.args = (_ITEM.sub(place, error.message),)
    return renumbered


def _chunks(
    updates: Sequence[Update], results: list[UpdateResult | None]
) -> Iterator[list[tuple[int, pb.UpdateRequest]]]:
    """Yield the requests, as many at a time as a server takes.

    An item that cannot be encoded gets its result at once.
    """
    chunk: list[tuple[int, pb.UpdateRequest]] = []
    size = 0
    for index, update in enumerate(updates):
        try:
            request = update_request(update)
        except InvalidArgument as error:
            results[index] = UpdateResult(update.draft.trace_event_id, error=error.under(f"requests[{index}]"))
            continue
        # A few bytes of each item are its frame in the batch.
        item_size = request.ByteSize() + 8
        if chunk and (len(chunk) >= _MOST_ITEMS or size + item_size > _MOST_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append((index, request))
        size += item_size
    if chunk:
        yield chunk
