"""A server for what the documents tell their readers to run."""

import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
PATIENCE = 60


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where `status-grpc serve` listens, with a database of its own."""
    command = [BIN / "status-grpc", "serve", "--listen", "127.0.0.1:0", "--drain-seconds", "0"]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=log, text=True)
    with process:
        assert process.stdout is not None
        try:
            assert select.select([process.stdout], [], [], PATIENCE)[0], "the server did not start"
            yield process.stdout.readline().removeprefix("status-grpc is listening on ").strip()
        finally:
            process.kill()
