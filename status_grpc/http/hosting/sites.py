"""Policy for web pages that call the server.

A browser sends a request on behalf of any page that its user has open. RFC 6454 defines Origin, and
https://www.w3.org/TR/fetch-metadata/ Sec-Fetch-Site. A page whose name is made to resolve to this machine (DNS
rebinding) counts as the same site, so the name in Host is checked as well.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]

#: Methods that change nothing.
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: What a browser says of requests that no other site's page has made.
_OWN_SITE = frozenset({"same-origin", "none"})
_DEFAULT_PORTS = (":80", ":443")
ANY_ORIGIN = "*"


class SiteRefused(Exception):
    """The request is refused for its page or its host."""

    def __init__(self, message: str, *, wrong_host: bool = False) -> None:
        super().__init__(message)
        self.wrong_host = wrong_host


@dataclass(frozen=True)
class SitePolicy:
    """Hosts that a server answers to, and origins that may call it."""

    #: Names that Host may have, lower case, without port. None: any.
    hosts: frozenset[str] | None
    #: Whether the names of the loopback interface are among them.
    loopback: bool
    #: Origins such as https://example.com; `*` is all.
    origins: frozenset[str] = frozenset()

    def check_host(self, headers: Headers) -> None:
        """Raise SiteRefused for a foreign Host.

        Browsers always send one, so a request without Host passes.
        """
        host = _value(headers, b"host")
        if self.hosts is None or not host:
            return
        name = _name_of(host)
        if name not in self.hosts and not (self.loopback and is_loopback_name(name)):
            raise SiteRefused(
                f"this server does not answer to the host {host[:100]!r}: see --http-hosts", wrong_host=True
            )

    def check_origin(self, method: str, headers: Headers) -> None:
        """Raise SiteRefused for a write by another site's page."""
        if method in _SAFE_METHODS or ANY_ORIGIN in self.origins:
            return
        headers = list(headers)
        origin, site = _value(headers, b"origin"), _value(headers, b"sec-fetch-site")
        if (origin in self.origins and origin) or site in _OWN_SITE:
            return
        if origin:
            if _authority(origin.partition("://")[2]) == _authority(_value(headers, b"host")):
                return
            raise SiteRefused(f"pages of {origin[:100]!r} may not call this server: see --http-origins")
        if site:
            raise SiteRefused("pages of other sites may not call this server: see --http-origins")


def site_policy(listen_host: str, hosts: str, origins: str) -> SitePolicy:
    """Return the policy of a server that listens on a host.

    On the loopback interface only its names and those of `hosts` count; elsewhere any, unless `hosts` names some. Both
    texts are lists with commas.
    """
    named = frozenset(part.strip().lower() for part in hosts.split(",") if part.strip())
    loopback = is_loopback_name(listen_host)
    allowed = frozenset(part.strip().rstrip("/") for part in origins.split(",") if part.strip())
    return SitePolicy(named if named or loopback else None, loopback, allowed)


def is_loopback_name(name: str) -> bool:
    """Return whether a name or address is a loopback one."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _value(headers: Headers, wanted: bytes) -> str:
    """Return all values of a header, joined. Empty: the header is absent."""
    return ", ".join(value.decode("latin-1") for name, value in headers if name == wanted)


def _name_of(host: str) -> str:
    """Return the lower-case name in a Host header, without port and final dot."""
    if host.startswith("["):
        return host.partition("]")[0][1:].lower()
    return host.partition(":")[0].rstrip(".").lower()


def _authority(text: str) -> str:
    """Return host and port for comparison, without default ports."""
    text = text.lower()
    for port in _DEFAULT_PORTS:
        text = text.removesuffix(port)
    return text
