from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from house import House, open_house


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'traces.db'}"


@pytest.fixture
async def house(url: str) -> AsyncIterator[House]:
    async with open_house(url) as house:
        yield house
