"""A server whose SQLite file cannot grow while a disk is full."""

from __future__ import annotations

import signal
import sqlite3.dbapi2
from collections.abc import Callable
from typing import Any

from server_process import Server

from status_grpc.cli.main import main


def on_a_small_disk() -> None:
    """Run the command line, with connections whose database has a size that it may not exceed."""
    connections: list[sqlite3.Connection] = []
    connect = sqlite3.dbapi2.connect

    def limited(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connections.append(connect(*arguments, **options))
        return connections[-1]

    def limit(pages: int) -> None:
        for connection in connections:
            connection.execute(f"PRAGMA max_page_count = {pages}")

    sqlite3.dbapi2.connect = limited  # where SQLAlchemy takes the connection that writes from
    # It cannot be less than there are.
    signal.signal(signal.SIGUSR1, lambda *_: limit(1))
    signal.signal(signal.SIGUSR2, lambda *_: limit(2**30))
    main()


class SmallDisk(Server):
    """Its disk is full from `fill` to `make_room`."""

    program: Callable[[], None] = staticmethod(on_a_small_disk)

    def fill(self) -> None:
        """Let there be no space left."""
        self._tell(signal.SIGUSR1)

    def make_room(self) -> None:
        """Let there be space again."""
        self._tell(signal.SIGUSR2)

    def _tell(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
