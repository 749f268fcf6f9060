from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from victims import Victim


@pytest.fixture
def victim(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Victim]:
    server = Victim(tmp_path, *getattr(request, "param", ()))
    try:
        yield server
    finally:
        assert server.stop() == 0
