"""What a figure depends on besides the code: recorded with the figures, without anything that names the machine."""

import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("status-grpc", "grpcio", "protobuf", "uvloop", "sqlalchemy", "aiosqlite", "asyncpg")


def describe() -> dict[str, Any]:
    """The settings of a run, by name."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "sqlite": sqlite3.sqlite_version,
        "fsync": "SQLite: WAL, synchronous FULL (the service's own settings); PostgreSQL: fsync, synchronous_commit, "
        "full_page_writes on",
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "file system": _file_system(tempfile.gettempdir()),
        "fsync_ms": _fsync(),
        "transport": "loopback TCP, plaintext",
    }


def busy() -> float:
    """The seconds of CPU that everything on this machine has used; 0 where /proc does not tell."""
    try:
        user, nice, system, _idle, _iowait, *rest = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except (OSError, ValueError):
        return 0.0
    return sum(map(int, (user, nice, system, *rest))) / os.sysconf("SC_CLK_TCK")


def _commit() -> str:
    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return commit.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _file_system(folder: str) -> str:
    """What kind of file system the databases are on: on a tmpfs, fsync costs nothing and durability is for show."""
    if sys.platform != "linux":
        return "unknown"
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    path = os.path.realpath(folder)
    holding = [(at, kind) for at, kind in mounts if path == at or path.startswith(at.rstrip("/") + "/")]
    return max(holding, key=lambda mount: len(mount[0]))[1] if holding else "unknown"


def _fsync(times: int = 50) -> float:
    """How long it takes to make 4 KiB durable here: the median, in milliseconds."""
    taken = []
    with tempfile.NamedTemporaryFile(prefix="status-grpc-bench-") as file:
        for _ in range(times):
            file.write(b"\0" * 4096)
            file.flush()
            begin = time.perf_counter()
            os.fsync(file.fileno())
            taken.append((time.perf_counter() - begin) * 1000)
    return round(statistics.median(taken), 3)
