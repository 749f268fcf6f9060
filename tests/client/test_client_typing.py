from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SERVICE = Path(__file__).with_name("typed_service.py")


def test_a_typed_service_passes_the_strictest_type_checker(tmp_path: Path):
    # Somewhere else, so that what is checked is the installed package and not this folder's settings.
    (tmp_path / "service.py").write_text(SERVICE.read_text())
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--config-file=", "service.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
