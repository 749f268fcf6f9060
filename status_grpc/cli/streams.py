"""Replaces closed standard streams by /dev/null."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_missing_streams() -> None:
    """Open /dev/null for each closed standard stream (`>&-`, `<&-`).

    Call it before anything opens a file or a socket, which would get the number of a closed stream.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            _open_null(number, mode)
        if getattr(sys, name) is None:
            stream = _stream(number, name, mode)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def _open_null(number: int, mode: str) -> None:
    opened = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
    if opened != number:
        with suppress(OSError):
            os.dup2(opened, number)
        os.close(opened)
    # Python closes what it opens in child processes, and these are to have the three streams, too.
    os.set_inheritable(number, True)


def _stream(number: int, name: str, mode: str) -> io.TextIOWrapper:
    raw = io.FileIO(number, mode, closefd=False)
    raw.name = f"<{name}>"
    buffer = io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
    return io.TextIOWrapper(buffer, encoding="utf-8", errors="replace", line_buffering=name == "stderr")
