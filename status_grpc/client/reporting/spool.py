"""The spool: reports on disk, for a service that is away for longer than this process lives.

A folder of files, each written whole (under another name, then renamed), locked by the process that still tries to
deliver it, and deleted once that is done. Whoever finds a file that nobody has locked may deliver it. To deliver twice
does no harm: every event has its id.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

from status_grpc.client.reporting.reports import Report

log = logging.getLogger("status_grpc")

_MAGIC = b"status-grpc spool 1\n"
#: Whether a report creates a trace, and how many bytes it has.
_RECORD = struct.Struct("!?I")
_CHECKSUM = struct.Struct("!I")
_SUFFIX = ".spool"
_counter = count()


class BadSpoolFile(Exception):
    """The file is not what a spool wrote."""


def encode_reports(reports: Iterable[Report]) -> bytes:
    """Return the content of a file with these reports."""
    records = b"".join(_RECORD.pack(report.creates, len(report.data)) + report.data for report in reports)
    return _MAGIC + records + _CHECKSUM.pack(zlib.crc32(records))


def decode_reports(content: bytes) -> list[Report]:
    """Return the reports of a file. Raises BadSpoolFile."""
    records, checksum = content[len(_MAGIC) : -_CHECKSUM.size], content[-_CHECKSUM.size :]
    if not content.startswith(_MAGIC) or checksum != _CHECKSUM.pack(zlib.crc32(records)):
        raise BadSpoolFile
    reports = []
    position = 0
    while position < len(records):
        creates, length = _RECORD.unpack_from(records, position)
        position += _RECORD.size
        reports.append(Report(creates, records[position : position + length]))
        position += length
    return reports


class SpoolFile:
    """A file that this process has locked; it deletes it when all its reports are settled."""

    def __init__(self, path: Path, descriptor: int, reports: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._left = reports

    def settled_one(self) -> None:
        """Note that one of the reports needs the file no more."""
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self.path.unlink(missing_ok=True)
                self._unlock()

    def release(self) -> None:
        """Let go of the file, so that anybody may deliver it."""
        with self._lock:
            self._unlock()

    def after_fork(self) -> None:
        """Let go of the file in a child; the parent keeps it. Takes no lock: another thread may have had it."""
        self._unlock()

    def _unlock(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Spool:
    """The files of one folder, at most `most_bytes` in all."""

    def __init__(self, folder: Path, most_bytes: int = 256 * 1024 * 1024) -> None:
        self._folder = folder
        self._most_bytes = most_bytes

    def write(self, reports: list[Report]) -> SpoolFile:
        """Write the reports to a file of their own; they are on disk when this returns.

        Raises OSError, also when the folder holds as much as it may.
        """
        content = encode_reports(reports)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sum(file.stat().st_size for file in self._files()) + len(content) > self._most_bytes:
            raise OSError(f"the spool {self._folder} holds {self._most_bytes} bytes, as much as it may")
        # The name sorts by time: what was spooled first is delivered first.
        path = self._folder / f"{time.time_ns():020d}-{os.getpid()}-{next(_counter)}{_SUFFIX}"
        unfinished = path.with_suffix(".unfinished")
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                file.write(content)
            os.fsync(descriptor)
            unfinished.rename(path)
            self._sync_folder()
        except BaseException:
            os.close(descriptor)
            unfinished.unlink(missing_ok=True)
            raise
        return SpoolFile(path, descriptor, len(reports))

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{_SUFFIX}")) if self._folder.is_dir() else []

    def claim(self) -> Iterator[tuple[SpoolFile, list[Report]]]:
        """Lock files that nobody else has, one after the other, and return them with their reports."""
        for path in self._files():
            descriptor = _lock(path)
            if descriptor is None:
                continue
            try:
                reports = decode_reports(path.read_bytes())
            except BadSpoolFile:
                log.warning("status-grpc: %s is damaged; it is kept as %s.bad", path, path.name)
                path.rename(path.with_name(f"{path.name}.bad"))
                os.close(descriptor)
                continue
            yield SpoolFile(path, descriptor, len(reports)), reports


def _lock(path: Path) -> int | None:
    """Return the locked file; None when somebody else has it or has just delivered it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None
