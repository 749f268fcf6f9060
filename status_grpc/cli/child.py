"""A command that runs as a child of this process, which stays out of its way: output, signals and end pass through."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

#: What is passed on. Of SIGHUP only if it is not ignored, as nohup has it.
_PASSED_ON = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
#: What a terminal sends to all processes in its foreground, so that the child has it already.
_FROM_TERMINALS = ("SIGINT", "SIGQUIT")
#: How long what the command has left in the background may still write, in seconds, before this process ends.
_LAST_WORDS = 1.0
_CHUNK = 64 * 1024


class Tail:
    """The end of an output: its last `most` bytes, and how many there were in all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = bytearray()
        self._lock = threading.Lock()
        self.total = 0

    def add(self, data: bytes) -> None:
        """Add what comes next."""
        with self._lock:
            self.total += len(data)
            self._kept += data
            if len(self._kept) > self._most:
                del self._kept[: len(self._kept) - self._most]

    @property
    def text(self) -> str:
        """What is kept, from the first whole character on."""
        with self._lock:
            data = bytes(self._kept)
        if self.total > len(data):
            # Of a character that is cut through only its following bytes are left.
            data = data.lstrip(bytes(range(0x80, 0xC0)))
        return data.decode(errors="replace")


class Child:
    """A command. Its output is read, and passed on, only if there is a tail to keep; else it goes where ours goes."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], tail: Tail | None) -> None:
        self._command = command
        self._environment = environment
        self._tail = tail
        self._process: subprocess.Popen[bytes] | None = None
        self._readers: list[threading.Thread] = []
        self._early: list[int] = []

    def start(self) -> None:
        """Start it. Raises OSError if it cannot be."""
        where = None if self._tail is None else subprocess.PIPE
        sys.stdout.flush()
        self._process = subprocess.Popen(  # noqa: S603 - to run it is what it was given for
            self._command, env=dict(self._environment), stdout=where, stderr=where
        )
        for source, target in ((self._process.stdout, 1), (self._process.stderr, 2)):
            if source is not None:
                reader = threading.Thread(
                    target=self._pass_on, args=(source.fileno(), target, source.close), daemon=True
                )
                self._readers.append(reader)
                reader.start()
        for number in self._early:
            self.send(number)

    def wait(self) -> int:
        """Wait for its end; returns its exit code, or minus the signal that has ended it."""
        assert self._process is not None
        code = self._process.wait()
        for reader in self._readers:
            reader.join(_LAST_WORDS)
        return code

    def send(self, number: int) -> None:
        """Send it a signal, now or as soon as it is there; none once it has ended."""
        if self._process is None:
            self._early.append(number)
        else:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _pass_on(self, source: int, target: int, close: Callable[[], Any]) -> None:
        assert self._tail is not None
        with suppress(OSError):  # nobody reads what we write: then nobody reads what the child writes, as it is to know
            while data := os.read(source, _CHUNK):
                self._tail.add(data)
                while data:
                    data = data[os.write(target, data) :]
        close()


@contextmanager
def passing_on_signals(child: Child) -> Iterator[None]:
    """Let signals to this process be the child's."""

    def pass_on(number: int, _: FrameType | None) -> None:
        if not (signal.Signals(number).name in _FROM_TERMINALS and _in_foreground()):
            child.send(number)

    before = {}
    for name in _PASSED_ON:
        number = getattr(signal, name)
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, pass_on)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_like(code: int) -> int:
    """Return the exit code for a child that ended so; if it was ended by a signal, end this process by the same."""
    if code >= 0:
        return code
    with suppress(OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # one core file is enough
        sys.stdout.flush()
        sys.stderr.flush()
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return 128 - code  # as a shell says it, where this process cannot be ended so, such as the first of a container


def _in_foreground() -> bool:
    """Return whether a terminal sends its signals to this process, and so to the child, too."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
