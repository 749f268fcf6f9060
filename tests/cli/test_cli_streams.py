"""Closed standard streams: every command does what it does with them, and ends with the same code."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path

import pytest
from closed_streams import main_without
from command_line import COMMAND
from warm import WarmProcess

from status_grpc import TraceEventStatus

CLOSED = {"open": (), "stdin": (0,), "stdout": (1,), "stderr": (2,)}
COMMANDS = {
    "list": (["list"], 0),
    "not found": (["get", "nope"], 3),
    "failed": (["watch", "{failed}"], 1),
    "update": (["update", "{trace}", "--component", "c"], 0),
    "empty file": (["create", "--file", "-"], 2),
    "usage": (["nope"], 2),
    "help": (["list", "--help"], 0),
    "unreachable": (["health", "--server", "127.0.0.1:1"], 5),
    "run": (["run", "--trace-id", "{trace}", "--", "sh", "-c", "cat && echo out && echo err >&2 && exit 7"], 7),
}


@pytest.fixture(scope="module")
def ids(traces) -> dict[str, str]:
    failed = traces.create()
    traces.finish(failed, TraceEventStatus.FAILED)
    return {"trace": traces.create(), "failed": failed}


@pytest.mark.parametrize("name", COMMANDS)
def test_exit_code_is_that_with_open_streams(cli, ids, name, tmp_path: Path):
    arguments, code = COMMANDS[name]
    processes = {
        closed: WarmProcess(
            [argument.format(**ids) for argument in arguments],
            log=tmp_path / closed,
            environment=cli.environment,
            program=partial(main_without, numbers),
        )
        for closed, numbers in CLOSED.items()
    }
    for process in processes.values():
        process.communicate()
    assert {closed: process.wait() for closed, process in processes.items()} == dict.fromkeys(CLOSED, code)
    assert not any("Traceback" in (tmp_path / closed).read_text() for closed in CLOSED)


@pytest.mark.parametrize("flags", [[], ["--tail", "0"]])
def test_command_of_run_has_all_streams(cli, ids, flags):
    checks = "cat && echo out && echo err >&2 && exit 7"
    run = [*COMMAND, "run", "--trace-id", ids["trace"], *flags, "--", "sh", "-c", checks]
    done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *run], env=cli.environment, check=False)
    assert done.returncode == 7
