"""What can be set: by flags, by STATUS_GRPC_* variables, by a TOML file; in this order, the first that says so wins."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pydantic_settings
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from status_grpc.domain.addresses import LARGEST_PORT, split_host_port
from status_grpc.domain.limits import Limits

_ENV_PREFIX = "STATUS_GRPC_"
_LIMIT_NAMES = tuple(field.name for field in fields(Limits))


class SettingsError(Exception):
    """The settings do not fit together; the message says which and why."""


class Settings(BaseSettings):
    """The settings of `status-grpc serve`. The descriptions are its --help."""

    model_config = SettingsConfigDict(env_prefix=_ENV_PREFIX, extra="forbid", env_ignore_empty=True)

    listen: str = Field("127.0.0.1:50051", description="HOST:PORT to listen on; port 0 picks a free one.")
    http: str | None = Field(
        None,
        description="HOST:PORT to serve HTTP on (JSON, Connect, Server-Sent Events); port 0 picks a free one. "
        "Default: no HTTP.",
    )
    http_prefix: str | None = Field(
        None,
        description="What the paths of HTTP requests may begin with, such as /status-api; without it they work, too.",
    )
    http_origins: str | None = Field(
        None,
        description="Which other sites' pages may call over HTTP: origins such as https://example.com, with commas; "
        "* is all. Default: none.",
    )
    http_hosts: str | None = Field(
        None,
        description="Names that the Host of an HTTP request may have, with commas. Default: on the loopback interface "
        "its own names, elsewhere any.",
    )
    http_request_seconds: float = Field(
        20.0,
        gt=0,
        description="How long the head of an HTTP request, and then its body, may take to arrive, in seconds.",
    )
    legacy_upstream: str | None = Field(
        None,
        description="URL of the older status service, without /status: HTTP requests for traces that only it knows are "
        "passed on to it.",
    )
    insecure: bool = Field(
        False,
        description="Allow listening beyond this machine without TLS: anyone who can reach it can read and write.",
    )
    tls_cert: Path | None = Field(None, description="PEM file with the server's certificate chain; turns TLS on.")
    tls_key: Path | None = Field(None, description="PEM file with the private key of --tls-cert.")
    tls_client_ca: Path | None = Field(
        None, description="PEM file with the authorities whose clients are let in; turns mutual TLS on."
    )
    database_url: str = Field(
        "sqlite+aiosqlite:///status-grpc.db",
        description="SQLAlchemy URL of the database. The default is a file in the current folder.",
    )
    metrics: str | None = Field(
        None,
        description="HOST:PORT to serve Prometheus metrics on; port 0 picks a free one. Each worker has the next port. "
        "Default: no metrics.",
    )
    database_listen_url: str | None = Field(
        None,
        description="URL of a direct connection to PostgreSQL, on which servers tell each other of their writes; "
        "needed where --database-url leads through a transaction pooler. Default: --database-url.",
    )
    database_pool_size: int = Field(
        8, gt=0, description="PostgreSQL: how many connections a process keeps for reads; one writes, one listens."
    )
    database_pooled: bool = Field(
        False,
        description="PostgreSQL: a transaction pooler such as PgBouncer stands between: nothing is kept in a "
        "connection from one transaction to the next.",
    )
    database_connect_seconds: float = Field(
        5.0, gt=0, description="PostgreSQL: how long connecting may take, in seconds."
    )
    database_statement_seconds: float = Field(
        30.0, gt=0, description="PostgreSQL: how long one statement may take, in seconds."
    )
    database_lock_seconds: float = Field(
        3.0,
        gt=0,
        description="PostgreSQL: how long a write waits for one of another process, and how long one whose process "
        "stands still holds up others, in seconds.",
    )
    database_wait_seconds: float = Field(
        60.0,
        ge=0,
        description="PostgreSQL: how long a starting server waits for the database, listening but not ready; then it "
        "ends. Seconds.",
    )
    workers: int = Field(
        1, ge=1, le=256, description="How many processes serve, on one port. Each has its own --max-streams and queue."
    )
    hang_seconds: float = Field(
        30.0,
        ge=0,
        description="With several workers: how long the event loop of one may stand still before it is replaced, in "
        "seconds. 0: for ever.",
    )
    otel: bool = Field(
        False,
        description="Send a span of each call to OpenTelemetry, where the OTEL_* variables say, and keep the trace "
        "context of callers in their events' meta.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is logged.")
    log_format: Literal["json", "console"] = Field(
        "json", description="Logs go to standard error: one JSON object a line, or for people."
    )
    drain_seconds: float = Field(
        20.0, ge=0, description="How long a stopping server lets calls and streams run on, in seconds."
    )
    checkpoint_seconds: float = Field(
        15.0, gt=0, description="How often a stream with nothing to tell says that it is alive, in seconds."
    )
    stream_seconds: float = Field(
        900.0, gt=0, description="How long a stream lives, about; clients resume on whatever replica answers. Seconds."
    )
    max_streams: int = Field(20_000, gt=0, description="How many streams and waits this server serves at once.")
    max_streams_per_caller: int = Field(
        5_000,
        gt=0,
        description="How many calls one caller's address may have open at once, streams and waits included.",
    )
    max_connections: int = Field(
        10_000,
        gt=0,
        description="How many connections gRPC and HTTP may have each; fewer if the limit of open files is lower.",
    )
    max_http_connections_per_address: int = Field(
        1_000, gt=0, description="How many HTTP connections one address may have, unless it is a trusted proxy."
    )
    connection_idle_seconds: float = Field(
        600.0, gt=0, description="How long a gRPC connection without calls stays open, in seconds."
    )
    trusted_proxies: str | None = Field(
        None,
        description="Addresses or networks of proxies whose X-Forwarded-For names the caller, with commas between.",
    )
    max_connection_streams: int = Field(
        50, gt=0, description="How many calls one gRPC connection may have open at once; further calls wait."
    )
    write_timeout_seconds: float = Field(
        60.0, gt=0, description="How long a stream waits for a client that does not read, in seconds."
    )
    poll_seconds: float = Field(
        1.0,
        gt=0,
        description="How often the database is asked for what other servers wrote, in seconds; "
        "hints usually come sooner.",
    )
    feed_retention_seconds: float = Field(
        3600.0,
        ge=60,
        description="How long it is kept which traces each commit changed: a server that was away for longer compares "
        "all that is followed. Seconds.",
    )
    queue_commands: int = Field(10_000, gt=0, description="How many writes may wait to be committed.")
    queue_bytes: int = Field(64 * 1024 * 1024, gt=0, description="How many bytes of events may wait to be committed.")
    max_request_bytes: int = Field(4 * 1024 * 1024, gt=0, description="How large one request may be, in bytes.")
    expire_after_seconds: float | None = Field(
        None,
        gt=0,
        description="When a trace that was created without an expire_time ends as FAILED, in seconds. Default: never.",
    )
    expiry_check_seconds: float = Field(
        5.0, gt=0, description="How often traces whose expire_time has come are looked for, in seconds."
    )
    limits: dict[str, int] = Field(
        default_factory=dict,
        description="NAME=NUMBER: a limit on what one event or request may hold. Names: "
        + ", ".join(_LIMIT_NAMES)
        + ".",
    )

    @field_validator("limits")
    @classmethod
    def _known_limits(cls, limits: dict[str, int]) -> dict[str, int]:
        for name, value in limits.items():
            if name not in _LIMIT_NAMES:
                raise ValueError(f"{name!r} is not a limit; there are: {', '.join(_LIMIT_NAMES)}")
            if value < 1:
                raise ValueError(f"{name} must be at least 1")
        return limits

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str | None) -> str | None:
        for part in (value or "").split(","):
            if part.strip():
                ipaddress.ip_network(part.strip())
        return value

    @field_validator("listen", "http", "metrics")
    @classmethod
    def _host_and_port(cls, address: str | None, info: ValidationInfo) -> str | None:
        if address is not None and not (info.field_name == "listen" and is_socket(address)):
            try:
                split_host_port(address)
            except ValueError as error:
                raise ValueError(f"{address} {error}") from None
        return address

    @field_validator("http_prefix")
    @classmethod
    def _path(cls, prefix: str | None) -> str | None:
        if prefix is not None and not re.fullmatch(r"(/[\w.~-]+)+", prefix):
            raise ValueError("must be a path without a slash at its end, such as /status-api")
        return prefix

    @field_validator("legacy_upstream")
    @classmethod
    def _url(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[^/\s?#]+[^\s?#]*", url):
            raise ValueError("must be a URL such as https://example.com/status-api")
        return url

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key belong together: give both or neither")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("--tls-client-ca needs --tls-cert and --tls-key")
        if self.legacy_upstream is not None and self.http is None:
            raise ValueError("--legacy-upstream needs --http: it is about HTTP requests")
        if self.metrics is not None and split_host_port(self.metrics)[1] + self.workers - 1 > LARGEST_PORT:
            raise ValueError(f"--metrics: there are not {self.workers} ports from that of {self.metrics} on")
        for address in filter(None, (self.listen, self.http, self.metrics)):
            self._check_exposure(address)
        return self

    def _check_exposure(self, address: str) -> None:
        if self.tls_cert is None and not self.insecure and not is_loopback(address):
            raise ValueError(
                f"listening on {address} would let anyone who can reach it read and write without TLS: give "
                "--tls-cert and --tls-key, or --insecure if something in front of this server keeps others out"
            )

    def listen_url(self) -> str | None:
        """Return the URL of the connection for hints, None where there is none."""
        return self.database_listen_url or (None if self.database_pooled else self.database_url)

    def event_limits(self) -> Limits:
        """Return the limits on what one event or request may hold."""
        return replace(Limits(), **self.limits)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the sources in order: flags, environment, file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, cls.settings_file)

    #: The TOML file to read.
    settings_file: ClassVar[Path | None] = None


def load_settings(flags: dict[str, Any], file: Path | None = None) -> Settings:
    """Return the settings from flags (only those that were given), the environment and a TOML file.

    Raises SettingsError with a sentence for each thing that is wrong. It names the flag, the variable or the key.
    """
    if file is not None and not file.is_file():
        raise SettingsError(f"{file}: there is no such settings file")
    source = type("Settings", (Settings,), {"settings_file": file, "__doc__": Settings.__doc__})
    try:
        settings: Settings = source(**flags)
    except ValidationError as error:
        origin = _Origin(flags, file)
        raise SettingsError("; ".join(_sentence(item, origin) for item in error.errors())) from None
    except pydantic_settings.SettingsError as error:  # a variable that is no JSON
        name = re.search(r'field "(\w+)"', str(error))
        place = _variable(name[1]) if name else str(error)
        raise SettingsError(f'{place} is not a JSON object such as {{"batch_items": 100}}') from None
    except (ValueError, OSError) as error:  # the file is not TOML
        raise SettingsError(f"{file}: {error}") from None
    return settings


class _Origin:
    """Finds the flag, variable or key that gave a setting."""

    def __init__(self, flags: dict[str, Any], file: Path | None) -> None:
        self._flags = flags
        self._file = file

    def __call__(self, name: str) -> str:
        """Return the flag, the variable or the key of the file."""
        if name in self._flags:
            return flag_of(name)
        if any(variable.upper() == _variable(name) and value for variable, value in os.environ.items()):
            return _variable(name)
        return f"{self._file}: {name}"


def flag_of(name: str) -> str:
    """Return the flag of a setting, such as --tls-cert."""
    return "--limit" if name == "limits" else f"--{name.replace('_', '-')}"


def _variable(name: str) -> str:
    return f"{_ENV_PREFIX}{name.upper()}"


def _sentence(item: Any, origin: _Origin) -> str:
    kind, message = item["type"], str(item["msg"]).removeprefix("Value error, ")
    if not item["loc"]:
        return message
    name = ".".join(str(part) for part in item["loc"])
    if kind == "extra_forbidden":
        close = difflib.get_close_matches(name.replace("-", "_").lower(), Settings.model_fields, n=1)
        return f"{origin(name)} is not a setting" + (f"; did you mean {close[0]}?" if close else "")
    place = origin(str(item["loc"][0]))
    if kind in _WRONG_TYPES:
        return f"{place} must be {_WRONG_TYPES[kind](item)}, not {item['input']!r}"
    return f"{place}: {message}"


#: Pydantic's kinds of errors about one value -> what the value must be.
_WRONG_TYPES: dict[str, Callable[[Any], str]] = {
    "int_parsing": lambda _: "a whole number",
    "int_type": lambda _: "a whole number",
    "float_parsing": lambda _: "a number",
    "float_type": lambda _: "a number",
    "bool_parsing": lambda _: "true or false",
    "bool_type": lambda _: "true or false",
    "string_type": lambda _: "a text",
    "literal_error": lambda item: f"one of {item['ctx']['expected']}",
    "greater_than": lambda item: f"more than {item['ctx']['gt']:g}",
    "greater_than_equal": lambda item: f"at least {item['ctx']['ge']:g}",
    "less_than_equal": lambda item: f"at most {item['ctx']['le']:g}",
}


def is_socket(listen: str) -> bool:
    """Return whether an address to listen on is a Unix socket."""
    return listen.startswith(("unix:", "unix-abstract:"))


def is_loopback(listen: str) -> bool:
    """Return whether an address to listen on can only be reached from this machine."""
    if is_socket(listen):
        return True
    host, _ = split_host_port(listen)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
