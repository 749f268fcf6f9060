"""The spooler between outbox and spool, off the step's path."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from status_grpc.client.reporting.once import warn_once
from status_grpc.client.reporting.outbox import Outbox, Ticket
from status_grpc.client.reporting.reports import Report
from status_grpc.client.reporting.spool import Spool, SpoolFile

#: How long to wait between looks into the spool, in seconds.
INTERVAL = 60.0
#: How much is read from the spool at a time: each file is open until it is delivered.
_MOST_REPORTS, _MOST_FILES, _MOST_BYTES = 1000, 64, 16 * 1024 * 1024
#: So many files of at most so many bytes are merged into one. A step that ends during an outage writes a file.
_MOST_SMALL_FILES, _SMALL = 16, 1024 * 1024
#: How long a spool that could not be written is left alone, in seconds.
_PAUSE_AFTER_FAILURE = 10.0


class Spooler:
    """Moves reports between the outbox and the spool. Safe for threads."""

    def __init__(self, spool: Spool, outbox: Outbox) -> None:
        self._spool = spool
        self._outbox = outbox
        #: Whether the spool has reports that belong before those of this process and are not in the outbox yet.
        self.has_more = False
        self._look_at = self._look_at_refused = 0.0
        #: One writes at a time.
        self._writing = threading.Lock()
        self._written: list[SpoolFile] = []
        self._changed = threading.Condition()
        self._asked = self._done = 0
        self._room_wanted = False
        self._broken_until = 0.0
        self._thread: threading.Thread | None = None

    @property
    def place(self) -> str:
        """The folder."""
        return str(self._spool.folder)

    def ask(self, *, room: bool = False, last: bool = False) -> int:
        """Have another thread copy the outbox to the spool.

        room: then take out of the outbox what is on disk. last: try though it failed just now. Returns a number for
        `wait`.
        """
        with self._changed:
            self._asked += 1
            number = self._asked
            self._room_wanted = self._room_wanted or room
            if last:
                self._broken_until = 0.0
            started = self._thread is not None or self._start()
            self._changed.notify_all()
        if not started:
            self.copy()
            self._done = number
        return number

    def _start(self) -> bool:
        thread = threading.Thread(target=self._run, name="status-grpc-spooler", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False  # the interpreter is about to end
        self._thread = thread
        return True

    def wait(self, number: int, timeout: float) -> bool:
        """Wait until what was asked for is written or has failed.

        Returns whether that was within `timeout` seconds.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._done >= number, max(0.0, timeout))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked > self._done)
                number, room, self._room_wanted = self._asked, self._room_wanted, False
            self.copy()
            if room:
                self._release(self._outbox.pending())
                self._look_at = 0.0
            with self._changed:
                self._done = number
                self._changed.notify_all()

    def copy(self) -> None:
        """Write to the spool what is not on disk yet.

        The outbox keeps it, but for refused reports.
        """
        with self._writing:
            if time.monotonic() < self._broken_until:
                return
            try:
                self._write_refused()
                self._write_pending()
            except OSError as error:
                self._broken_until = time.monotonic() + _PAUSE_AFTER_FAILURE
                warn_once("spool", "status-grpc: events cannot be spooled: %s", error)

    def _write_refused(self) -> None:
        refused = self._outbox.take_refused()
        if not refused:
            return
        try:
            file = self._spool.write(refused, refused=True)
        except OSError as error:
            self._outbox.lose(f"they were refused and cannot be spooled: {error}", len(refused))
            raise
        file.release()
        self._keep(file)

    def _write_pending(self) -> None:
        pending = self._outbox.pending()
        tickets = [ticket for ticket in pending if ticket.file is None]
        if not tickets:
            return
        small = [file for file in self._written if file.is_free_to_merge and file.size <= _SMALL]
        if len(small) >= _MOST_SMALL_FILES:
            tickets = [ticket for ticket in pending if ticket.file is None or ticket.file in small]
        else:
            small = []
        file = self._spool.write([ticket.report for ticket in tickets])
        self._outbox.keep_in(file, tickets)
        for merged in small:
            merged.discard()
        self._keep(file)

    def _keep(self, file: SpoolFile) -> None:
        self._written = [*(written for written in self._written if written.left), file]

    def _release(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            if ticket.file is not None:
                ticket.file.release()
                self._outbox.forget(ticket)

    def leave(self, patience: float) -> int:
        """Write what is not on disk yet, and leave the files.

        Waits for the disk for at most `patience` seconds. Returns how many reports of this process are on disk.
        """
        if self._outbox.has_own or self._outbox.has_refused or self._done < self._asked:
            self.wait(self.ask(last=True), patience)
        self._release(self._outbox.earlier())
        self._release(self._outbox.pending())
        kept = sum(file.left for file in self._written if file.path.exists())
        self._written = []
        return kept

    def load(self) -> None:
        """Put what waits in the spool into the outbox, if due."""
        now = time.monotonic()
        if self._outbox.has_earlier:
            return
        try:
            if self.has_more or now >= self._look_at:
                self._look_at = now + INTERVAL
                self.has_more = self._take(self._spool.claim())
            if not len(self._outbox) and now >= self._look_at_refused:
                self._look_at_refused = now + INTERVAL
                self._take(self._spool.claim_refused())
        except OSError as error:
            self.has_more = False
            warn_once("spool", "status-grpc: spooled events cannot be read: %s", error)

    def _take(self, claimed: Iterator[tuple[SpoolFile, list[Report]]]) -> bool:
        """Put some files into the outbox. Returns whether there may be more."""
        taken = size = 0
        for files, (file, reports) in enumerate(claimed, 1):
            for report in reports:
                self._outbox.put_earlier(report, file)
            taken += len(reports)
            size += file.size
            if files >= _MOST_FILES or taken >= _MOST_REPORTS or size >= _MOST_BYTES:
                return True
        return False

    def after_fork(self) -> None:
        """Close, in a child, what belongs to the parent."""
        self._spool.after_fork()
