"""Ports that several processes share, and nobody else may have."""

from __future__ import annotations

import os
import socket

from status_grpc.domain.addresses import split_host_port
from status_grpc.server.settings import SettingsError, is_socket


def reserve(flag: str, listen: str) -> tuple[str, list[socket.socket]]:
    """Reserve HOST:PORT for processes that listen on it together, with SO_REUSEPORT, as long as the sockets are open.

    Returns it with the number of the port, which 0 leaves open. Raises SettingsError when somebody listens there
    already: two services on one port by mistake would each get some of the calls.
    """
    if is_socket(listen):
        raise SettingsError(f"{flag} {listen}: several workers share a port, HOST:PORT, and no Unix socket")
    host, port = split_host_port(listen)
    held: list[socket.socket] = []
    try:
        for family, address in _addresses(host, port):
            # Without SO_REUSEPORT: fails if anybody listens, even somebody who would share.
            with _bound(family, (address, port), shared=False) as alone:
                alone.listen()
                port = alone.getsockname()[1]
            held.append(_bound(family, (address, port), shared=True))
    except OSError as error:
        for each in held:
            each.close()
        raise SettingsError(refused(flag, listen, error)) from error
    return f"{listen.rpartition(':')[0]}:{port}", held


def refused(flag: str, listen: str, error: OSError) -> str:
    """Return the sentence for an address that cannot be listened on."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        cause = error.strerror or str(error)
    else:
        cause = os.strerror(error.errno)  # libraries put their own words around it
    return f"{flag} {listen}: {cause[:1].lower()}{cause[1:]}"


def why_refused(flag: str, listen: str) -> str:
    """Return the sentence for an address that gRPC cannot listen on."""
    if not is_socket(listen):
        try:  # gRPC itself gives no cause
            host, port = split_host_port(listen)
            for family, address in _addresses(host, port):
                with _bound(family, (address, port), shared=False) as alone:
                    alone.listen()
        except OSError as error:
            return refused(flag, listen, error)
    return f"{flag} {listen}: this address cannot be listened on"


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _bound(family: socket.AddressFamily, address: tuple[str, int], *, shared: bool) -> socket.socket:
    new = socket.socket(family, socket.SOCK_STREAM)
    try:
        new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        new.bind(address)
    except BaseException:
        new.close()
        raise
    return new
