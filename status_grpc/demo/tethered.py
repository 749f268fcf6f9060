"""Runs `status-grpc` for as long as its standard input is open: `python -m status_grpc.demo.tethered serve ...`.

So the demo's server does not outlive the demo, not even one that was killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from status_grpc.cli.main import main


def _end_with_input() -> None:
    # The file descriptor, not sys.stdin: its lock would still be held when the interpreter ends.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_input, daemon=True).start()
    main()
