"""The spool of undelivered reports on disk.

A folder of files for this user only. Each file is written whole (under another name, then renamed), names the server
that its reports are for, and holds no credentials. The process that tries to deliver a file has locked it, and deletes
it afterwards. Any process that reports to the same server may deliver a file that is not locked. Delivering a report
twice does no harm, because every event has its id.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from status_grpc.client.reporting.reports import Report

log = logging.getLogger("status_grpc")

_MAGIC = b"status-grpc spool 2\n"
#: The longest header line: servers have at most a few hundred characters.
_LONGEST_HEADER = 16 * 1024
#: Whether a report creates a trace, and how many bytes it has.
_RECORD = struct.Struct("!?I")
_CHECKSUM = struct.Struct("!I")
#: Files to be delivered, and files with reports that the server has refused: those are tried again less often.
_WAITING, _REFUSED = ".spool", ".refused"
#: How long a file of refused reports is left alone after each attempt, in seconds.
_REFUSED_INTERVAL = 60.0
_DAY = 24 * 3600
_counter = count()


class BadSpoolFile(Exception):
    """The file is not what a spool wrote."""


@dataclass(frozen=True, slots=True)
class SpoolHeader:
    """What the first lines of a file say."""

    server: str
    events: int


def encode_spool(server: str, reports: Iterable[Report]) -> bytes:
    """Return the content of a file with these reports for this server."""
    reports = list(reports)
    header = json.dumps({"server": server, "events": len(reports)}).encode() + b"\n"
    records = b"".join(_RECORD.pack(report.creates, len(report.data)) + report.data for report in reports)
    return _MAGIC + header + records + _CHECKSUM.pack(zlib.crc32(header + records))


def decode_header(content: bytes) -> SpoolHeader:
    """Return the header of a file that begins so. Raises BadSpoolFile."""
    if not content.startswith(_MAGIC):
        raise BadSpoolFile
    try:
        said = json.loads(content[len(_MAGIC) : content.index(b"\n", len(_MAGIC))])
        return SpoolHeader(str(said["server"]), int(said["events"]))
    except (ValueError, KeyError, TypeError):
        raise BadSpoolFile from None


def decode_spool(content: bytes) -> tuple[SpoolHeader, list[Report]]:
    """Return the header and the reports of a file. Raises BadSpoolFile."""
    header = decode_header(content)
    body, checksum = content[len(_MAGIC) : -_CHECKSUM.size], content[-_CHECKSUM.size :]
    if checksum != _CHECKSUM.pack(zlib.crc32(body)):
        raise BadSpoolFile
    reports = []
    position = body.index(b"\n") + 1
    while position < len(body):
        creates, length = _RECORD.unpack_from(body, position)
        position += _RECORD.size
        reports.append(Report(creates, body[position : position + length]))
        position += length
    return header, reports


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file that waits to be delivered, as `Spool.waiting` lists it."""

    server: str
    events: int
    size: int
    #: When it was written, in seconds since 1970.
    written: float
    #: Whether a running process has it.
    in_use: bool
    #: Whether the server has refused its events.
    refused: bool


class SpoolFile:
    """A file that this process has locked. Safe for threads.

    It is deleted when all its reports are settled.
    """

    def __init__(self, spool: Spool, path: Path, descriptor: int, *, reports: int, size: int) -> None:
        self.path = path
        self.size = size
        #: How many of its reports are not settled, held ones included.
        self.left = reports
        self._spool = spool
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._reports = reports
        self._held: list[Report] = []
        self._deleted = False

    @property
    def is_free_to_merge(self) -> bool:
        """Whether the outbox has all its reports that are not settled."""
        return self._descriptor >= 0 and not self._held

    def settled_one(self) -> None:
        """Note that one of the reports needs the file no more."""
        with self._lock:
            self.left -= 1
            self._finish_if_done()

    def hold(self, report: Report) -> None:
        """Keep a report on disk that the server refuses for now."""
        with self._lock:
            self._held.append(report)
            if self._deleted:  # it was merged into another one just now, which counts the report as settled
                self._write_held()
            self._finish_if_done()

    def release(self) -> None:
        """Let go of the file, so that any process may deliver it."""
        with self._lock:
            self._unlock()

    def discard(self) -> None:
        """Delete the file because another one has its reports.

        Held reports stay on disk.
        """
        with self._lock:
            self.left = len(self._held)
            self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self._descriptor < 0 or self.left > len(self._held):
            return
        if not self._held:
            self._delete()
            return
        if self.path.suffix == _REFUSED and len(self._held) == self._reports:
            os.utime(self._descriptor)  # it was tried just now
        else:
            self._write_held()
        self._unlock()

    def _write_held(self) -> None:
        try:
            self._spool.write(self._held, refused=True, since=stamp_of(self.path)).release()
            self.path.unlink(missing_ok=True)
        except OSError:
            pass  # the file stays as it is: what was delivered from it is delivered again, which does no harm

    def _delete(self) -> None:
        self._deleted = True
        try:
            self.path.unlink(missing_ok=True)
        except OSError:
            pass  # the file system has become read-only: it is delivered again, which does no harm
        self._unlock()

    def _unlock(self) -> None:
        if self._descriptor >= 0:
            self._spool.close(self._descriptor)
            self._descriptor = -1


