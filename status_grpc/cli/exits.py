"""What a command's end means: exit codes that scripts may rely on, and one sentence for each error."""

from __future__ import annotations

import math
import re

from status_grpc.cli.suggestions import renamed, with_flags
from status_grpc.cli.texts import printable
from status_grpc.client.options import ClientOptions
from status_grpc.client.retrying import NotConnected, Reconnect
from status_grpc.domain.errors import (
    AlreadyExists,
    CursorAhead,
    DeadlineExceeded,
    HistoryChanged,
    Internal,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    SequenceMismatch,
    StatusError,
    TraceNotDone,
    TraceNotFound,
    Unauthenticated,
    Unavailable,
)
from status_grpc.domain.events import Outcome
from status_grpc.domain.traces import Trace

#: The command did what it was asked for; the trace it watched or looked at has not failed.
OK = 0
#: The trace finished FAILED.
FAILED = 1
#: What was asked for cannot be done: flags, fields, or what is recorded contradicts it.
USAGE = 2
#: There is no such trace or path.
NOT_FOUND = 3
#: The trace was not done in time.
TIMEOUT = 4
#: The server cannot be reached, failed, or lets this caller not do it.
UNREACHABLE = 5
#: Something that was not foreseen: a bug.
SOFTWARE = 70
#: What a shell says of a program that ended by SIGHUP, SIGINT and SIGPIPE.
HUNG_UP, INTERRUPTED, BROKEN_PIPE = 129, 130, 141

#: The sentence of a command that ends because its output has no reader.
UNREAD = "The output is cut short: nobody reads it any more."

_ASKED_WRONGLY = (InvalidArgument, AlreadyExists, SequenceMismatch, TraceNotDone, CursorAhead, HistoryChanged)

#: What the path of a field begins with, which whoever wrote flags or a line of a file does not know about.
_WHERE = re.compile(r"^(requests\[\d+\]\.)?event\.")


class CommandFailed(Exception):
    """Ends the command with this sentence on standard error, and this code."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.exit_code = exit_code


def outcome_code(trace: Trace) -> int:
    """Return the exit code for a trace that was looked at: 1 only if it is done and failed."""
    return FAILED if trace.outcome is Outcome.FAILED else OK


def failure(error: StatusError, server: str, *, uses_tls: bool, flags: dict[str, str] | None = None) -> CommandFailed:
    """Return the sentence and the exit code for an error.

    `flags` maps fields of the protocol to the flags that give them. None: fields keep their names.
    """
    names = flags or {}
    match error:
        case TraceNotFound():
            return CommandFailed(as_sentence(error.message), NOT_FOUND)
        case InvalidArgument():
            return CommandFailed(as_sentence(invalid_fields(error, names)), USAGE)
        case HistoryChanged():
            return CommandFailed("The trace has another history than before: follow it again from its start.", USAGE)
        case Unauthenticated():
            return CommandFailed(f"Not let in at {server}: {_clause(error.message)}.", UNREACHABLE)
        case PermissionDenied():
            return CommandFailed(f"The server at {server} refuses: {_clause(error.message)}.", UNREACHABLE)
        case DeadlineExceeded():
            return CommandFailed(f"The server at {server} did not answer in time.", UNREACHABLE)
        case Unavailable():
            return CommandFailed(_unavailable(error, server, uses_tls=uses_tls), UNREACHABLE)
        case Internal() if error.incident:
            return CommandFailed(f"The server at {server} failed: {_clause(error.message)}.", UNREACHABLE)
        case Internal():
            return CommandFailed(f"What answers at {server} is not status-grpc: {_clause(error.message)}.", UNREACHABLE)
        case ResourceExhausted():
            return CommandFailed(f"The server at {server} takes no more: {_clause(error.message)}.", UNREACHABLE)
    if isinstance(error, _ASKED_WRONGLY):
        return CommandFailed(as_sentence(with_flags(error.message, names)), USAGE)
    return CommandFailed(as_sentence(error.message), UNREACHABLE)


def outage(reconnect: Reconnect, options: ClientOptions) -> str:
    """Return the sentence about an outage that a command tolerates."""
    failed = failure(reconnect.error, options.server, uses_tls=options.uses_tls)
    seconds = math.ceil(reconnect.remaining)
    span = f"{seconds} s" if seconds < 120 else f"{round(seconds / 60)} min"
    return f"{printable(failed.sentence)} Trying again for {span} ..."


def invalid_fields(error: InvalidArgument, flags: dict[str, str] | None = None) -> str:
    """Return the findings about fields, such as "component is required".

    `flags` maps fields to the flags that give them. None: fields keep their names.
    """
    if not error.violations:
        return error.message
    findings = [
        (renamed(_WHERE.sub("", v.field), flags or {}), with_flags(v.description, flags or {}))
        for v in error.violations
    ]
    return "; ".join(
        f"{field} {text}" if text.startswith(("is ", "must ", "has ", "needs ")) else f"{field}: {text}"
        for field, text in findings
    )


def _unavailable(error: Unavailable, server: str, *, uses_tls: bool) -> str:
    if isinstance(error, NotConnected):
        return f"The server at {server} cannot be reached: {_cause(error.message, uses_tls=uses_tls)}."
    return f"The server at {server} cannot do this now: {_clause(error.message)}."


def _cause(message: str, *, uses_tls: bool) -> str:
    """Return why there is no connection. gRPC wraps that in several layers of its own words."""
    for words, meaning in _MEANINGS.items():
        if words in message:
            return meaning
    cause = re.split(r":\s*", message)[-1].rstrip("]. ")
    if cause != "Socket closed":
        return cause
    return f"{cause} ({'does it need --cert and --key?' if uses_tls else 'without TLS; does it need --ca?'})"


#: What gRPC says of a TLS connection that fails, and what that means to who gave the flags.
_MEANINGS = {
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not trusted; --ca names who signed it",
    "Hostname Verification Check": "its certificate is for another name",
    "WRONG_VERSION_NUMBER": "it does not speak TLS; --plaintext does without",
    "security handshaker": "what is in the files of --ca, --cert and --key cannot be used",
}


def _clause(message: str) -> str:
    return message.strip().rstrip(".")


def as_sentence(message: str) -> str:
    """Return a message as a sentence of its own."""
    if message.endswith("?"):
        return message
    clause = _clause(message)
    # Flags, variables, fields and paths keep their case.
    return f"{clause}." if re.search(r"[_/.]", clause.partition(" ")[0]) else f"{clause[:1].upper()}{clause[1:]}."
