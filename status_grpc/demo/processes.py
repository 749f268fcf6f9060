"""The processes of the demo: started together, called, and ended without a trace of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from status_grpc.demo.work import COMPONENTS, Event

_MOST_SECONDS_TO_END = 5.0


class ProcessFailed(Exception):
    """A process of the demo did not do what it is there for; the message has its last words."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Process:
    """One process. It ends when its input does."""

    def __init__(self, name: str, folder: Path, module: str, *arguments: str) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            # A session of its own: a Ctrl-C reaches the demo alone, which ends its processes in good order.
            # -P: whatever lies in the current folder is not imported.
            self._popen = subprocess.Popen(  # noqa: S603 - our own module, in our own interpreter
                [sys.executable, "-P", "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                start_new_session=True,
            )

    def tell(self, value: object) -> None:
        """Send a line of JSON."""
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(json.dumps(value) + "\n")
            self._popen.stdin.flush()
        except BrokenPipeError:
            raise self._failed() from None

    def hear(self) -> str:
        """Return the next line it prints. Raises ProcessFailed when it has ended instead."""
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        if not line:
            raise self._failed()
        return line

    def _failed(self) -> ProcessFailed:
        code = self._popen.wait()
        words = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last_words = words[-1].removeprefix("Error: ") if words else f"exit code {code}"
        return ProcessFailed(f"The {self.name} has ended: {last_words}", code)

    def end(self, *, at_once: bool) -> None:
        """Tell it to end: when it has done what it is doing, or at once."""
        assert self._popen.stdin is not None
        if at_once:
            self._popen.terminate()
        try:
            self._popen.stdin.close()
        except BrokenPipeError:
            pass

    def wait(self) -> None:
        """Wait until it has ended, and see to it that it does."""
        try:
            self._popen.wait(_MOST_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        assert self._popen.stdout is not None
        self._popen.stdout.close()


class Platform:
    """The status server and the components of the pipeline."""

    def __init__(self, folder: Path, pace: float) -> None:
        self._folder = folder
        self._pace = pace
        self._processes: list[Process] = []
        self._components: dict[str, Process] = {}
        self.server = ""
        #: The ids of all the events that components were told are recorded, in order.
        self.recorded: list[str] = []

    def start(self) -> None:
        """Start everything at once and return when the server listens. Raises ProcessFailed."""
        database = f"sqlite+aiosqlite:///{self._folder / 'demo.db'}"
        server = self._spawn(
            "server", "status_grpc.demo.tethered", "serve", "--listen", "127.0.0.1:0", "--database-url", database
        )
        for name in COMPONENTS:
            self._components[name] = self._spawn(name, "status_grpc.demo.component", name)
        self.server = server.hear().split()[-1]
        settings = {"server": self.server, "bucket": str(self._folder / "bucket"), "pace": self._pace}
        for component in self._components.values():
            component.tell(settings)

    def _spawn(self, name: str, module: str, *arguments: str) -> Process:
        process = Process(name, self._folder, module, *arguments)
        self._processes.append(process)
        return process

    def call(self, component: str, event: Event) -> Any:
        """Call a component and return its result. Raises ProcessFailed."""
        process = self._components[component]
        process.tell(event)
        answer = json.loads(process.hear())
        self.recorded += answer["recorded"]
        return answer["result"]

    def stop(self) -> None:
        """End every process; the server in good order, its database is open."""
        for process in self._processes:
            process.end(at_once=process.name in self._components)
        for process in self._processes:
            process.wait()