class Spool:
    """The files of one folder for one server. Safe for threads.

    The folder has at most `most_bytes` for all servers together. Files older than `most_age` seconds are dropped.
    """

    def __init__(
        self, folder: Path, server: str, most_bytes: int = 256 * 1024 * 1024, most_age: float = 7.0 * _DAY
    ) -> None:
        self.folder = folder
        self.server = server
        self._most_bytes = most_bytes
        self._most_age = most_age
        # The locks of this process. A forked child closes them, so that they end with their process.
        self._descriptors: set[int] = set()

    def write(self, reports: list[Report], *, refused: bool = False, since: int | None = None) -> SpoolFile:
        """Write the reports to a file of their own.

        They are on disk when this returns. refused: the server has refused them. since: when they were spooled first,
        in nanoseconds, None for now. Raises OSError, also when the folder holds as much as it may.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._size() + sum(len(report.data) for report in reports) > self._most_bytes:
            raise OSError(f"the spool {self.folder} holds {self._most_bytes} bytes, as much as it may")
        content = encode_spool(self.server, reports)
        # The name sorts by time: what was spooled first is delivered first.
        name = f"{time.time_ns() if since is None else since:020d}-{os.getpid()}-{next(_counter)}"
        path = self.folder / f"{name}{_REFUSED if refused else _WAITING}"
        unfinished = path.with_suffix(".unfinished")
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._descriptors.add(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                file.write(content)
            os.fsync(descriptor)
            unfinished.rename(path)
            self._sync_folder()
        except BaseException:
            self.close(descriptor)
            unfinished.unlink(missing_ok=True)
            raise
        return SpoolFile(self, path, descriptor, reports=len(reports), size=len(content))

    def _sync_folder(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def claim(self) -> Iterator[tuple[SpoolFile, list[Report]]]:
        """Lock the free files for this server and return their reports.

        The oldest comes first. Drops what is too old, for whatever server. Leaves out reports that the server has
        refused. Raises OSError.
        """
        self._drop_old()
        return self._claim_each(self._files(_WAITING))

    def claim_refused(self) -> Iterator[tuple[SpoolFile, list[Report]]]:
        """As `claim`, for refused reports that were not tried lately."""
        return self._claim_each([path for path in self._files(_REFUSED) if not _was_tried_lately(path)])

    def claim_all(self) -> Iterator[tuple[SpoolFile, list[Report]]]:
        """As `claim`, for all reports."""
        self._drop_old()
        return self._claim_each(self._files(_WAITING, _REFUSED))

    def _claim_each(self, paths: list[Path]) -> Iterator[tuple[SpoolFile, list[Report]]]:
        for path in paths:
            try:
                if _header(path).server != self.server:
                    continue
            except BadSpoolFile:
                pass  # it is looked at under its lock
            except OSError:
                continue
            claimed = self._claim(path)
            if claimed is not None:
                yield claimed

    def _claim(self, path: Path) -> tuple[SpoolFile, list[Report]] | None:
        descriptor = _lock(path)
        if descriptor is None:
            return None
        self._descriptors.add(descriptor)
        try:
            content = path.read_bytes()
            _, reports = decode_spool(content)
        except BadSpoolFile:
            log.warning("status-grpc: %s is damaged; it is kept as %s.bad", path, path.name)
            path.rename(path.with_name(f"{path.name}.bad"))
            self.close(descriptor)
            return None
        return SpoolFile(self, path, descriptor, reports=len(reports), size=len(content)), reports

    def close(self, descriptor: int) -> None:
        """Close a locked file."""
        self._descriptors.discard(descriptor)
        os.close(descriptor)

    def after_fork(self) -> None:
        """Close, in a child, what the parent has locked.

        Takes no lock, because another thread may have had it.
        """
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = set()

    def waiting(self) -> list[Waiting]:
        """Return what waits in the folder, for whatever server, the oldest first."""
        found = []
        for path in self._files(_WAITING, _REFUSED):
            try:
                header, size = _header(path), path.stat().st_size
            except (OSError, BadSpoolFile):
                continue
            written = stamp_of(path) / 1e9
            found.append(
                Waiting(header.server, header.events, size, written, _is_locked(path), path.suffix == _REFUSED)
            )
        return found

    def _drop_old(self) -> None:
        oldest = time.time_ns() - int(self._most_age * 1e9)
        dropped = 0
        for path in self._all():
            if not 0 < stamp_of(path) < oldest:
                continue
            descriptor = _lock(path)
            if descriptor is None:
                continue  # a running process still tries
            try:
                dropped += _header(path).events
            except (OSError, BadSpoolFile):
                pass
            path.unlink(missing_ok=True)
            os.close(descriptor)
        if dropped:
            log.warning(
                "status-grpc: %d events are lost: they have waited in %s for more than %g days",
                dropped,
                self.folder,
                self._most_age / _DAY,
            )

    def _size(self) -> int:
        size = 0
        for path in self._all():
            try:
                size += path.stat().st_size
            except FileNotFoundError:
                pass  # it was delivered just now
        return size

    def _all(self) -> list[Path]:
        return sorted(self.folder.iterdir()) if self.folder.is_dir() else []

    def _files(self, *suffixes: str) -> list[Path]:
        return [path for path in self._all() if path.suffix in suffixes and stamp_of(path)]


def stamp_of(path: Path) -> int:
    """Return when the file was spooled, in nanoseconds since 1970.

    0 for a name that no spool has given.
    """
    stamp = path.name.partition("-")[0]
    return int(stamp) if stamp.isdecimal() else 0


def _header(path: Path) -> SpoolHeader:
    with path.open("rb") as file:
        return decode_header(file.read(_LONGEST_HEADER))


def _was_tried_lately(path: Path) -> bool:
    try:
        return 0 <= time.time() - path.stat().st_mtime < _REFUSED_INTERVAL
    except FileNotFoundError:
        return True


def _is_locked(path: Path) -> bool:
    descriptor = _lock(path)
    if descriptor is None:
        return path.exists()
    os.close(descriptor)
    return False


def _lock(path: Path) -> int | None:
    """Return the descriptor of the file, locked.

    None when another process has it or has delivered it, or it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None
