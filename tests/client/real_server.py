"""`status-grpc serve` as a process: started, killed, frozen and restarted on one port and one database."""

from __future__ import annotations

import signal
from pathlib import Path

from ports import free_port
from warm import WarmProcess


class RealServer:
    def __init__(self, folder: Path, *flags: str) -> None:
        self._folder = folder
        self._flags = flags
        self._process: WarmProcess | None = None
        self.port = free_port()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        arguments = ["serve", "--listen", self.address, *self._flags, "--drain-seconds", "1"]
        arguments += ["--database-url", f"sqlite+aiosqlite:///{self._folder / 'traces.db'}"]
        self._process = WarmProcess(arguments, folder=self._folder, log=self._folder / "server.log")
        line = self._process.first_line()
        assert "listening" in line, (line, (self._folder / "server.log").read_text())

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.communicate()
            self._process = None

    @property
    def log(self) -> str:
        return (self._folder / "server.log").read_text()


class Gateway(RealServer):
    """The real server, with its HTTP edge."""

    def __init__(self, folder: Path, *flags: str, scheme: str = "http") -> None:
        self.http = f"127.0.0.1:{free_port()}"
        self.url = f"{scheme}://{self.http}"
        super().__init__(folder, "--http", self.http, *flags)
