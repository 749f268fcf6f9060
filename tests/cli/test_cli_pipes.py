"""Commands that wait, and notice at once that nobody reads their output any more."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from typing import IO
from uuid import uuid4

import pytest
from command_line import COMMAND

from status_grpc import TraceEventStatus

UNREAD = "Error: The output is cut short: nobody reads it any more.\n"


@pytest.mark.parametrize(
    ("command", "lines"),
    [
        (lambda trace_id, user: ["watch", trace_id], 1),
        (lambda trace_id, user: ["list", "--follow", "--user", user], 1),
        (lambda trace_id, user: ["status", trace_id, "--watch"], 0),
    ],
    ids=["watch", "list", "status"],
)
def test_command_ends_when_its_reader_ends(cli, traces, command: Callable[[str, str], list[str]], lines: int):
    user = f"user-{uuid4()}"
    trace_id = traces.create(user=user)
    with subprocess.Popen(
        [*COMMAND, *command(trace_id, user)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=cli.environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for _ in range(lines):
            process.stdout.readline()
        # From here on nothing is recorded that the command would write.
        process.stdout.close()
        try:
            assert process.wait(60) == 128 + signal.SIGPIPE
        finally:
            process.kill()
        assert process.stderr.read() == UNREAD


def test_reader_that_ends_with_the_command_changes_nothing(cli, traces):
    trace_id = traces.create()
    traces.finish(trace_id, TraceEventStatus.FAILED)
    with subprocess.Popen(
        [*COMMAND, "watch", trace_id], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=cli.environment, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        everything: IO[str] = process.stdout
        while not everything.readline().startswith("  "):
            pass
        everything.close()
        assert (process.wait(60), process.stderr.read()) == (1, "")
