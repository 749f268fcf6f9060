"""The wheel in a virtual environment of its own, as its users have it: no server code, the oldest protobuf there is."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: The protobuf of those who have not moved to 7 yet. `make test-protobuf` runs the whole client suite on it.
PROTOBUF = "6.33"
#: What a type checker needs beside it.
_TYPES = ("types-grpcio", "types-protobuf")


def installed_python() -> Path:
    """Return the interpreter of an environment with this project's wheel and nothing that it does not need.

    The environment is kept in .cache; only the wheel is made anew. Several processes may ask at once.
    """
    wanted = (
        f"{sys.version} {sys.prefix} {PROTOBUF} {(ROOT / 'pyproject.toml').read_text()} {Path(__file__).read_text()}"
    )
    folder = ROOT / ".cache" / f"installed-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / "installed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        marker = folder / "made-for"
        run_id = os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())
        if marker.exists() and marker.read_text() == run_id:
            return python
        if not marker.exists():
            for old in folder.parent.glob("installed-*"):
                shutil.rmtree(old)
            _run(sys.executable, "-m", "venv", str(folder))
            _pip(python, "install", f"protobuf=={PROTOBUF}.*", str(ROOT), *_TYPES)
        else:
            _pip(python, "install", "--no-deps", "--force-reinstall", str(ROOT))
        marker.write_text(run_id)
    return python


def _pip(python: Path, *arguments: str) -> None:
    _run(str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
