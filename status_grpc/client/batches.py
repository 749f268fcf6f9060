"""Appending many events: in requests that a server takes, each item repeated until it is recorded or refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from tracestatus.v1 import status_service_pb2 as pb

from status_grpc.client.operations import Operation, Pause, call, complete_draft, update_request
from status_grpc.client.retrying import Attempts
from status_grpc.client.values import Update, UpdateResult
from status_grpc.domain.errors import FieldViolation, InvalidArgument, PassingError, StatusError, Unavailable
from status_grpc.domain.events import EventDraft
from status_grpc.wire.times import to_time

#: What one request holds at most. gRPC servers refuse messages of more than 4 MiB, this service more than 1,000 items.
_MOST_ITEMS = 1000
_MOST_BYTES = 3 * 1024 * 1024

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

    Items that failed for a passing reason are sent again, together and in order. Raises an error only when nothing is
    known about some of them: then none, some or all of those are recorded, and sending them again is safe.
    """
    results: list[UpdateResult | None] = [None] * len(updates)
    for chunk in _chunks(updates):
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
        except InvalidArgument as error:
            raise _renumbered(error, places) from None
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


def _chunks(updates: Sequence[Update]) -> Iterator[list[tuple[int, pb.UpdateRequest]]]:
    chunk: list[tuple[int, pb.UpdateRequest]] = []
    size = 0
    for index, update in enumerate(updates):
        request = update_request(update)
        # A few bytes of each item are its frame in the batch.
        item_size = request.ByteSize() + 8
        if chunk and (len(chunk) >= _MOST_ITEMS or size + item_size > _MOST_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append((index, request))
        size += item_size
    if chunk:
        yield chunk
