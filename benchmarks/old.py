"""The programs that this project replaces, and its peers: each installed by itself in .cache, at one version."""

import subprocess
import sys
from pathlib import Path

from benchmarks.bench import NotDoneError

CLI = "okdata-cli==6.1.2"
DECORATOR = "okdata-aws==6.0.0"


def installed(package: str, *beside: str) -> Path:
    """The folder of commands of the environment that has this package, with these beside it."""
    venv = Path(".cache", package.replace("==", "-")).absolute()
    done = venv / "installed"
    if not done.exists():
        _run(sys.executable, "-m", "venv", "--clear", str(venv))
        _run(str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", package, *beside)
        done.touch()
    return venv / "bin"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotDoneError(f"{' '.join(command)}: {done.stderr}")
