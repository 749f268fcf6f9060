"""The connections of one StatusClient whose server is a URL: HTTP/1.1 and JSON, without gRPC.

Calls and streams are those of Connect (https://connectrpc.com/docs/protocol), which the server's HTTP edge speaks.
"""

from __future__ import annotations

import http.client
import json
import struct
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, urlsplit

from google.protobuf import json_format
from google.protobuf.message import Message
from tracestatus.v1 import status_service_pb2 as pb

from status_grpc._version import __version__
from status_grpc.client.forks import renew_after_fork
from status_grpc.client.http_answers import answered_error, connect_error, read_message
from status_grpc.client.http_lines import LARGEST_ANSWER, Answer, Line, Lines, explained
from status_grpc.client.operations import Send
from status_grpc.client.options import ClientOptions
from status_grpc.client.retrying import NotTheService
from status_grpc.client.tokens import Metadata, metadata
from status_grpc.client.watchdog import Watchdog
from status_grpc.domain.errors import (
    DeadlineExceeded,
    FieldViolation,
    Internal,
    InvalidArgument,
    StatusError,
    Unavailable,
)
from status_grpc.wire.json_messages import message_json

if TYPE_CHECKING:
    from status_grpc.client.following import Opening

_SERVICE = "tracestatus.v1.StatusService"
_JSON, _JSON_STREAM = "application/json", "application/connect+json"
#: How much longer than an attempt its connection is watched, in seconds, for those who answer a byte at a time.
_GRACE = 1.0
#: What is in front of each message of a stream: flags and length.
_ENVELOPE = struct.Struct(">BI")
_END_OF_STREAM = 0b10


class HttpStream:
    """One stream of a trace. It is opened when it is first read."""

    def __init__(
        self, connection: HttpConnection, line: Line, opening: Opening, metadata: Metadata, watchdog: Watchdog
    ) -> None:
        self._connection = connection
        self._line = line
        self._opening = opening
        self._metadata = metadata
        self._watchdog = watchdog
        # Beside the timeout of the socket: for a server that says a byte now and then, and no message.
        self._watch = watchdog.watch(line, opening.silence_timeout)
        self._deadline = None if opening.timeout is None else time.monotonic() + opening.timeout
        self._answer: http.client.HTTPResponse | None = None
        self._reading = threading.Lock()

    def read(self) -> pb.StreamTraceResponse | None:
        """Return the next message; None when the stream has ended with OK. Raises StatusError."""
        self._watch.timeout = self._patience()
        try:
            with self._reading, self._watch, explained():
                return self._read()
        except DeadlineExceeded:
            if self._deadline is not None and time.monotonic() >= self._deadline:
                raise
            raise Unavailable("the stream fell silent") from None
        except StatusError:
            if self._watch.expired:
                raise Unavailable("the stream fell silent") from None
            raise
        finally:
            if self._line.is_cancelled:
                self._line.close()

    def _read(self) -> pb.StreamTraceResponse | None:
        if self._answer is None:
            self._answer = self._connection.begin(self._line, self._opening, self._metadata, self._patience())
        self._line.wait_at_most(self._patience())
        flags, length = _ENVELOPE.unpack(self._exactly(_ENVELOPE.size))
        if length > LARGEST_ANSWER:
            raise Internal(f"the stream has a message of {length} bytes")
        data = self._exactly(length)
        if not flags & _END_OF_STREAM:
            return read_message(pb.StreamTraceResponse, data)
        error = _error_at_end(data)
        if error is not None:
            raise error
        return None

    def _patience(self) -> float:
        silence = self._opening.silence_timeout
        return silence if self._deadline is None else min(silence, self._deadline - time.monotonic())

    def _exactly(self, size: int) -> bytes:
        assert self._answer is not None
        data = self._answer.read(size)
        if len(data) < size:
            raise http.client.IncompleteRead(data)
        return data

    def cancel(self) -> None:
        """End the stream, if it has not ended. For any thread."""
        self._watchdog.forget(self._watch)
        self._line.cancel()
        if self._reading.acquire(blocking=False):
            self._line.close()
            self._reading.release()


