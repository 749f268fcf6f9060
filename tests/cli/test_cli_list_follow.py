"""list --follow: each trace once, as it is created."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from command_line import COMMAND, CommandLine, Traces, serving
from hypothesis import given
from hypothesis import strategies as st

from status_grpc import StatusClient
from status_grpc.cli.tailing import Tail

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@contextmanager
def following(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [*COMMAND, "list", "--follow", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_the_last_ones_and_those_to_come(cli: CommandLine, traces: Traces):
    user = f"user-{uuid4()}"
    there = [traces.create(user=user) for _ in range(3)]
    with following(cli.environment, "--user", user, "--limit", "2", "--format", "jsonl") as process:
        assert [json.loads(line(process))["trace_id"] for _ in range(2)] == there[1:]
        traces.create(user="somebody else")
        new = [traces.create(user=user) for _ in range(3)]
        assert [json.loads(line(process))["trace_id"] for _ in range(3)] == new
        process.send_signal(signal.SIGINT)
        assert process.communicate() == ("", "")
        assert process.returncode == 130


def test_lines_for_people(cli: CommandLine, traces: Traces):
    user = f"user-{uuid4()}"
    with following(cli.environment, "--user", user) as process:
        trace_id = traces.create(user=user, domain_id="bike \x1b[31mtrips")
        shown = line(process)
    assert shown[25:] == f"  STARTED   running  {trace_id}  dataset  bike \\x1b[31mtrips  data-uploader\n"


def test_a_restart_of_the_server_is_visible_and_loses_nothing(clean_environment: dict[str, str], tmp_path: Path):
    flags = ("--drain-seconds", "0.1")
    with ExitStack() as stack:
        with serving(clean_environment, tmp_path, *flags) as address, StatusClient(address) as client:
            first = Traces(client).create()
            environment = clean_environment | {"STATUS_GRPC_SERVER": address}
            process = stack.enter_context(following(environment, "--format", "jsonl"))
            assert json.loads(line(process))["trace_id"] == first
        assert process.stderr is not None
        assert process.stderr.readline() == "The connection is lost, reconnecting ...\n"
        with serving(clean_environment, tmp_path, *flags, listen=address) as again, StatusClient(again) as client:
            second = Traces(client).create()
            assert json.loads(line(process))["trace_id"] == second
            assert process.stderr.readline() == "Connected again.\n"


@pytest.mark.parametrize(
    "flags", [["--format", "json"], ["--status", "finished"], ["--created-before", "2026-01-31"], ["--component", "c"]]
)
def test_what_does_not_go_with_it(cli: CommandLine, flags: list[str]):
    run = cli("list", "--follow", *flags)
    assert (run.code, run.out) == (2, "")
    assert "--follow" in run.err


def test_nobody_listens(offline_cli: CommandLine):
    run = offline_cli("list", "--follow", "--server", "127.0.0.1:1", STATUS_GRPC_OUTAGE_TIMEOUT="0.5")
    assert run.code == 5
    assert run.err.endswith("Error: The server at 127.0.0.1:1 cannot be reached: Connection refused.\n")


@given(
    st.lists(st.lists(st.integers(-20, 20), max_size=5), min_size=1, max_size=6),
    st.integers(0, 4),
)
def test_each_trace_comes_once_even_if_it_appears_late(looks: list[list[int]], limit: int):
    """`looks`: what has appeared before each look, by how many seconds it was created before or after that."""
    store: list[Any] = []

    def look(since: datetime | None) -> list[Any]:
        found = [trace for trace in store if since is None or trace.create_time >= since]
        return sorted(found, key=lambda trace: trace.create_time, reverse=True)

    tail = Tail(look)
    shown: list[str] = []
    at_first = 0
    for number, created in enumerate(looks):
        now = NOON + timedelta(seconds=5 * number)
        for seconds in created:
            # A commit is late by 30 seconds at most: later than that it is not looked for.
            when = max(now + timedelta(seconds=seconds), _newest(store) - timedelta(seconds=30))
            store.append(SimpleNamespace(trace_id=str(len(store)), create_time=when))
        if number:
            shown += [trace.trace_id for trace in tail.more()]
        else:
            at_first = len(store)
            shown += [trace.trace_id for trace in tail.begin(limit)]
    assert len(shown) == len(set(shown))
    assert len(shown) == len(store) - (max(0, at_first - limit) if limit else 0)


def _newest(store: list[Any]) -> datetime:
    return max((trace.create_time for trace in store), default=NOON - timedelta(days=1))
