"""HTTP/1.1 connections, by the standard library: each carries one exchange at a time and is used again after it."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from status_grpc.client.options import ClientOptions
from status_grpc.client.retrying import Misconfigured, NotConnected
from status_grpc.domain.errors import DeadlineExceeded, Internal, Unavailable

#: A connection that was idle for so many seconds of the wall clock is not used again: this process may have been
#: frozen, and the other end may have forgotten it without a word.
_IDLE = 60.0
#: How many idle connections are kept.
_MOST_IDLE = 8
#: Largest answer, in bytes: the service's are below 4 MiB, and JSON may write a byte as six.
LARGEST_ANSWER = 32 * 1024 * 1024
#: Largest body of an error, in bytes. Of a larger one only the status code counts.
LARGEST_ERROR = 1024 * 1024
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, read to its end."""

    status: int
    reason: str
    headers: http.client.HTTPMessage
    body: bytes


class Line:
    """One connection. Used by one thread, but any may `cancel` it."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self._socket: socket.socket | None = None
        self._cancelled = False
        #: When it came to rest, by the wall clock; None for a new one.
        self.rested_at: float | None = None

    @property
    def is_stale(self) -> bool:
        """Whether it may be dead without knowing."""
        return self.rested_at is not None and not 0 <= time.time() - self.rested_at < _IDLE

    def open(self, timeout: float) -> None:
        """Connect, if it is not. Raises NotConnected."""
        if self._socket is not None:
            return
        connection = self._connection
        connection.timeout = max(timeout, 0.001)
        try:
            connection.connect()
        except (OSError, ValueError) as error:  # ValueError: a host name that none can be
            kind = Misconfigured if _lasts(error) else NotConnected
            raise kind(f"no connection to {connection.host}:{connection.port}: {_words(error)}") from None
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connection.sock
        if self._cancelled:
            self.cancel()

    def wait_at_most(self, seconds: float) -> None:
        """Let what is read or sent next wait for so long. Raises TimeoutError if that is nothing."""
        assert self._socket is not None
        if seconds <= 0:
            raise TimeoutError
        self._socket.settimeout(seconds)

    def request(
        self, path: str, body: bytes | None, headers: Mapping[str, str], timeout: float
    ) -> http.client.HTTPResponse:
        """Send a request (POST, or GET without a body); return the answer, whose head has arrived.

        Raises what the standard library does.
        """
        self.wait_at_most(timeout)
        self._connection.request("GET" if body is None else "POST", path, body, headers)
        return self._connection.getresponse()

    def exchange(self, path: str, body: bytes | None, headers: Mapping[str, str], deadline: float) -> Answer:
        """Send a request and read the answer. Raises what the standard library does."""
        return self.read_all(self.request(path, body, headers, deadline - time.monotonic()), deadline)

    def read_all(self, answer: http.client.HTTPResponse, deadline: float) -> Answer:
        """Read the rest of an answer. Raises what the standard library does, and Internal."""
        parts: list[bytes] = []
        size = 0
        most = LARGEST_ANSWER if answer.status == http.client.OK else LARGEST_ERROR
        while part := answer.read1(_CHUNK):
            parts.append(part)
            size += len(part)
            if size > most:
                if answer.status == http.client.OK:
                    raise Internal(f"the answer takes more than {most} bytes")
                self._connection.close()  # the rest is not read
                return Answer(answer.status, answer.reason, answer.headers, b"")
            self.wait_at_most(deadline - time.monotonic())
        if answer.length:
            raise http.client.IncompleteRead(b"", answer.length)
        answer.close()  # the connection is for the next one
        return Answer(answer.status, answer.reason, answer.headers, b"".join(parts))

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    @property
    def is_open(self) -> bool:
        """Whether it can carry another exchange."""
        return self._connection.sock is not None and not self._cancelled

    def cancel(self) -> None:
        """Make whoever reads from it stop."""
        self._cancelled = True
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended by itself

    def close(self) -> None:
        """Give it up."""
        self._connection.close()
        if self._socket is not None:
            self._socket.close()


class Lines:
    """The connections to one server."""

    def __init__(self, options: ClientOptions) -> None:
        url = urlsplit(options.server)
        self._host, self._port = url.hostname or "", url.port
        self._options = options
        self._tls: ssl.SSLContext | None = None
        self._lock = threading.Lock()
        self._idle: list[Line] = []
        #: All that there are; those that nobody has any more leave by themselves.
        self._lines: weakref.WeakSet[Line] = weakref.WeakSet()

    def new(self) -> Line:
        """Return a new connection, not opened. Raises Misconfigured for unreadable TLS files."""
        connection: http.client.HTTPConnection
        if self._options.uses_tls:
            connection = http.client.HTTPSConnection(self._host, self._port, context=self._context())
        else:
            connection = http.client.HTTPConnection(self._host, self._port)
        line = Line(connection)
        with self._lock:
            self._lines.add(line)
        return line

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            options = self._options
            try:
                context = ssl.create_default_context(cafile=options.ca)
                if options.cert is not None:
                    context.load_cert_chain(options.cert, options.key)
            except (OSError, ssl.SSLError) as error:
                raise Misconfigured(f"the files for TLS cannot be used: {error}") from None
            context.set_alpn_protocols(["http/1.1"])
            self._tls = context
        return self._tls

    @contextmanager
    def borrowed(self, *, fresh: bool = False) -> Iterator[Line]:
        """Lend a connection, one that was used before if there is one and it need not be `fresh`."""
        line = self.new() if fresh else self._take()
        try:
            yield line
        except BaseException:
            line.close()
            raise
        self._put(line)

    def _take(self) -> Line:
        while True:
            with self._lock:
                line = self._idle.pop() if self._idle else None
            if line is None:
                return self.new()
            if not line.is_stale:
                return line
            line.close()

    def _put(self, line: Line) -> None:
        line.rested_at = time.time()
        with self._lock:
            if line.is_open and len(self._idle) < _MOST_IDLE:
                self._idle.append(line)
                return
        line.close()

    def close(self) -> None:
        """Close those that are idle, cancel those that are not."""
        with self._lock:
            idle, self._idle = self._idle, []
            lines = list(self._lines)
        for line in lines:
            line.cancel()
        for line in idle:
            line.close()

    def abandon(self) -> None:
        """Let go of those that are idle, in a forked child: the parent's hold on them stays."""
        for line in self._idle:
            line.close()


