"""How the process ends: every error becomes a sentence and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
from types import FrameType
from typing import TextIO

import click

from status_grpc.cli.exits import BROKEN_PIPE, HUNG_UP, INTERRUPTED, OK, SOFTWARE, UNREAD, USAGE, CommandFailed
from status_grpc.cli.output import aside, make_streams_safe
from status_grpc.cli.texts import printable

#: The program, and the variable through which a shell asks it for completions: the one that click derives from it.
NAME, COMPLETE = "status-grpc", "_STATUS_GRPC_COMPLETE"


def run(commands: click.Command) -> int:
    """Run the command that the arguments name, and return the exit code."""
    make_streams_safe()
    _expect_hang_up()
    try:
        code = _invoke(commands)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except CommandFailed as error:
        return _tell(error.sentence, error.exit_code)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except UnicodeEncodeError:
        return _tell("An argument is not valid UTF-8.", USAGE)
    except OSError as error:
        return _os_error(error)
    except Exception as error:
        if os.environ.get("STATUS_GRPC_DEBUG"):
            raise
        return _tell(f"Unexpected {type(error).__name__}: {error} (STATUS_GRPC_DEBUG=1 shows where)", SOFTWARE)
    return code if isinstance(code, int) else OK


def _invoke(commands: click.Command) -> object:
    """Do what `commands.main()` does, without its way of ending: it takes a broken pipe for a failure, code 1."""
    if instruction := os.environ.get(COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(commands, {}, NAME, COMPLETE, instruction)
    with commands.make_context(NAME, sys.argv[1:]) as context:
        return commands.invoke(context)


def _expect_hang_up() -> None:
    """Have the command end when its terminal is closed, unless it was started so as to outlive that (nohup)."""
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _hung_up)


def _hung_up(_: int, __: FrameType | None) -> None:
    raise CommandFailed(_TERMINAL_GONE, HUNG_UP)


_TERMINAL_GONE = "The terminal is gone."
#: Most characters of an error: a server may send a megabyte.
_LONGEST_SENTENCE = 4000


def _tell(sentence: str, code: int) -> int:
    try:
        # What a server says, and the names of files, are texts from elsewhere.
        aside(f"Error: {_shortened(printable(sentence))}")
    except OSError:
        _leave(sys.stderr)  # it is where the output went: there is nobody to tell
    return code


def _shortened(sentence: str) -> str:
    return sentence if len(sentence) <= _LONGEST_SENTENCE else f"{sentence[:_LONGEST_SENTENCE]} ..."


def _leave(stream: TextIO) -> None:
    """See to it that what is left in the stream's buffer does not raise once more when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _os_error(error: OSError) -> int:
    if error.filename:
        return _tell(f"{error.filename}: {error.strerror}", USAGE)
    _leave(sys.stdout)
    if error.errno == errno.EPIPE:
        return _tell(UNREAD, BROKEN_PIPE)
    if error.errno == errno.EIO:
        return _tell(_TERMINAL_GONE, HUNG_UP)
    return _tell(f"The output cannot be written: {error.strerror}.", SOFTWARE)
