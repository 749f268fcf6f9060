"""One of several server processes behind a port: `python -m status_grpc.server.worker`, started by the supervisor.

Standard input brings its settings in one line, and its end says that it is time to drain: so no worker outlives its
supervisor. Standard output carries its messages, one JSON object a line: how the start went, and then a pulse a second.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
from contextlib import suppress
from typing import Any

import orjson

from status_grpc.domain.errors import StatusError
from status_grpc.server.app import StatusServer, run_until
from status_grpc.server.logs import configure_logs
from status_grpc.server.main import loop_factory, relieve_collector
from status_grpc.server.settings import Settings, SettingsError
from status_grpc.storage.schema import SchemaMismatch


def main() -> int:
    """Serve until told to stop; return the exit code."""
    told = orjson.loads(sys.stdin.buffer.readline())
    settings = Settings(**told["settings"])
    configure_logs(settings.log_level, settings.log_format, worker=told["worker"])
    relieve_collector()
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_serve(settings))
    except (SettingsError, SchemaMismatch, ValueError) as error:
        return _failed(str(error), 2)
    except StatusError as error:
        return _failed(error.message, 1)
    return 0


async def _serve(settings: Settings) -> None:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    # What a terminal sends to all processes is for the supervisor, which says what becomes of it. Who sends SIGTERM to
    # a worker gets a new one; a second one changes nothing: some supervisors of services send it to all processes, too.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_reader(sys.stdin.fileno(), _at_end_of_input, loop, stopping)
    await run_until(
        StatusServer(settings, shares_ports=True, on_pulse=_pulse),
        stopping,
        lambda listening: _say({"listening": listening}),
        _say_draining,
    )


def _at_end_of_input(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        loop.remove_reader(sys.stdin.fileno())
        stopping.set()


def _pulse() -> None:
    """Send a pulse, unless the supervisor has not read for so long that the pipe is full."""
    _, writable, _ = select.select([], [sys.stdout.fileno()], [], 0)
    if writable:  # then there is room for a line (pipe(7), PIPE_BUF)
        with suppress(OSError):
            _say({"pulse": True})


def _failed(sentence: str, code: int) -> int:
    _say({"failed": sentence, "code": code})
    return code


def _say_draining(streams: int, _: float) -> None:
    with suppress(OSError):  # the supervisor may have been killed
        _say({"draining": streams})


def _say(what: dict[str, Any]) -> None:
    os.write(sys.stdout.fileno(), orjson.dumps(what) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
