"""Puts the server together from its settings, starts it, and stops it without losing anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import grpc
import structlog
from google.rpc import error_details_pb2

from status_grpc.domain.addresses import split_host_port
from status_grpc.domain.decisions import Command, Decision
from status_grpc.domain.errors import Unavailable
from status_grpc.edge.caller_limits import CallerLimits
from status_grpc.edge.calls import StatusCalls
from status_grpc.edge.requests import Requests
from status_grpc.rpc.handlers import standard_handlers, status_handlers
from status_grpc.rpc.health import Health
from status_grpc.rpc.interceptor import CallInterceptor
from status_grpc.rpc.method_table import MethodTable, intercepted
from status_grpc.rpc.servicer import StatusServicer
from status_grpc.server.descriptors import connections_for_each, raise_descriptor_limit
from status_grpc.server.logs import say_draining, say_listening
from status_grpc.server.loop_lag import LoopPulse
from status_grpc.server.memory import MemoryTrimmer
from status_grpc.server.opening import database_of, prepare, prepare_patiently
from status_grpc.server.parts import ServerParts
from status_grpc.server.ports import refused, why_refused
from status_grpc.server.settings import Settings, SettingsError, is_socket
from status_grpc.server.tls import server_credentials
from status_grpc.server.watching import Watching
from status_grpc.service.expiry import Expiry
from status_grpc.service.feeds import Feeds
from status_grpc.service.following import Following, FollowSettings
from status_grpc.service.lineage import Lineage
from status_grpc.service.traces import Traces
from status_grpc.storage.dialects import open_hints
from status_grpc.storage.feed import ChangeFeed
from status_grpc.storage.group_commit import GroupCommit
from status_grpc.storage.lane_keeping import LaneKeeper
from status_grpc.storage.lineage import LineageStore
from status_grpc.storage.store import Store

if TYPE_CHECKING:
    from status_grpc.http.hosting.server import HttpServer

log = structlog.get_logger(__name__)

_HEALTH_SECONDS = 2.0
#: The share of the drain in which the ends of streams are spread; the rest is for the last of them to be read.
_SPREAD_OF_DRAIN = 0.8
_REFUSING_SECONDS = 0.25
#: How long TLS, or the first frames of a connection, may take.
_HANDSHAKE_MILLISECONDS = 5_000

assert error_details_pb2.DESCRIPTOR  # in the descriptor pool, so that reflection can explain the details of errors


class StatusServer:
    """One server process; with `shares_ports` others listen on the same ones."""

    def __init__(
        self, settings: Settings, *, shares_ports: bool = False, on_pulse: Callable[[], None] | None = None
    ) -> None:
        """`on_pulse` is called once a second from the event loop, from the start on."""
        limits = settings.event_limits()
        self._settings = settings
        self._shares_ports = shares_ports
        self._watching = Watching(settings)
        self._database = database_of(settings)
        self._prepared = False
        self._store = Store(self._database, events_per_trace=limits.events_per_trace)
        try:
            self._hints = open_hints(self._database, settings.listen_url())
        except ValueError as error:
            raise SettingsError(f"--database-listen-url {error}") from None
        self._feeds = Feeds(
            self._store,
            ChangeFeed(self._database, self._store.lane),
            self._hints,
            poll_seconds=settings.poll_seconds,
        )
        self._lanes = LaneKeeper(self._database, self._store.lane, retention_seconds=settings.feed_retention_seconds)
        self._writer = GroupCommit(
            self._commit,
            queue_commands=settings.queue_commands,
            queue_bytes=settings.queue_bytes,
            observer=self._watching.metrics,
        )
        traces = Traces(self._store, self._writer, expire_after_seconds=settings.expire_after_seconds)
        self._following = Following(
            self._store,
            self._feeds,
            FollowSettings(
                checkpoint_seconds=settings.checkpoint_seconds,
                longest_seconds=settings.stream_seconds,
                most_followers=settings.max_streams,
                most_followers_per_caller=settings.max_streams_per_caller,
            ),
        )
        self._memory = MemoryTrimmer()
        self._pulse = LoopPulse(on_pulse)
        self._expiry = Expiry(self._store, traces, every_seconds=settings.expiry_check_seconds)
        self._health = Health(self._ping, every_seconds=_HEALTH_SECONDS)
        requests = Requests(limits)
        calls = StatusCalls(traces, self._following, Lineage(LineageStore(self._database)), requests)
        servicer = StatusServicer(calls, write_timeout_seconds=settings.write_timeout_seconds)
        self._interceptor = CallInterceptor(CallerLimits(settings.max_streams_per_caller), self._watching.metrics)
        self._handlers = status_handlers(servicer, requests) | standard_handlers(self._health.servicer)
        edges = 1 if settings.http is None else 2
        self._most_connections = connections_for_each(settings.max_connections, edges, raise_descriptor_limit())
        self._grpc = grpc.aio.server(options=_server_options(settings, self._most_connections, shares_ports))
        self._http = None if settings.http is None else self._http_server(traces, calls, requests)
        self._watching.look_at(
            ServerParts(
                writer=self._writer,
                following=self._following,
                feeds=self._feeds,
                database=self._database,
                health=self._health,
                pulse=self._pulse,
            )
        )

    @property
    def drain_seconds(self) -> float:
        """How long a drain may take, in seconds."""
        return self._settings.drain_seconds

    def _http_server(self, traces: Traces, calls: StatusCalls, requests: Requests) -> HttpServer:
        try:
            from status_grpc.http.app import HttpApp
            from status_grpc.http.edge import Edge
            from status_grpc.http.hosting.connections import TrustedProxies
            from status_grpc.http.hosting.server import HostingSettings, HttpServer
            from status_grpc.http.hosting.sites import site_policy
            from status_grpc.http.upstream import Upstream
        except ImportError as error:
            sentence = f"--http: {error.name} is missing: install HTTP with pip install 'status-grpc[http]'"
            raise SettingsError(sentence) from None
        settings = self._settings
        proxies = TrustedProxies.parse(settings.trusted_proxies or "")
        edge = Edge(
            proxies=proxies,
            traces=traces,
            following=self._following,
            calls=calls,
            requests=requests,
            limits=settings.event_limits(),
            is_ready=lambda: self._health.ready,
            max_request_bytes=settings.max_request_bytes,
            request_seconds=settings.http_request_seconds,
            write_timeout_seconds=settings.write_timeout_seconds,
            upstream=None if settings.legacy_upstream is None else Upstream(settings.legacy_upstream),
        )
        assert settings.http is not None
        listen_host = settings.http.rpartition(":")[0]
        sites = site_policy(listen_host, settings.http_hosts or "", settings.http_origins or "")
        return HttpServer(
            HttpApp(edge, sites, prefix=settings.http_prefix or "", around=self._watching.around_requests()),
            HostingSettings(
                request_seconds=settings.http_request_seconds,
                most_connections=self._most_connections,
                # One address never has all of them, however few there are.
                most_connections_per_address=min(
                    settings.max_http_connections_per_address, self._most_connections // 2
                ),
                proxies=proxies,
                tls_cert=settings.tls_cert,
                tls_key=settings.tls_key,
                client_ca=settings.tls_client_ca,
            ),
        )

    async def start(self) -> list[str]:
        """Start to serve; return what is listened on: HOST:PORT, and the URL of HTTP if it is served.

        Raises SettingsError when the address is taken, or a TLS file or the database cannot be used, SchemaMismatch
        when the database has another release's schema, and Unavailable when it cannot be reached. PostgreSQL may come
        up later: this server waits for it, and listens meanwhile, alive but not ready.
        """
        settings = self._settings
        credentials = None if settings.tls_cert is None else server_credentials(settings)
        self._pulse.start()
        # First of all: it tells how it is while the database is away.
        await self._watching.start(lambda: self._health.ready)
        listening = [self._bind(credentials)]
        if self._http is not None:
            listening.append(self._bind_http(self._http))
        try:
            await prepare(self._database)
        except Unavailable:
            if self._database.upgrades_at_start:
                raise  # a file does not come up later
            seconds = settings.database_wait_seconds
            log.warning("waiting for the database", most_seconds=seconds, address=" and ".join(listening))
            await self._listen()
            await prepare_patiently(self._database, seconds)
            await self._work()
            await self._health.look()
        else:
            await self._work()
            await self._listen()
        return listening

    async def _work(self) -> None:
        """Begin with what needs the database."""
        self._prepared = True
        await self._hints.start()
        self._feeds.start()
        self._lanes.start()
        self._expiry.start()

    async def _listen(self) -> None:
        """Begin to answer calls."""
        handlers = await intercepted(self._handlers, [*self._watching.interceptors(), self._interceptor])
        self._grpc.add_generic_rpc_handlers((MethodTable(handlers),))
        self._writer.start()
        self._memory.start()
        await self._health.start()
        await self._grpc.start()
        if self._http is not None:
            await self._http.start()

    def _bind(self, credentials: grpc.ServerCredentials | None) -> str:
        settings = self._settings
        try:
            if credentials is None:
                port = self._grpc.add_insecure_port(settings.listen)
            else:
                port = self._grpc.add_secure_port(settings.listen, credentials)
        except RuntimeError as error:
            raise SettingsError(why_refused("--listen", settings.listen)) from error
        return _with_port(settings.listen, port)

    def _bind_http(self, server: HttpServer) -> str:
        settings = self._settings
        assert settings.http is not None
        host, port = split_host_port(settings.http)
        try:
            bound = server.bind(host, port, shared=self._shares_ports)
        except OSError as error:
            raise SettingsError(refused("--http", settings.http, error)) from error
        return f"{'http' if settings.tls_cert is None else 'https'}://{_with_port(settings.http, bound)}"

    async def drain(self) -> int:
        """Begin to drain. Return the number of streams and waits.

        The server is not ready, refuses new calls, and spreads the ends of its streams.
        """
        await self._health.drain()
        streams = self._following.drain(self._settings.drain_seconds * _SPREAD_OF_DRAIN)
        self._interceptor.draining = True
        if self._http is not None:
            self._http.drain()
        return streams

    async def stop(self, drain_seconds: float | None = None) -> None:
        """Drain and stop.

        Calls under way have the time of the drain. Writes under way are committed first.
        """
        seconds = self._settings.drain_seconds if drain_seconds is None else drain_seconds
        if not self._interceptor.draining:
            await self.drain()
        # gRPC cancels calls that have arrived but not begun when it is stopped, and CANCELLED tells a client nothing:
        # they are given a moment to be refused as what they are.
        await asyncio.sleep(min(_REFUSING_SECONDS, seconds / 4))
        stopping = [self._grpc.stop(seconds)]
        if self._http is not None:
            stopping.append(self._http.stop(seconds))
        await asyncio.gather(*stopping)
        await self._expiry.close()
        await self._feeds.close()
        await self._writer.close()
        await self._hints.close()
        await self._lanes.close()
        await self._database.close()
        await self._memory.close()
        await self._pulse.close()
        await self._watching.close()

    async def _ping(self) -> None:
        self._raise_until_prepared()
        await self._store.ping()

    def _raise_until_prepared(self) -> None:
        if not self._prepared:
            raise Unavailable("the database is not there yet; try again shortly")

    async def _commit(self, commands: Sequence[Command]) -> list[Decision]:
        self._raise_until_prepared()
        decisions = await self._store.commit(commands)
        self._hints.give()
        self._feeds.publish(decisions)
        self._watching.decided(decisions)
        return decisions


def _server_options(settings: Settings, most_connections: int, shares_ports: bool) -> list[tuple[str, int]]:
    return [
        # Two servers on one port by mistake would each get half of the calls.
        ("grpc.so_reuseport", int(shares_ports)),
        # For all addresses together. The connection beyond it is closed, a health check's as well.
        ("grpc.max_allowed_incoming_connections", most_connections),
        ("grpc.max_concurrent_streams", settings.max_connection_streams),
        # A stream counts until the server has freed it, later than its client has seen its end. With the default gRPC
        # refused a fifth of the calls of a busy connection that kept to the limit.
        ("grpc.http2.max_deallocating_streams", 1_000),
        # Beyond so many calls that wait to begin gRPC cancels some at random; our own queue refuses with a reason. An
        # honest burst of all followers at once must fit.
        ("grpc.server.max_pending_requests", 2 * settings.max_streams),
        ("grpc.server.max_pending_requests_hard_limit", 4 * settings.max_streams),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MILLISECONDS),
        ("grpc.max_connection_idle_ms", int(settings.connection_idle_seconds * 1000)),
        ("grpc.max_receive_message_length", settings.max_request_bytes),
        # Together with the client's keepalive of 30 s: a dead peer is noticed, and no ping is taken for an attack.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
    ]


def _with_port(listen: str, port: int) -> str:
    if is_socket(listen):
        return listen
    return f"{listen.rpartition(':')[0]}:{port}"


async def run_until(
    server: StatusServer,
    stopping: asyncio.Event,
    say: Callable[[list[str]], None] = say_listening,
    say_draining: Callable[[int, float], None] = say_draining,
) -> None:
    """Start the server, say where it listens, and drain it once `stopping` is set.

    `say_draining` gets the number of streams that a drain ends, and its longest time in seconds.
    """
    starting = asyncio.ensure_future(server.start())
    told_to_stop = asyncio.ensure_future(stopping.wait())
    await asyncio.wait({starting, told_to_stop}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await server.stop(0)
        log.info("stopped before it was ready")
        return
    if starting.exception() is not None:
        await server.stop(0)
    listening = starting.result()
    say(listening)
    log.info("started", address=" and ".join(listening))
    await stopping.wait()
    streams = await server.drain()
    log.info("draining", streams=streams)
    say_draining(streams, server.drain_seconds)
    await server.stop()
    log.info("stopped")
