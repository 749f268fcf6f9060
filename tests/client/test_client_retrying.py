from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from status_grpc.client.retrying import (
    Attempts,
    Backoff,
    Misconfigured,
    NotConnected,
    NotTheService,
    Patience,
    may_pass,
    not_connected,
)
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


@pytest.mark.parametrize("error", [Unavailable(), NotConnected()])
@pytest.mark.parametrize("reached", [False, True])
def test_an_outage_is_tolerated_for_its_time_from_the_start(error: StatusError, reached: bool):
    clock = Clock()
    patience = Patience(300, clock=clock)
    if reached:
        patience.alive()
    first = patience.failed(error)
    assert (first.failures, first.remaining) == (1, 300)
    clock.now += 290
    assert patience.failed(error).failures == 2
    clock.now += 10
    with pytest.raises(type(error)):
        patience.failed(error)


@pytest.mark.parametrize("error", [Misconfigured("no such name"), NotTheService("HTTP 404")])
def test_what_retrying_cannot_mend_ends_a_follow_only_before_the_first_contact(error: StatusError):
    patience = Patience(300, clock=Clock())
    with pytest.raises(type(error)):
        patience.failed(error)
    patience.alive()
    assert patience.failed(error).delay > 0


def test_no_pause_goes_beyond_the_deadline_of_a_follow():
    clock = Clock()
    patience = Patience(300, deadline=clock.now + 2, clock=clock)
    assert patience.failed(Unavailable(retry_after=timedelta(seconds=30))).delay == 2
    assert patience.failed(Unavailable()).remaining == 2


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("errors resolving x:1: [field:address lookup failed for x:1: Domain name not found]", Misconfigured),
        ("DNS resolution failed for x:1: Name or service not known", Misconfigured),
        ("errors resolving x:1: [field:address lookup failed: Could not contact DNS servers]", NotConnected),
        ("last error: UNKNOWN: Tls handshake failed: CERTIFICATE_VERIFY_FAILED: self signed: OK", Misconfigured),
        ("last error: UNKNOWN: ipv4:1.2.3.4:1: Ssl handshake failed: SSL_ERROR_SSL", Misconfigured),
        ("last error: UNAVAILABLE: ipv4:1.2.3.4:1: Handshake read failed (Socket closed)", NotConnected),
        ("failed to connect to all addresses; last error: UNKNOWN: Connection refused", NotConnected),
    ],
)
def test_causes_that_last_are_told_from_causes_that_pass(message: str, kind: type[NotConnected]):
    assert type(not_connected(message)) is kind


def test_a_server_without_a_connection_is_tried_for_a_shorter_time():
    clock = Clock()
    tries = Attempts(30, 10, connect_timeout=1, clock=clock, chance=lambda: 1.0)
    clock.now += 0.7
    tries.failed(NotConnected())
    clock.now += 0.1
    with pytest.raises(NotConnected):
        tries.failed(NotConnected())
    tries.failed(Unavailable())
