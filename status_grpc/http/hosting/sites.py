"""Which web pages may call: a browser sends a request on behalf of any page that its user has open.

Origin: RFC 6454. Sec-Fetch-Site: https://www.w3.org/TR/fetch-metadata/. A page whose name is made to resolve to this
machine (DNS rebinding) counts as the same site, so the name in Host is checked as well.
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
    """The request comes from a page that may not call, or for a host that is not this one; the message says which."""

    def __init__(self, message: str, *, wrong_host: bool = False) -> None:
        super().__init__(message)
        self.wrong_host = wrong_host


@dataclass(frozen=True)
class SitePolicy:
    """The hosts that a server answers to, and the origins whose pages may call it."""

    #: Names that Host may have, lower case, without port. None: any.
    hosts: frozenset[str] | None
    #: Whether the names of the loopback interface are among them.
    loopback: bool
    #: Origins such as https://example.com; `*` is all.
    origins: frozenset[str] = frozenset()

    def check_host(self, headers: Headers) -> None:
        """Raise SiteRefused for a Host that is not this server's. A request without one is no browser's."""
        host = _value(headers, b"host")
        if self.hosts is None or not host:
            return
        name = _name_of(host)
        if name not in self.hosts and not (self.loopback and is_loopback_name(name)):
            raise SiteRefused(
                f"this server does not answer to the host {host[:100]!r}: see --http-hosts", wrong_host=True
            )

    def check_origin(self, method: str, headers: Headers) -> None:
        """Raise SiteRefused for a request that changes something and was made by another site's page."""
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
    """Return whether a host name or address is one of the loopback interface."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _value(headers: Headers, wanted: bytes) -> str:
    """Return the value of a header, all of its values if it is repeated, and an empty text without one."""
    return ", ".join(value.decode("latin-1") for name, value in headers if name == wanted)


def _name_of(host: str) -> str:
    """Return the name in a Host header: lower case, without port and final dot."""
    if host.startswith("["):
        return host.partition("]")[0][1:].lower()
    return host.partition(":")[0].rstrip(".").lower()


def _authority(text: str) -> str:
    """Return host and port in a form that can be compared: the scheme's own port is the same as none."""
    text = text.lower()
    for port in _DEFAULT_PORTS:
        text = text.removesuffix(port)
    return text
