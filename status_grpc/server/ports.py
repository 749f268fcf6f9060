"""Ports that several processes share, and nobody else may have."""

from __future__ import annotations

import socket

from status_grpc.server.settings import SettingsError


def reserve(listen: str) -> tuple[str, list[socket.socket]]:
    """Reserve HOST:PORT for processes that listen on it together, with SO_REUSEPORT, as long as the sockets are open.

    Returns it with the number of the port, which 0 leaves open. Raises SettingsError when somebody listens there
    already: two services on one port by mistake would each get some of the calls.
    """
    host, separator, text = listen.rpartition(":")
    if not separator or not text.isdigit():
        raise SettingsError(f"cannot listen on {listen} with several workers: they share a port, HOST:PORT")
    held: list[socket.socket] = []
    port = int(text)
    try:
        for family, address in _addresses(host.strip("[]"), port):
            # Without SO_REUSEPORT: fails if anybody listens, even somebody who would share.
            with _bound(family, (address, port), shared=False) as alone:
                alone.listen()
                port = alone.getsockname()[1]
            held.append(_bound(family, (address, port), shared=True))
    except OSError as error:
        for each in held:
            each.close()
        raise SettingsError(f"cannot listen on {listen}: is the port taken, the address wrong?") from error
    return f"{host}:{port}", held


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
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
