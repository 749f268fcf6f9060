"""Parser for HOST:PORT, the address of a server."""

from __future__ import annotations

import ipaddress
import re

LARGEST_PORT = 65535

#: No white space, no slash, and nothing that separates host and port.
_HOST = re.compile(r"[^\s/:\[\]@,]+")


def split_host_port(text: str, *, smallest_port: int = 0) -> tuple[str, int]:
    """Return the host, without brackets, and the port of HOST:PORT.

    An IPv6 address stands in brackets. Raises ValueError with the reason, which continues a sentence that names `text`.
    """
    host, separator, port = text.rpartition(":")
    if not separator or not (port.isascii() and port.isdecimal()):
        raise ValueError("is not HOST:PORT, such as 127.0.0.1:50051 or [::1]:50051")
    # A text of digits may be too long for int().
    if len(port.lstrip("0")) > len(str(LARGEST_PORT)) or not smallest_port <= int(port) <= LARGEST_PORT:
        raise ValueError(f"has no valid port, which is a number from {smallest_port} to {LARGEST_PORT}")
    return _host(host), int(port)


def _host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise ValueError("has no valid IPv6 address in its brackets") from None
        return host[1:-1]
    if ":" in host:
        raise ValueError("is not HOST:PORT; an IPv6 address stands in brackets, as in [::1]:50051")
    if not host:
        raise ValueError("has no host; 0.0.0.0:PORT or [::]:PORT is every address of this machine")
    if not _HOST.fullmatch(host):
        raise ValueError("has no valid host")
    return host
