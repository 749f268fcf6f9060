"""Times: what is printed reads back as the same time, and what cannot be read is refused in a sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import tzset
from uuid import uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from status_grpc.cli.output import local_time, local_time_exact
from status_grpc.cli.times import read_time

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)  # the day on which the clocks of Oslo change
ZONES = ("UTC", "Europe/Oslo", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati")


@contextmanager
def clock_of(zone: str) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = zone
    tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        tzset()


@given(st.datetimes(timezones=st.just(UTC)), st.sampled_from(ZONES))
@example(datetime.min.replace(tzinfo=UTC), "America/New_York")
@example(datetime.max.replace(tzinfo=UTC), "Pacific/Kiritimati")
@example(datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "Europe/Oslo")
@example(datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "Europe/Oslo")
def test_printed_time_reads_back_as_the_same_time(moment: datetime, zone: str) -> None:
    with clock_of(zone):
        assert read_time(local_time(moment)) == moment.replace(microsecond=0)
        assert read_time(local_time_exact(moment)) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        assert read_time(moment.isoformat()) == moment


@pytest.mark.parametrize(
    ("text", "before_now"),
    [
        ("now", timedelta()),
        ("45s", timedelta(seconds=45)),
        ("15m", timedelta(minutes=15)),
        ("15 min", timedelta(minutes=15)),
        ("1.5h", timedelta(minutes=90)),
        ("2h ago", timedelta(hours=2)),
        ("  2 Hours  ago ", timedelta(hours=2)),
        ("3d", timedelta(days=3)),
        ("1w", timedelta(weeks=1)),
        ("in 2h", timedelta(hours=-2)),
        ("+2h", timedelta(hours=-2)),
    ],
)
def test_length_of_time_is_before_now(text: str, before_now: timedelta) -> None:
    assert read_time(text, now=NOON) == NOON - before_now


def test_length_of_time_may_be_from_now_on() -> None:
    assert read_time("2h", direction="future", now=NOON) == NOON + timedelta(hours=2)
    assert read_time("2h ago", direction="future", now=NOON) == NOON - timedelta(hours=2)


def test_days_begin_at_midnight_by_this_clock() -> None:
    with clock_of("Europe/Oslo"):
        assert read_time("yesterday", now=NOON) == datetime(2026, 3, 27, 23, tzinfo=UTC)
        assert read_time("today", now=NOON) == datetime(2026, 3, 28, 23, tzinfo=UTC)
        assert read_time("tomorrow", now=NOON) == datetime(2026, 3, 29, 22, tzinfo=UTC)


def test_time_without_an_offset_is_utc() -> None:
    with clock_of("Europe/Oslo"):
        assert read_time("2026-01-31") == datetime(2026, 1, 31, tzinfo=UTC)
        assert read_time("2026-01-31 12:00:00.5") == datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)


words = st.sampled_from(
    ["now", "today", "ago", "in", "+", "-", "1", "999999999", "h", "d", "w", "T", ":", "2026", "Z", " "]
)


@given(st.text() | st.lists(words).map("".join))
@example("0001-01-01T00:00:00+14:00")
@example("9999-12-31T23:59:59-14:00")
@example("999999999w")
@example("in 2h ago")
@example("last week")
@example("")
def test_any_text_is_a_time_or_a_refusal(text: str) -> None:
    try:
        time = read_time(text)
    except ValueError as error:
        refusal = str(error)
    else:
        assert time.utcoffset() is not None
        return
    assert "yesterday" in refusal
    assert "15m" in refusal


def test_list_since_a_time_that_was_printed(cli, traces):
    user = f"user-{uuid4()}"
    first = traces.create(user=user)
    zone = {"TZ": "Asia/Kathmandu"}
    for since in ("1h", "yesterday", "2h ago"):
        assert first in cli("list", "--user", user, "--since", since, **zone).out
    assert cli("list", "--user", user, "--created-before", "1h", "--format", "json").json == []
    row = cli("get", first, **zone).out.splitlines()[-1]
    printed = " ".join(row.split()[1:3])
    assert printed.endswith("+05:45")
    found = cli("list", "--user", user, "--created-after", printed, "--format", "json", **zone)
    assert [trace["trace_id"] for trace in found.json] == [first]
    refused = cli("list", "--since", "last week")
    assert (refused.code, refused.out) == (2, "")
    assert "must be now, today, yesterday, 2026-01-31" in " ".join(refused.err.split())


def test_time_to_expire_is_ahead(cli):
    new = ("--domain", "d", "--domain-id", "x", "--component", "c", "--start-time", "15m", "--format", "json")
    created = cli("create", *new, "--expire-time", "2h").json
    began = datetime.fromisoformat(created["event"]["start_time"])
    expires = datetime.fromisoformat(created["trace"]["expire_time"])
    assert began < datetime.fromisoformat(created["event"]["record_time"]) < expires


def test_history_of_status_has_the_times_of_the_old_command(cli, traces):
    trace_id = traces.create(start_time=datetime(2026, 1, 31, 11, tzinfo=UTC))
    table = cli("status", trace_id, "--history", TZ="Europe/Oslo").out
    assert "  2026-01-31 12:00:00  N/A  " in table


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_time_beyond_the_calendar_is_refused(cli, text: str) -> None:
    new = ("--domain", "d", "--domain-id", "x", "--component", "c")
    for command in (("list", "--since", text), ("create", *new, "--start-time", text, "--expire-time", text)):
        refused = cli(*command)
        assert (refused.code, refused.out) == (2, "")
        assert "years 1 to 9999" in refused.sentence
