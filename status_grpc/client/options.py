"""How a client reaches its server: by argument, by `STATUS_GRPC_*` variable, by default, in this order."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from status_grpc.domain.addresses import split_host_port

#: A bearer token, or a function that returns the current one before each call. It must be quick; the asynchronous
#: client also takes a coroutine function.
Token: TypeAlias = str | Callable[[], str | Awaitable[str]]

DEFAULT_SERVER = "127.0.0.1:50051"

_PREFIX = "STATUS_GRPC_"
_SCHEME = re.compile(r"^(?:dns:(?://[^/]*/)?|ipv4:|ipv6:)/*")
#: Targets that name no host and port.
_OTHER_TARGETS = ("unix:", "unix-abstract:", "vsock:", "xds:", "google-c2p:")
_LOOPBACK = re.compile(r"^(?:localhost|127(?:\.\d+){3}|\[::1\]|::1)(?::\d+)?$")
_URLS = ("http://", "https://")
#: Ways to write a gRPC target that mean the same as without them.
_PLAIN_SCHEME = re.compile(r"^(?:dns:(?:///)?(?!/)|ipv4:|ipv6:)")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """Everything about a connection; times are in seconds.

    Each option NAME can be set by the environment variable STATUS_GRPC_NAME, such as STATUS_GRPC_SERVER.
    """

    #: "host:port", or any other target that gRPC knows, such as "dns:///host:port" or "unix:/run/status.sock". Or a
    #: URL, "https://host", perhaps with a port and a path: the server's HTTP edge, for where gRPC cannot go.
    server: str = DEFAULT_SERVER
    token: Token | None = None
    #: A file with the token, read anew before each call; `token` counts before it.
    token_file: str | None = None
    #: PEM files: who may sign the server's certificate, and for mTLS the client's own certificate and its key.
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    #: True: no TLS. False: TLS, even to this host. None: TLS except to this host (a loopback address, a Unix socket).
    plaintext: bool | None = None
    #: How long a call may take in all, retries included.
    timeout: float = 30.0
    #: How long of it a server is tried to which there is no connection, unless the call has a timeout of its own.
    #: None: all of it.
    connect_timeout: float | None = None
    #: How long one attempt may take before the next one is made.
    attempt_timeout: float = 10.0
    #: A stream that says nothing for this long is dead. The server sends a checkpoint every 15 s.
    silence_timeout: float = 45.0
    #: How long a follower tolerates that the server cannot be reached.
    outage_timeout: float = 300.0

    @property
    def is_url(self) -> bool:
        """Whether the server is reached by HTTP."""
        return self.server.startswith(_URLS)

    @property
    def uses_tls(self) -> bool:
        """Whether the connection is encrypted."""
        if self.is_url:
            return self.server.startswith("https:")
        if self.plaintext is not None:
            return not self.plaintext
        return bool(self.ca or self.cert) or not is_local(self.server)


def is_local(server: str) -> bool:
    """Return whether the target is on this host: loopback addresses (with commas between) or a Unix socket."""
    if server.startswith(("unix:", "unix-abstract:")):
        return True
    if server.startswith(_URLS):
        server = server.partition("//")[2].partition("/")[0]
    return all(_LOOPBACK.match(address) for address in _SCHEME.sub("", server).split(","))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportingOptions:
    """How steps report. Each option NAME can be set by the environment variable STATUS_GRPC_NAME."""

    #: Whether they report at all.
    reporting: bool = True
    #: The component that the steps of this process belong to. SERVICE_NAME counts, too, when this is not set.
    component: str | None = None
    #: How long the end of an outermost step may be delayed until its events have arrived, in seconds.
    flush_timeout: float = 2.0
    #: A folder for events that have not arrived in time. The next process that reports to this server delivers them.
    #: "off": no spool. None: a folder of the user's state, if a server was configured, else no spool.
    spool: str | None = None
    #: The most bytes in the spool. Events beyond it are not spooled.
    spool_bytes: int = 256 * 1024 * 1024
    #: How long an event stays in the spool before it is dropped, in seconds.
    spool_age: float = 7 * 24 * 3600.0


def client_options(given: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> ClientOptions:
    """Return the options: those given that are not None, else those of the environment, else the defaults.

    Raises ValueError, naming the variable, for one that cannot be read, and for options that contradict each other.
    """
    values = _gather(ClientOptions, given, environment)
    if given.get("token_file") is not None and given.get("token") is None:
        values.pop("token", None)  # the file was asked for, the variable was only there
    options = ClientOptions(**values)
    names = {name: name if given.get(name) is not None else _PREFIX + name.upper() for name in values}
    _check(options, names)
    return options


def reporting_options(given: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> ReportingOptions:
    """As `client_options`, for the options of reporting."""
    options = ReportingOptions(**_gather(ReportingOptions, given, environment))
    for name in ("spool_bytes", "spool_age"):
        if not 0 < getattr(options, name) < math.inf:
            raise ValueError(f"{name} must be a number, more than 0")
    return options


def is_server_configured(given: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> bool:
    """Return whether the caller or the environment names a server."""
    environment = os.environ if environment is None else environment
    return given.get("server") is not None or bool(environment.get(f"{_PREFIX}SERVER"))


def normal_server(server: str) -> str:
    """Return one form for all ways to write the same server."""
    if not server.startswith(_URLS):
        if server.startswith("unix:"):
            return re.sub("^unix:/+", "unix:/", server)
        return _PLAIN_SCHEME.sub("", server).lower()
    from urllib.parse import urlsplit

    url = urlsplit(server)
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    port = "" if url.port in (None, _DEFAULT_PORTS[url.scheme]) else f":{url.port}"
    return f"{url.scheme}://{host}{port}{url.path.rstrip('/')}"


def is_off(text: str) -> bool:
    """Return whether the text turns an option off."""
    return text.lower() in _FALSE


def is_on(text: str) -> bool:
    """Return whether the text turns an option on."""
    return text.lower() in _TRUE


def _gather(
    kind: type[ClientOptions | ReportingOptions], given: Mapping[str, Any], environment: Mapping[str, str] | None
) -> dict[str, Any]:
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    for field in fields(kind):
        if given.get(field.name) is not None:
            values[field.name] = given[field.name]
        elif text := environment.get(_PREFIX + field.name.upper()):
            values[field.name] = _read(field.name, text)
    return values


def _read(name: str, text: str) -> object:
    variable = _PREFIX + name.upper()
    if name in ("plaintext", "reporting"):
        if text.lower() in _TRUE + _FALSE:
            return text.lower() in _TRUE
        raise ValueError(f"{variable} is {text!r}, neither true nor false")
    if name.endswith("timeout") or name == "spool_age":
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"{variable} is {text!r}, not a number of seconds") from None
    if name == "spool_bytes":
        try:
            return int(text)
        except ValueError:
            raise ValueError(f"{variable} is {text!r}, not a number of bytes") from None
    return text


def _check(options: ClientOptions, names: Mapping[str, str]) -> None:
    """Check the options. Raises ValueError for one that is not valid.

    `names` maps each option that was given to the argument or the variable that gave it.
    """
    if options.is_url:
        _check_url(options)
    else:
        check_target(options.server, names.get("server", "server"))
    if bool(options.cert) != bool(options.key):
        raise ValueError("a client certificate needs both: cert and key")
    if options.token is not None and not isinstance(options.token, str) and not callable(options.token):
        raise ValueError("token must be a string or a function that returns one")
    if options.plaintext and (options.ca or options.cert):
        raise ValueError("plaintext means no TLS: ca, cert and key have no use")
    for name in ("timeout", "connect_timeout", "attempt_timeout", "silence_timeout", "outage_timeout"):
        seconds = getattr(options, name)
        if seconds is not None and not 0 < seconds < math.inf:
            raise ValueError(f"{names.get(name, name)} must be a number of seconds, more than 0")


def check_target(server: str, name: str) -> None:
    """Check that the server is HOST:PORT or another gRPC target.

    Raises ValueError with a message that begins with `name`.
    """
    if server.startswith((*_URLS, *_OTHER_TARGETS)):
        return
    for address in _SCHEME.sub("", server).split(","):
        if ":" not in address and address:
            continue  # gRPC knows the port, 443
        try:
            split_host_port(address, smallest_port=1)
        except ValueError as error:
            raise ValueError(f"{name}: {address} {error}") from None


def _check_url(options: ClientOptions) -> None:
    from urllib.parse import urlsplit

    try:
        url = urlsplit(options.server)
        fits = bool(url.hostname) and url.port != 0 and not (url.query or url.fragment or url.username or url.password)
    except ValueError as error:
        raise ValueError(f"the server is not a URL: {error}") from None
    if not fits:
        # It is not repeated: what should not be there may be a password.
        raise ValueError("the server must be https://HOST, perhaps with a port and a path, and nothing else")
    if options.uses_tls:
        if options.plaintext:
            raise ValueError("plaintext means no TLS, but the server is https://")
        return
    if options.plaintext is False:
        raise ValueError("plaintext=False means TLS, but the server is http://")
    if options.ca or options.cert:
        raise ValueError("http:// means no TLS: ca, cert and key have no use")
    if not (options.plaintext or is_local(options.server)):
        raise ValueError(f"{options.server!r} is not on this host: say https://, or plaintext to do without TLS")
