from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from status_grpc.client.retrying import Attempts, Backoff, NotConnected, Patience, may_pass
from status_grpc.domain.errors import (
    AlreadyExists,
    DeadlineExceeded,
    Internal,
    Overloaded,
    PermissionDenied,
    StatusError,
    TraceNotFound,
    Unavailable,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_delays_grow_are_random_and_are_bounded(failures: int, chance: float):
    delay = Backoff().delay(failures, chance)
    assert 0.05 <= delay <= 5.0
    assert delay <= Backoff().delay(failures + 10, 1.0)


def test_a_server_that_says_when_to_come_back_is_not_asked_sooner():
    tries = Attempts(30, 10, clock=Clock(), chance=lambda: 0.0)
    assert tries.failed(Unavailable(retry_after=timedelta(seconds=3))) == 3
    assert tries.failed(Overloaded(retry_after=timedelta(milliseconds=1))) < 3


@given(st.lists(st.floats(0, 20), max_size=30), st.floats(1, 60))
def test_no_attempt_goes_beyond_the_deadline(durations: list[float], timeout: float):
    clock = Clock()
    tries = Attempts(timeout, 10, clock=clock)
    end = clock.now + timeout
    for duration in durations:
        allowed = tries.next_timeout()
        assert clock.now + allowed <= end + 1e-9
        clock.now += min(duration, allowed)
        try:
            clock.now += tries.failed(Unavailable())
        except Unavailable:
            return
        assert clock.now <= end


@pytest.mark.parametrize("error", [AlreadyExists(), TraceNotFound(), PermissionDenied(), Internal(incident="a1")])
def test_what_will_not_pass_is_raised_at_once(error: StatusError):
    with pytest.raises(type(error)):
        Attempts(30, 10, clock=Clock()).failed(error)


def test_an_internal_error_of_a_proxy_is_tried_three_times():
    assert [may_pass(Internal("RST_STREAM"), failures) for failures in (1, 2, 3)] == [True, True, False]


def test_success_begins_the_count_of_failures_anew():
    tries = Attempts(None, 10, clock=Clock(), chance=lambda: 1.0)
    first = tries.failed(DeadlineExceeded())
    tries.failed(DeadlineExceeded())
    tries.succeeded()
    assert tries.failed(DeadlineExceeded()) == first


def test_patience_is_short_until_the_first_contact_and_long_after():
    clock = Clock()
    patience = Patience(30, 300, clock=clock)
    clock.now += 29.99
    with pytest.raises(Unavailable):
        patience.failed(Unavailable())
    patience.alive()
    clock.now += 299
    assert patience.failed(Unavailable()) > 0
    clock.now += 1
    with pytest.raises(Unavailable):
        patience.failed(Unavailable())


def test_a_server_without_a_connection_is_tried_for_a_shorter_time():
    clock = Clock()
    tries = Attempts(30, 10, connect_timeout=1, clock=clock, chance=lambda: 1.0)
    clock.now += 0.7
    tries.failed(NotConnected())
    clock.now += 0.1
    with pytest.raises(NotConnected):
        tries.failed(NotConnected())
    tries.failed(Unavailable())


def test_patience_with_a_server_that_was_there_once_is_longer():
    clock = Clock()
    patience = Patience(30, 300, connect_timeout=1, clock=clock)
    patience.alive()
    clock.now += 200
    patience.failed(NotConnected())
    never = Patience(30, 300, connect_timeout=1, clock=clock)
    clock.now += 2
    with pytest.raises(NotConnected):
        never.failed(NotConnected())
