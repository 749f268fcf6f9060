"""Which workers count as hanging, and what systemd is sent."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from status_grpc.server.hangs import HangDetector
from status_grpc.server.systemd import SystemdNotifier

HANG, LOOK = 30.0, 0.5


def test_silent_worker_hangs_after_the_limit() -> None:
    detector = HangDetector(HANG, look_seconds=LOOK)
    for worker in (1, 2):
        detector.started(worker, 0.0)
        detector.pulsed(worker, 0.0)
    times = [LOOK * number for number in range(1, 100)]
    found: dict[int, float] = {}
    for now in times:
        detector.pulsed(2, now)
        found = found or detector.hanging(now)
    assert list(found) == [1]
    assert HANG < found[1] <= HANG + LOOK


def test_worker_without_a_first_pulse_hangs_thirty_seconds_later() -> None:
    detector = HangDetector(HANG, look_seconds=LOOK)
    detector.started(1, 0.0)
    found = [now for now in (LOOK * number for number in range(1, 200)) if detector.hanging(now)]
    assert found[0] == 30 + HANG + LOOK


def test_late_pulse_of_an_ended_worker_watches_nothing() -> None:
    detector = HangDetector(HANG, look_seconds=LOOK)
    detector.started(1, 0.0)
    detector.forget(1)
    detector.pulsed(1, 0.0)
    assert detector.hanging(LOOK) == {}
    assert not [now for now in range(1, 200) if detector.hanging(float(now))]


def test_time_that_the_supervisor_slept_is_forgiven() -> None:
    detector = HangDetector(HANG, look_seconds=LOOK)
    detector.started(1, 10.0)
    detector.pulsed(1, 10.0)
    assert detector.hanging(10.5) == {}
    assert detector.hanging(3_610.0) == {}  # an hour of sleep
    silent = [now for now in range(3_611, 3_650) if _looked(detector, now)]
    assert silent[0] == pytest.approx(3_610 + HANG, abs=2)


def _looked(detector: HangDetector, second: int) -> bool:
    return bool(detector.hanging(second - 0.5) or detector.hanging(float(second)))


@given(st.lists(st.floats(0.1, HANG - 1), min_size=1, max_size=20), st.lists(st.floats(0.01, 100.0), max_size=20))
def test_worker_that_pulses_within_the_limit_never_hangs(gaps: list[float], looks: list[float]) -> None:
    detector = HangDetector(HANG, look_seconds=LOOK)
    detector.started(1, 0.0)
    events = [(0.0, True)]
    for gap in gaps:
        events.append((events[-1][0] + gap, True))
    end = events[-1][0]
    now = 0.0
    for look in looks:
        now += look
        events.append((min(now, end), False))
    for when, pulse in sorted(events, key=lambda event: (event[0], not event[1])):
        if pulse:
            detector.pulsed(1, when)
        else:
            assert detector.hanging(when) == {}


@pytest.fixture
def systemd(tmp_path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(tmp_path / "notify"))
    listening.settimeout(5)
    return listening


def test_systemd_is_sent_each_state(systemd: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    with systemd:
        notifier = SystemdNotifier()
        notifier.ready()
        notifier.pulse()
        notifier.stopping()
        assert [systemd.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_no_pulse_is_sent_without_a_watchdog_of_our_own(
    systemd: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    with systemd:
        notifier = SystemdNotifier()
        notifier.pulse()
        notifier.stopping()
        assert systemd.recv(100) == b"STOPPING=1"


def test_without_systemd_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    SystemdNotifier().ready()
