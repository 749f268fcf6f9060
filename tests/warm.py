"""`status-grpc` as a process that is forked from one which has imported it: most of a start is its imports.

It is a process like any other, with signals, an exit code, files and sockets of its own. That the command starts from
nothing is seen by the tests of terminals, of endings, of workers and of the demo.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path

from status_grpc.cli.main import commands, main

#: Long enough for the slowest machine: only a process that never comes up or never goes down reaches it.
PATIENCE = 60.0

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(
    [
        *sorted({module for module, _, _ in commands.COMMANDS.values()}),
        "status_grpc.cli.ending",
        "status_grpc.client",
        "status_grpc.server.app",
        "status_grpc.server.main",
        "status_grpc.http.hosting.server",
        "alembic.command",
        "uvloop",
    ]
)


class WarmProcess:
    """A process of `status-grpc`, with what tests use of `subprocess.Popen`."""

    def __init__(
        self,
        arguments: Sequence[str | bytes],
        *,
        log: Path,
        folder: Path | None = None,
        stdin: Path = Path(os.devnull),
        environment: Mapping[str, str] = os.environ,
        program: Callable[[], None] = main,
    ) -> None:
        """Start it with these arguments in a folder, this process's unless given; standard error goes to the end of
        the log."""
        said, saying = _FORKING.Pipe(duplex=False)
        files = (str(stdin), saying, str(log))
        given = (program, [os.fsdecode(each) for each in arguments], dict(environment), str(folder or "."), files)
        self._process = _FORKING.Process(target=_run, args=given, daemon=True)
        self._process.start()
        saying.close()
        self.stdout = os.fdopen(os.dup(said.fileno()), encoding="utf-8", newline="")
        said.close()
        # How it ended can be read once, and several threads may ask.
        self._reading = threading.Lock()

    @property
    def pid(self) -> int:
        pid = self._process.pid
        assert pid is not None
        return pid

    @property
    def returncode(self) -> int | None:
        with self._reading:
            return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        wait([self._process.sentinel], timeout)
        code = self.returncode
        if code is None:
            raise subprocess.TimeoutExpired("status-grpc", timeout or 0)
        return code

    def first_line(self) -> str:
        """Return the first line of standard output; empty if the process ends, or takes too long, without one."""
        ready, _, _ = select.select([self.stdout], [], [], PATIENCE)
        return self.stdout.readline() if ready else ""

    def communicate(self) -> bytes:
        """Read the rest of standard output, and wait for the end of the process; one that takes too long is killed."""
        until = time.monotonic() + PATIENCE
        said = b""
        with self.stdout:
            while select.select([self.stdout], [], [], max(0, until - time.monotonic()))[0]:
                part = os.read(self.stdout.fileno(), 65536)
                if not part:
                    self.wait(PATIENCE)
                    return said
                said += part
        self.kill()
        raise subprocess.TimeoutExpired("status-grpc", PATIENCE, said)


def _run(
    program: Callable[[], None],
    arguments: list[str],
    environment: dict[str, str],
    folder: str,
    files: tuple[str, Connection, str],
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    stdin, saying, log = files
    with saying, Path(stdin).open() as given, Path(log).open("a") as logging:
        for number, file in enumerate([given, saying, logging]):
            os.dup2(file.fileno(), number)
    sys.stdin = os.fdopen(0, encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    os.chdir(folder)
    sys.argv = ["status-grpc", *arguments]
    program()
