"""Makes calls through a process of its own, for processes in which gRPC cannot be used (see `forks`).

The two talk over pipes, in frames: the lengths of a JSON header and of a body, then both. The first frame carries the
options of the connection; then each call is a frame with the request, answered (in any order, told apart by the
header's id) by one with the answer or with a google.rpc.Status. The relay ends when its input does.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
from dataclasses import fields
from typing import IO, TYPE_CHECKING, Any

from google.rpc import status_pb2
from tracestatus.v1 import status_service_pb2 as pb

from status_grpc.client.forks import renew_after_fork
from status_grpc.client.operations import Send
from status_grpc.client.options import ClientOptions
from status_grpc.client.retrying import NotConnected
from status_grpc.domain.errors import Internal, StatusError, Unavailable

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from status_grpc.client.connection import Connection

_LENGTHS = struct.Struct("!II")
#: How much longer than the call itself its answer may take through the pipes, in seconds.
_GRACE = 5.0
_MOST_CALLS_AT_ONCE = 16


def write_frame(stream: IO[bytes], header: dict[str, Any], body: bytes) -> None:
    """Write one frame; concurrent writers need a lock."""
    text = json.dumps(header).encode()
    stream.write(_LENGTHS.pack(len(text), len(body)) + text + body)
    stream.flush()


def read_frame(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """Read one frame; None at the end of the stream, also when that comes in the middle of a frame."""
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    header_length, body_length = _LENGTHS.unpack(lengths)
    data = stream.read(header_length + body_length)
    if len(data) < header_length + body_length:
        return None
    return json.loads(data[:header_length]), data[header_length:]


class _Answer:
    """What one call waits for. Stays empty when the relay has ended."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.header: dict[str, Any] | None = None
        self.body = b""


class _Process:
    """A relay that runs, and the thread that reads what it answers."""

    def __init__(self, options: ClientOptions) -> None:
        # The module path of this process may have been changed since it started: hand it on.
        code = f"import sys; sys.path[:] = {sys.path!r}; from status_grpc.client.relay import main; main()"
        self._process = subprocess.Popen(  # noqa: S603 - this program itself
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Signals for this process's group (Ctrl-C) are not for the relay: it ends when this process does.
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        self._lock = threading.Lock()
        self._answers: dict[int, _Answer] = {}
        self._count = 0
        self.ended = False
        # A token is sent with each call; a function that makes one could not be sent at all.
        given = {f.name: getattr(options, f.name) for f in fields(options) if not f.name.startswith("token")}
        write_frame(self._input, given, b"")
        threading.Thread(target=self._read, name="status-grpc-relay", daemon=True).start()

    def call(self, step: Send, metadata: tuple[tuple[str, str], ...]) -> _Answer:
        """Send a call and wait for its answer."""
        answer = _Answer()
        with self._lock:
            self._count += 1
            call_id = self._count
            self._answers[call_id] = answer
            header = {"id": call_id, "method": step.method, "timeout": step.timeout, "metadata": metadata}
            try:
                write_frame(self._input, header, step.request.SerializeToString())
            except OSError:
                self.ended = True
        if not self.ended:
            answer.arrived.wait(step.timeout + _GRACE)
        with self._lock:
            self._answers.pop(call_id, None)
        return answer

    def _read(self) -> None:
        while (frame := read_frame(self._output)) is not None:
            header, body = frame
            with self._lock:
                answer = self._answers.get(header["id"])
            if answer is not None:
                answer.header, answer.body = header, body
                answer.arrived.set()
        with self._lock:
            self.ended = True
            for answer in self._answers.values():
                answer.arrived.set()

    def abandon(self) -> None:
        """Leave the process to the one who started it."""
        self._process.returncode = 0  # not ours to wait for: keeps Popen from looking for it
        # The relay ends when nobody holds its input any more; the pipes' own numbers stay taken until they are freed.
        nothing = os.open(os.devnull, os.O_RDWR)
        for pipe in (self._input, self._output):
            os.dup2(nothing, pipe.fileno())
        os.close(nothing)

    def close(self) -> None:
        """End the process, which needs no time for that."""
        self.ended = True
        self._input.close()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()


class Relay:
    """Makes calls through a relay process, which is started with the first call. Safe for many threads."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._process: _Process | None = None
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Leave the relay to the parent."""
        self._lock = threading.Lock()
        process, self._process = self._process, None
        if process is not None:
            process.abandon()

    def send(self, step: Send, metadata: tuple[tuple[str, str], ...]) -> Any:
        """Make one attempt of a call. Raises StatusError."""
        from status_grpc.wire.errors import decode_status

        process = self._running()
        answer = process.call(step, metadata)
        if answer.header is None:
            raise Unavailable("the relay process has ended" if process.ended else "the relay process does not answer")
        if answer.header["ok"]:
            return getattr(pb, f"{step.method}Response").FromString(answer.body)
        raise decode_status(status_pb2.Status.FromString(answer.body))

    def _running(self) -> _Process:
        with self._lock:
            if self._process is None or self._process.ended:
                try:
                    self._process = _Process(self._options)
                except OSError as error:
                    raise Unavailable(f"the relay process cannot be started: {error}") from None
            return self._process

    def close(self) -> None:
        """End the relay process."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.close()


def main() -> None:
    """Be the relay process."""
    from concurrent.futures import ThreadPoolExecutor

    from status_grpc.client.connection import Connection

    opening = read_frame(sys.stdin.buffer)
    if opening is not None:
        connection = Connection(ClientOptions(**opening[0]))
        with ThreadPoolExecutor(_MOST_CALLS_AT_ONCE) as pool:
            _serve(connection, pool)
    # Nobody is left to answer to: whatever gRPC still does is of no interest.
    os._exit(0)


def _serve(connection: Connection, pool: ThreadPoolExecutor) -> None:
    lock = threading.Lock()
    while (frame := read_frame(sys.stdin.buffer)) is not None:
        pool.submit(_answer, connection, lock, *frame)


def _answer(connection: Connection, lock: threading.Lock, header: dict[str, Any], body: bytes) -> None:
    from status_grpc.wire.errors import encode_error

    try:
        request = getattr(pb, f"{header['method']}Request").FromString(body)
        metadata = tuple((key, value) for key, value in header["metadata"])
        answer = connection.attempt(Send(header["method"], request, header["timeout"]), metadata).SerializeToString()
        ok = True
    except NotConnected as error:
        answer, ok = encode_error(Unavailable(error.message)).SerializeToString(), False
    except StatusError as error:
        answer, ok = encode_error(error).SerializeToString(), False
    except Exception as error:  # whoever waits for the answer must get one
        answer, ok = encode_error(Internal(f"the relay failed: {error!r}")).SerializeToString(), False
    with lock:
        write_frame(sys.stdout.buffer, {"id": header["id"], "ok": ok}, answer)
