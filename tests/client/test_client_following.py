"""The core of following, without a network: whatever breaks, each event is told once, in order."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tracestatus.v1 import status_service_pb2 as pb

from status_grpc.client.following import BrokenStream, Following
from status_grpc.client.options import ClientOptions
from status_grpc.client.values import Checkpoint
from status_grpc.client.waiting import Target
from status_grpc.domain.errors import DeadlineExceeded, HistoryChanged, Internal, TraceNotFound, Unavailable
from status_grpc.domain.events import TraceEvent
from status_grpc.wire.times import encode_time

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def following(target: Target | None = None, *, after: int = 0, timeout: float | None = None, clock=None) -> Following:
    return Following(
        target or Target(trace_id="t"),
        ClientOptions(),
        after_sequence=after,
        after_event_id=f"e{after}" if after else "",
        timeout=timeout,
        clock=clock or Clock(),
    )


def event(sequence: int) -> pb.StreamTraceResponse:
    message = pb.StreamTraceResponse()
    message.event.trace_id = "t"
    message.event.sequence = sequence
    message.event.trace_event_id = f"e{sequence}"
    return message


def checkpoint(sequence: int, *, trace_id: str = "t", done: bool = False) -> pb.StreamTraceResponse:
    message = pb.StreamTraceResponse()
    message.checkpoint.trace_id = trace_id
    message.checkpoint.sequence = sequence
    message.checkpoint.done = done
    message.checkpoint.server_time.CopyFrom(encode_time(NOW))
    if trace_id:
        message.checkpoint.trace.trace_id = trace_id
        message.checkpoint.trace.done = done
    return message


@given(
    total=st.integers(1, 30),
    after=st.integers(0, 5),
    cuts=st.lists(st.tuples(st.integers(0, 8), st.sampled_from(["broken", "ended", "gap", "repeat"])), max_size=12),
)
def test_each_event_once_in_order_wherever_streams_break(total: int, after: int, cuts: list[tuple[int, str]]):
    after = min(after, total)
    core = following(after=after)
    told: list[int] = []
    cuts = list(cuts)
    for _ in range(len(cuts) + 1):
        request = core.opening().request
        assert request.after_sequence == (told[-1] if told else after)
        assert request.after_event_id == (f"e{request.after_sequence}" if request.after_sequence else "")
        length, how = cuts.pop(0) if cuts else (1000, "whole")
        sequences = list(range(request.after_sequence + 1, total + 1))
        messages = [checkpoint(request.after_sequence), *map(event, sequences)]
        if how == "gap" and len(sequences) > 1:
            del messages[-2]
        if how == "repeat":
            messages = [message for message in messages for _ in range(2)]
        messages.append(checkpoint(total, done=True))
        error = Unavailable() if how == "broken" else None
        if how != "whole":
            messages = messages[: length + 1]
        try:
            for message in messages:
                item = core.receive(message)
                if isinstance(item, TraceEvent):
                    told.append(item.sequence)
        except (BrokenStream, Internal) as broken:
            error = broken
        try:
            reconnect = core.ended(error)
        except Internal:
            return  # the same event was skipped three times
        if reconnect is None:
            break
    assert told == list(range(after + 1, total + 1))
    assert core.finished_trace().done


def test_ok_before_the_end_is_not_the_end():
    core = following()
    core.opening()
    core.receive(checkpoint(0))
    reconnect = core.ended(None)
    assert reconnect is not None
    assert isinstance(reconnect.error, BrokenStream)


def test_a_stream_that_always_skips_an_event_is_given_up():
    core = following()

    def follow_once() -> None:
        core.opening()
        core.receive(checkpoint(0))
        try:
            core.receive(event(2))
        except (BrokenStream, Internal) as error:
            core.ended(error)

    follow_once()
    follow_once()
    with pytest.raises(Internal):
        follow_once()


@pytest.mark.parametrize("error", [HistoryChanged(), TraceNotFound()])
def test_what_no_further_stream_can_mend_is_raised(error: Exception):
    core = following()
    core.opening()
    with pytest.raises(type(error)):
        core.ended(error)  # type: ignore[arg-type]


def test_the_total_time_is_bounded():
    clock = Clock()
    core = following(timeout=10, clock=clock)
    assert core.opening().timeout == 10
    clock.now += 6
    assert core.opening().timeout == 4
    clock.now += 4
    with pytest.raises(DeadlineExceeded):
        core.ended(Unavailable())
    with pytest.raises(DeadlineExceeded):
        core.opening()


def test_an_outage_is_put_up_with_for_a_while():
    clock = Clock()
    core = following(clock=clock)
    core.opening()
    core.receive(checkpoint(0))
    clock.now += ClientOptions().outage_timeout - 10
    assert core.ended(Unavailable()) is not None
    clock.now += 10
    with pytest.raises(Unavailable):
        core.ended(Unavailable())


def test_waiting_for_a_new_trace_of_a_path_is_resumed_from_its_registration():
    core = following(Target(s3_path="p", new_only=True))
    request = core.opening().request
    assert (request.s3_path, request.new_only, request.HasField("created_after")) == ("p", True, False)
    core.receive(checkpoint(0, trace_id=""))
    core.ended(Unavailable())
    request = core.opening().request
    assert (request.s3_path, request.new_only) == ("p", False)
    assert request.created_after == encode_time(NOW)
    item = core.receive(checkpoint(0))
    assert isinstance(item, Checkpoint)
    core.receive(event(1))
    core.ended(Unavailable())
    request = core.opening().request
    assert (request.trace_id, request.after_sequence, request.after_event_id) == ("t", 1, "e1")
    assert not request.HasField("created_after")


def test_a_trace_is_waited_for_only_until_it_exists():
    core = following(Target(trace_id="t", wait_for_trace=True))
    assert core.opening().request.wait_for_trace
    core.receive(checkpoint(0, trace_id=""))
    core.ended(Unavailable())
    assert core.opening().request.wait_for_trace
    core.receive(checkpoint(0))
    core.ended(Unavailable())
    assert not core.opening().request.wait_for_trace


def test_the_trace_is_not_finished_before_its_end():
    core = following()
    with pytest.raises(RuntimeError):
        core.finished_trace()