class HttpConnection:
    """Opens connections when they are first needed, and anew after a fork, a freeze or a failure. Safe for threads."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._closed = False
        self._path = quote(urlsplit(options.server).path.rstrip("/"), safe="/%")
        self._lines = Lines(options)
        self._watchdog = Watchdog()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Leave the connections to the parent."""
        self._lines.abandon()
        self._lines = Lines(self._options)
        self._watchdog = Watchdog()

    def stub(self) -> NoReturn:
        """Raise RuntimeError: stubs are gRPC's."""
        raise RuntimeError(f"{self._options.server} is reached by HTTP, for which there is no stub")

    def check_open(self) -> None:
        """Raise RuntimeError once the client is closed."""
        if self._closed:
            raise RuntimeError("the client is closed")

    def send(self, step: Send) -> Any:
        """Make one attempt of a call. Raises StatusError; RuntimeError once the client is closed."""
        return self.attempt(step, metadata(self._options))

    def attempt(self, step: Send, metadata: Metadata) -> Any:
        """As `send`, with what goes with the call."""
        self.check_open()
        deadline = time.monotonic() + step.timeout
        body = _encode(step.request)
        headers = _headers(_JSON, metadata, step.timeout)
        try:
            with self._lines.borrowed() as line:
                answer = self._exchange(line, self._url(step.method), body, headers, deadline)
        except _LostBeforeAnswer:
            # The other end had given the connection up while it was idle. Every call may be made twice.
            with self._lines.borrowed(fresh=True) as line:
                answer = self._exchange(line, self._url(step.method), body, headers, deadline)
        if answer.status == http.client.OK:
            return read_message(getattr(pb, f"{step.method}Response"), answer.body)
        raise answered_error(answer.status, answer.reason, answer.headers, answer.body)

    def is_fine(self, path: str, timeout: float) -> bool:
        """Ask /healthz or /readyz. Raises StatusError when something else answers, or nothing."""
        deadline = time.monotonic() + timeout
        with self._lines.borrowed(fresh=True) as line:
            answer = self._exchange(line, f"{self._path}{path}", None, {}, deadline)
        if answer.status not in (http.client.OK, http.client.SERVICE_UNAVAILABLE):
            raise answered_error(answer.status, answer.reason, answer.headers, answer.body)
        return answer.status == http.client.OK

    def _exchange(self, line: Line, path: str, body: bytes | None, headers: dict[str, str], deadline: float) -> Answer:
        line.open(deadline - time.monotonic())
        watch = self._watchdog.watch(line, deadline - time.monotonic() + _GRACE)
        try:
            with watch, explained():
                answer = line.exchange(path, body, headers, deadline)
                if watch.expired:  # what was cut off may look whole
                    raise TimeoutError
                return answer
        except StatusError as error:
            self.check_open()
            if watch.expired:
                raise DeadlineExceeded("no answer came in time") from None
            if type(error) is Unavailable and line.rested_at is not None:
                raise _LostBeforeAnswer from None
            raise
        finally:
            self._watchdog.forget(watch)

    def open_stream(self, opening: Opening, given: Metadata | None = None) -> HttpStream:
        """Return a stream, which ends when it says nothing for too long. Raises as `send` does."""
        self.check_open()
        goes_with = metadata(self._options) if given is None else given
        return HttpStream(self, self._lines.new(), opening, goes_with, self._watchdog)

    def begin(self, line: Line, opening: Opening, metadata: Metadata, patience: float) -> http.client.HTTPResponse:
        """Make a stream's request; return the answer, to be read. Raises StatusError, and what `explained` takes."""
        data = _encode(opening.request)
        line.open(min(self._options.attempt_timeout, patience))
        answer = line.request(
            self._url("StreamTrace"),
            _ENVELOPE.pack(0, len(data)) + data,
            _headers(_JSON_STREAM, metadata, opening.timeout),
            patience,
        )
        if answer.status != http.client.OK:
            told = line.read_all(answer, time.monotonic() + self._options.attempt_timeout)
            raise answered_error(told.status, told.reason, told.headers, told.body)
        if answer.headers.get_content_type() != _JSON_STREAM:
            raise NotTheService("the answer is not a stream: this does not look like the HTTP edge of a status service")
        return answer

    def _url(self, method: str) -> str:
        return f"{self._path}/{_SERVICE}/{method}"

    def close(self) -> None:
        """Close the connections; what is under way ends."""
        self._closed = True
        self._lines.close()


def _encode(message: Message) -> bytes:
    try:
        return message_json(message)
    except (json_format.Error, ValueError, TypeError, RecursionError) as error:
        raise InvalidArgument([FieldViolation("request", f"has no form in JSON: {error}")]) from None


class _LostBeforeAnswer(Exception):
    """A connection that had been idle broke when it was used again."""


def _headers(kind: str, metadata: Metadata, timeout: float | None) -> dict[str, str]:
    headers = {"Content-Type": kind, "Connect-Protocol-Version": "1", "User-Agent": f"status-grpc/{__version__}"}
    if timeout is not None:
        headers["Connect-Timeout-Ms"] = str(max(1, min(int(timeout * 1000), 9_999_999_999)))
    return headers | {name.title(): value for name, value in metadata}


def _error_at_end(data: bytes) -> StatusError | None:
    """Return the error of the message that ends a stream. Raises Internal for what is none."""
    try:
        end = json.loads(data)
    except (ValueError, RecursionError):
        end = None
    if not isinstance(end, dict):
        raise Internal("the stream does not end as a stream of Connect does")
    error = end.get("error")
    return connect_error(error) if isinstance(error, dict) else None
