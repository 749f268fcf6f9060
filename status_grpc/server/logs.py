"""Structured logs on standard error."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from typing import Any, TextIO

import orjson
import structlog

from status_grpc.domain.escapes import escaped

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


#: Characters that JSON does not escape and that steer a terminal: DEL, the C1 controls, and what reorders a line.
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def configure_logs(level: str, style: str, *, worker: int | None = None) -> None:
    """Send the logs of this program, and of the libraries it uses, to standard error in one style.

    Those of a worker carry its number: several write to one stream.
    """
    shared = _SHARED if worker is None else [*_SHARED, _named(worker)]
    number = logging.getLevelNamesMapping()[level.upper()]
    renderer: Any
    if style == "json":
        renderer = structlog.processors.JSONRenderer(_json)
        last = [structlog.processors.format_exc_info, renderer]
    else:
        # The default of structlog also prints the variables of every frame: what people report has no place in a log.
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write_traceback)
        last = [_escape_values, renderer]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        # In one write for each line, as the handler below does: several processes may share the stream.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


def _json(event: dict[str, Any], **_: object) -> str:
    try:
        text = orjson.dumps(event, default=str).decode()
    except TypeError:
        # Lone surrogates, numbers beyond 64 bits, keys that are no texts.
        return json.dumps(event, default=str)
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escape_values(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Escape the control characters of all keys and values."""
    return {escaped(str(key)): value if key == "exc_info" else _escaped(value) for key, value in event.items()}


def _escaped(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return escaped(value if isinstance(value, str) else repr(value))


def _write_traceback(target: TextIO, exc_info: Any) -> None:
    """Write a traceback, indented.

    So no text in it passes for a line of the log.
    """
    for part in traceback.format_exception(*exc_info):
        target.writelines(f"\n  {escaped(line)}" for line in part.rstrip("\n").split("\n"))


def _named(worker: int) -> Any:
    def name(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        event["worker"] = worker
        return event

    return name


def say_listening(addresses: list[str]) -> None:
    """Say on standard output that the server is ready, and where."""
    print(f"status-grpc is listening on {' and '.join(addresses)}", flush=True)  # noqa: T201 - the program's output


def say_draining(streams: int, most_seconds: float) -> None:
    """Print at a terminal how many streams the server ends."""
    if streams and sys.stderr.isatty():
        what = "1 stream" if streams == 1 else f"{streams} streams"
        sys.stderr.write(f"\nEnding {what}, within {most_seconds:g} s; Ctrl-C again ends the server at once.\n")
        sys.stderr.flush()
