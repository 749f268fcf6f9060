"""A server whose SQLite file cannot grow while a disk is full; run as a program, it is that server."""

from __future__ import annotations

import signal
import sqlite3.dbapi2
import sys
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).parents[1]))

from server_process import Server


class SmallDisk(Server):
    """Its disk is full from `fill` to `make_room`."""

    program: ClassVar[list[str]] = [sys.executable, __file__]

    def fill(self) -> None:
        """Let there be no space left."""
        self._tell(signal.SIGUSR1)

    def make_room(self) -> None:
        """Let there be space again."""
        self._tell(signal.SIGUSR2)

    def _tell(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)


def main() -> None:
    """Run the command line, with connections whose database has a size that it may not exceed."""
    from status_grpc.cli.main import main as run

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
    run()


if __name__ == "__main__":
    main()
