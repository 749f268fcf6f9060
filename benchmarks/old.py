"""The programs that this project replaces, each installed by itself in .cache: they do not change."""

import subprocess
import sys
from pathlib import Path

from benchmarks.bench import NotDoneError

CLI = "okdata-cli==6.1.2"
DECORATOR = "okdata-aws==6.0.0"


def installed(package: str) -> Path:
    """The folder of commands of the environment that has this package."""
    venv = Path(".cache", package.replace("==", "-")).absolute()
    done = venv / "installed"
    if not done.exists():
        _run(sys.executable, "-m", "venv", "--clear", str(venv))
        _run(str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", package)
        done.touch()
    return venv / "bin"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotDoneError(f"{' '.join(command)}: {done.stderr}")
