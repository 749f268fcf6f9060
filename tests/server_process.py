"""A real server process for tests: started, killed and restarted on the same port and the same database."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ports import free_port
from warm import PATIENCE, WarmProcess

from status_grpc.cli.main import main

BIN = Path(sys.executable).parent


class Server:
    """`status-grpc serve` as a child process. Port and database stay the same over `start`, `kill` and `stop`."""

    #: What runs it.
    program: Callable[[], None] = staticmethod(main)

    def __init__(self, folder: Path, *flags: str, database_url: str = "") -> None:
        """The database is a SQLite file in the folder, unless a URL says otherwise."""
        self.folder = folder
        self.database = folder / "traces.db"
        self.flags = flags
        self.database_url = database_url or f"sqlite+aiosqlite:///{self.database}"
        self.port = free_port()
        self.process: WarmProcess | None = None
        #: The URL of HTTP, where that is served.
        self.http = ""
        self._log = folder / "server.log"

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What the server has written to standard error, over all its starts."""
        return self._log.read_text()

    def start(self) -> Server:
        """Start the process; return once it has said where it listens."""
        arguments = ["serve", "--listen", self.address, "--database-url", self.database_url, *self.flags]
        self.process = WarmProcess(arguments, folder=self.folder, log=self._log, program=self.program)
        line = self.process.first_line()
        found = re.fullmatch(r"status-grpc is listening on (\S+)(?: and (\S+))?\n", line)
        if found is None:
            # If it has closed its output it is about to end: it shall end with its own code, not with that of a kill.
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
            self.kill()
            raise AssertionError(f"the server said {line!r} instead of where it listens; its log: {self.log}")
        assert found[1] == self.address
        self.http = found[2] or ""
        return self

    def terminate(self) -> None:
        """Ask the server to drain, and do not wait for it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait until the process has ended; return its exit code."""
        assert self.process is not None
        code = self.process.wait(PATIENCE)
        self.process.stdout.close()
        self.process = None
        return code

    def stop(self) -> int:
        """Drain the server and wait for its end; return its exit code."""
        self.terminate()
        return self.wait()

    def kill(self) -> None:
        """End the process as a power cut would: kill -9."""
        if self.process is not None:
            self.process.kill()
            self.wait()

    def freeze(self) -> None:
        """Let the process stand still, as one that swaps or whose machine is suspended."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        assert self.process is not None
        answer = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], check=False, capture_output=True, text=True
        )
        return [int(pid) for pid in answer.stdout.split()]

    def memory(self) -> int:
        """Return the memory that the process holds now, in bytes."""
        assert self.process is not None
        answer = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(self.process.pid)], check=True, capture_output=True, text=True
        )
        return int(answer.stdout) * 1024

    def back_up(self, copy: Path) -> None:
        """Copy the database as an operator would, whether or not the server runs."""
        _copy_database(self.database, copy)

    def restore(self, copy: Path) -> None:
        """Put a copy in the place of the database; the server must not run."""
        assert self.process is None
        for suffix in ("", "-wal", "-shm"):
            self.database.with_name(self.database.name + suffix).unlink(missing_ok=True)
        _copy_database(copy, self.database)

    def restore_while_running(self, copy: Path) -> None:
        """Restore a copy into the open database, as `.restore` of the sqlite3 shell does."""
        _copy_database(copy, self.database)


def _copy_database(source: Path, target: Path) -> None:
    reading, writing = sqlite3.connect(source), sqlite3.connect(target)
    try:
        reading.backup(writing)
    finally:
        reading.close()
        writing.close()
