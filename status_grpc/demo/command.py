"""`status-grpc demo`: runs the two uploads and follows them."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from status_grpc.cli.ending import NAME
from status_grpc.cli.exits import FAILED, OK, CommandFailed
from status_grpc.cli.output import bold, colored, dim, write
from status_grpc.cli.texts import pad
from status_grpc.cli.wording import error_texts, reports, span, state
from status_grpc.domain.errors import StatusError
from status_grpc.domain.events import Outcome, TraceEvent, TraceStatus
from status_grpc.domain.traces import Trace

if TYPE_CHECKING:
    from status_grpc.client.follow import Follow
    from status_grpc.client.sync import StatusClient
    from status_grpc.demo.processes import Platform
    from status_grpc.demo.uploads import Upload

#: Far more than an upload takes: a demo that hangs says so.
_LONGEST_UPLOAD = 60.0


@click.command()
@click.option(
    "--pace", type=click.FloatRange(min=0), default=0.3, show_default=True, help="How long a step takes, in seconds."
)
def demo(pace: float) -> int:
    """Run a small data pipeline, and follow it: one upload that goes well, and one that fails.

    Starts a server with a temporary database and every component of the pipeline in a process of its own, on this
    machine only. Nothing is left behind. The exit code is 0 if every event arrived once, in order, with the right end.

    \b
    Example:
      status-grpc demo
    """
    for name in [name for name in os.environ if name.startswith("STATUS_GRPC_")]:
        # What is set for another server is not meant for this one.
        del os.environ[name]
    os.environ["GRPC_VERBOSITY"] = "NONE"
    os.environ["STATUS_GRPC_SPOOL"] = "off"  # nothing is left behind
    with _running(pace) as platform:
        return _follow_uploads(platform)


@contextmanager
def _running(pace: float) -> Iterator[Platform]:
    """Start the processes; end them and remove their files whatever happens."""
    from status_grpc.demo.processes import Platform, ProcessFailed

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    with tempfile.TemporaryDirectory(prefix="status-grpc-demo-", ignore_cleanup_errors=True) as folder:
        write("Starting a status server with a temporary database, and a pipeline of six components,")
        write("each in a process of its own ...")
        platform = Platform(Path(folder), pace)
        try:
            platform.start()
            yield platform
        except ProcessFailed as error:
            raise CommandFailed(str(error), error.exit_code or FAILED) from None
        finally:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            platform.stop()


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def _follow_uploads(platform: Platform) -> int:
    from status_grpc.client.sync import StatusClient
    from status_grpc.demo.uploads import BAD, GOOD, S3_PATH

    found: list[str] = []
    count = 0
    with StatusClient(platform.server) as client:
        write(f"The server listens on {platform.server}. A follower waits for whatever is uploaded to")
        write(dim(S3_PATH))
        for number, upload in enumerate((GOOD, BAD), 1):
            write()
            write(bold(f"Upload {number}: {upload.title}"))
            findings = _follow_upload(upload, platform, client)
            count += len(upload.events)
            found += [f"upload {number}: {finding}" for finding in findings]
    write()
    for finding in found:
        write(colored(Outcome.FAILED, f"Not as it should be: {finding}"))
    if not found:
        write(f"All {count} events arrived once and in order, and both uploads ended as they should.")
        write(_next_step())
    return FAILED if found else OK


def _next_step() -> str:
    """Return the sentence about the next commands to try."""
    command = shlex.quote(_command())
    return (
        f"Nothing is left running. Now your own: {command} serve, and in another terminal "
        f"{command} run --domain job --domain-id first -- date && {command} list"
    )


def _command() -> str:
    """Return the name of this program, or its path if PATH does not have it."""
    if shutil.which(NAME):
        return NAME
    beside = Path(sys.executable).with_name(NAME)
    try:
        return str(beside.relative_to(Path.cwd()))
    except ValueError:
        return str(beside)


def _follow_upload(upload: Upload, platform: Platform, client: StatusClient) -> list[str]:
    """Follow one upload from before it happens to its end; return what was not as it should be."""
    from status_grpc.demo.uploads import S3_PATH, findings

    already = len(platform.recorded)
    with client.follow(s3_path=S3_PATH, new_only=True, timeout=_LONGEST_UPLOAD) as follow:
        follow.start()
        pipeline = _Pipeline(upload, platform, follow)
        pipeline.start()
        try:
            seen = _print_as_it_happens(follow)
        except StatusError as error:
            raise CommandFailed(f"The follower gave up: {error.message}", FAILED) from None
        pipeline.finish()
        trace = follow.finished_trace
    _write_end(trace)
    return findings(upload, seen, trace, platform.recorded[already:])


class _Pipeline(threading.Thread):
    """Runs the upload while this process's main thread follows it."""

    def __init__(self, upload: Upload, platform: Platform, follow: Follow) -> None:
        super().__init__(daemon=True)
        self._upload = upload
        self._platform = platform
        self._follow = follow
        self._error: Exception | None = None

    def run(self) -> None:
        from status_grpc.demo.uploads import run

        try:
            run(self._upload, self._platform)
        except Exception as error:
            self._error = error
            self._follow.close()

    def finish(self) -> None:
        """Wait for the last component's answer. Raises what went wrong."""
        self.join()
        if self._error is not None:
            raise self._error


def _print_as_it_happens(follow: Follow) -> list[TraceEvent]:
    seen: list[TraceEvent] = []
    began = time.monotonic()
    for event in follow:
        seen.append(event)
        _write_event(event, time.monotonic() - began)
    return seen


def _write_event(event: TraceEvent, elapsed: float) -> None:
    what = f"{pad(event.component, 19)}  {pad(_happening(event), 21)}"
    write(f"  {elapsed:5.2f} s  {event.sequence}  {what}  {colored(event.outcome)}")
    for error in event.errors:
        write(f"{' ' * 14}{error_texts([error], 'en')}")


def _write_end(trace: Trace) -> None:
    write(f"  {bold('The trace')} {colored(trace.outcome, state(trace))}.")
    if trace.outcome is not Outcome.FAILED:
        return
    write("  Its last event says only FAILED; the trace knows why, in every language that was reported:")
    for language in ("en", "nb"):
        for sentence in reports(trace, language):
            write(f"    {dim(language)}  {sentence}")


def _happening(event: TraceEvent) -> str:
    if event.trace_status is TraceStatus.FINISHED:
        return "end of the trace"
    if event.trace_status is TraceStatus.STARTED:
        return f"{event.operation} starts a trace"
    if event.end_time is None or event.duration is None:
        return f"{event.operation} begins"
    return f"{event.operation} took {span(event.duration)}"
