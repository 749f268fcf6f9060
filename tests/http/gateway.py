"""`status-grpc serve --http` as a process: both edges of one server, on ports and a database that stay the same."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from ports import free_ports
from warm import PATIENCE, WarmProcess


class Gateway:
    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder = folder
        self.flags = flags
        port = free_ports(2)
        self.grpc, self.http = f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}"
        self.process: WarmProcess | None = None
        self._log = folder / "server.log"

    @property
    def url(self) -> str:
        return f"http://{self.http}"

    @property
    def log(self) -> str:
        """What the server has written to standard error, over all its starts."""
        return self._log.read_text()

    def start(self) -> Gateway:
        arguments = ["serve", "--listen", self.grpc, "--http", self.http]
        arguments += ["--database-url", f"sqlite+aiosqlite:///{self.folder / 'traces.db'}", *self.flags]
        self.process = WarmProcess(arguments, folder=self.folder, log=self._log)
        line = self.process.first_line()
        assert line == f"status-grpc is listening on {self.grpc} and {self.url}\n", (line, self.log)
        return self

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
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
        if self.process is not None:
            self.process.kill()
            self.wait()

    def memory(self) -> int:
        """Return the most memory that the process has held, in bytes."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status")
        if status.exists():
            peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
            return int(peak.split()[1]) * 1024
        answer = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(self.process.pid)], check=True, capture_output=True, text=True
        )
        return int(answer.stdout) * 1024
