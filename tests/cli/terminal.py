"""A terminal for tests: what a person sees on the screen after a program has drawn, and drawn over, its lines."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from typing import IO

import pyte

_LINES = 40
_PATIENCE = 60.0
# Makes the terminal the program's controlling one: Ctrl-C and a hang-up reach it as signals.
_LAUNCH = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """A program on a pseudo-terminal.

    Not by way of pexpect: it forks this process, in which gRPC has threads, and its child does not always survive that.
    """

    def __init__(
        self,
        command: list[str],
        environment: dict[str, str],
        *,
        columns: int = 100,
        stderr: IO[str] | None = None,
    ) -> None:
        self._end, other_end = pty.openpty()
        fcntl.ioctl(other_end, termios.TIOCSWINSZ, struct.pack("HHHH", _LINES, columns, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, *command],
            stdin=other_end,
            stdout=other_end,
            stderr=stderr or other_end,
            env=environment,
            start_new_session=True,
        )
        os.close(other_end)
        self._decoder = codecs.getincrementaldecoder(environment.get("PYTHONIOENCODING", "utf-8"))()
        self._columns = columns
        self.output = ""
        self._expected = 0
        self.exit_code: int | None = None

    def expect(self, words: str) -> None:
        """Wait until these words have been written, after those that were expected before."""
        while (found := self.output.find(words, self._expected)) < 0:
            assert self._read(), f"never came: {words!r}; what came: {self.output!r}"
        self._expected = found + len(words)

    def press(self, key: bytes) -> None:
        """Press a key."""
        os.write(self._end, key)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def hang_up(self) -> int:
        """Close the terminal, and return what becomes of the program."""
        os.close(self._end)
        return self._process.wait(_PATIENCE)

    def end(self) -> int:
        """Wait for the end of the program and return its exit code."""
        while self._read():
            pass
        os.close(self._end)
        self.exit_code = self._process.wait(_PATIENCE)
        return self.exit_code

    def _read(self) -> bool:
        """Take in what has been written; return False when there is nothing to come."""
        deadline = time.monotonic() + _PATIENCE
        while not select.select([self._end], [], [], 1.0)[0]:
            assert time.monotonic() < deadline, f"nothing more came after: {self.output!r}"
        try:
            data = os.read(self._end, 65536)
        except OSError:  # EIO: the program has ended
            return False
        self.output += self._decoder.decode(data)
        return bool(data)

    @property
    def screen(self) -> list[str]:
        """The lines that a person sees."""
        return "\n".join(line.rstrip() for line in self.emulator.display).strip("\n").split("\n")

    @property
    def emulator(self) -> pyte.Screen:
        """The screen, with colors."""
        emulator = pyte.Screen(self._columns, _LINES)
        pyte.Stream(emulator).feed(self.output)
        return emulator