#: TLS that breaks off, as when a server restarts.
_BROKEN_TLS = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


def _words(error: OSError | ValueError) -> str:
    """Return the message of an error, without the number of a resolver."""
    return (isinstance(error, socket.gaierror) and error.strerror) or str(error)


def _lasts(error: OSError | ValueError) -> bool:
    """Return whether connecting again cannot help, as with an unknown host name."""
    if isinstance(error, socket.gaierror):
        return error.errno not in (socket.EAI_AGAIN, socket.EAI_SYSTEM)
    if isinstance(error, ssl.SSLError):
        return not isinstance(error, _BROKEN_TLS)
    return isinstance(error, ValueError)


@contextmanager
def explained() -> Iterator[None]:
    """Raise what goes wrong in an exchange as StatusError."""
    try:
        yield
    except TimeoutError:
        raise DeadlineExceeded("no answer came in time") from None
    except http.client.IncompleteRead:
        raise Unavailable("the answer broke off") from None
    except (http.client.RemoteDisconnected, OSError) as error:
        if isinstance(error, ssl.SSLError) and _lasts(error):  # the server refuses the client's certificate
            raise Misconfigured(f"TLS failed: {error}") from None
        raise Unavailable(f"the connection broke: {error}") from None
    except (http.client.HTTPException, ValueError) as error:
        raise Internal(f"the answer is not HTTP: {type(error).__name__}") from None
