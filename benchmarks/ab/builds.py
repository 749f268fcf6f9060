"""The two builds, the working tree and an unpacked commit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from benchmarks.databases import SQLITE, Engines
from benchmarks.servers import Server, start_service

# -P: the folder that this runs in is not searched, so that each build imports its own files.
_PYTHON = [sys.executable, "-P", "-c"]
_SERVE = [*_PYTHON, "from status_grpc.cli.main import main; main()", "serve", "--http", "127.0.0.1:0"]


@dataclass(frozen=True)
class Build:
    """One build of the service."""

    name: str
    folder: Path

    @contextmanager
    def service(self, engines: Engines) -> Iterator[Server]:
        """Run this build's server, with HTTP, on an empty SQLite database."""
        with engines.database(SQLITE) as url, start_service(_SERVE, url, env=self._environment()) as server:
            yield server

    def check(self) -> None:
        """Raise SystemExit unless a process of this build imports this build's files."""
        found = subprocess.run(
            [*_PYTHON, "import status_grpc, tracestatus; print(status_grpc.__file__, tracestatus.__file__)"],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | self._environment(),
        )
        if not all(Path(path).is_relative_to(self.folder) for path in found.stdout.split()):
            raise SystemExit(f"the build {self.name} would import {found.stdout.strip()}")

    def _environment(self) -> dict[str, str]:
        # Folders named here are imported before the installed package, which is the working tree.
        return {"PYTHONPATH": os.pathsep.join([str(self.folder), str(self.folder / "generated")])}


def working_tree() -> Build:
    """Return the build of the files as they are."""
    return Build("new", Path.cwd())


def unpacked(commit: str, cache: Path) -> Build:
    """Return the build of a commit.

    Its files are unpacked below `cache`. Raises SystemExit for an unknown commit.
    """
    found = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"], capture_output=True, text=True, check=False
    )
    if found.returncode:
        raise SystemExit(f"BASE={commit} is not a commit of this repository")
    folder = cache / found.stdout.strip()
    if not folder.is_dir():
        archive = subprocess.run(
            ["git", "archive", found.stdout.strip(), "status_grpc", "generated"], capture_output=True, check=True
        )
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
            files.extractall(unfinished, filter="data")
        unfinished.rename(folder)
    return Build("base", folder)
