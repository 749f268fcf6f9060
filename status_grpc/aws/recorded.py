"""Whether an event is recorded, asked without reading the trace."""

from __future__ import annotations

from collections.abc import Sequence

from status_grpc.client.sync import StatusClient
from status_grpc.client.values import Update
from status_grpc.domain.errors import AlreadyExists, SequenceMismatch, TraceNotFound
from status_grpc.domain.events import EventDraft


def are_recorded(client: StatusClient, events: Sequence[tuple[str, str]]) -> list[bool]:
    """Return, for each (trace id, event id), whether that trace has that event. One call for all of them.

    Raises StatusError when the service cannot tell.
    """
    # An append that can never be done, since no trace ends at sequence 0: an event that is there is found before that
    # is looked at, and answered, or refused because this is not its content.
    questions = [
        Update(EventDraft(trace_id=trace_id, trace_event_id=event_id, component="status-grpc"), expected_sequence=0)
        for trace_id, event_id in events
    ]
    answers = []
    for result in client.batch_update(questions):
        if result.error is None or isinstance(result.error, AlreadyExists):
            answers.append(True)
        elif isinstance(result.error, SequenceMismatch | TraceNotFound):
            answers.append(False)
        else:
            raise result.error
    return answers
