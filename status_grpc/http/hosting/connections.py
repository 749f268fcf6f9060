"""Limits of open connections, and the callers behind proxies."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class ConnectionLimits:
    """Counts open connections, all together and per address."""

    def __init__(self, most: int, most_per_address: int, proxies: TrustedProxies) -> None:
        """Proxies may have as many connections as there are."""
        self._most = most
        self._most_per_address = most_per_address
        self._proxies = proxies
        self._open: Counter[str] = Counter()
        self._total = 0

    @property
    def total(self) -> int:
        """How many connections are open."""
        return self._total

    def admit(self, address: str) -> Place | None:
        """Return a place for a new connection. None: too many."""
        if self._total >= self._most:
            return None
        if self._open[address] >= self._most_per_address and address not in self._proxies:
            return None
        self._open[address] += 1
        self._total += 1
        return Place(self._release, address)

    def _release(self, address: str) -> None:
        self._total -= 1
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]


class Place:
    """The place of one open connection."""

    def __init__(self, release: Callable[[str], None], address: str) -> None:
        self._release: Callable[[str], None] | None = release
        self._address = address

    def give_up(self) -> None:
        """Make room for another connection. Later calls do nothing."""
        release, self._release = self._release, None
        if release is not None:
            release(self._address)


class TrustedProxies:
    """The proxies whose X-Forwarded-For names the caller."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks = tuple(networks)

    @classmethod
    def parse(cls, text: str) -> TrustedProxies:
        """Return the proxies of a list such as "10.0.0.0/8, ::1". Raises ValueError."""
        return cls(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())

    def __contains__(self, address: str) -> bool:
        if not self._networks:
            return False
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def caller(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """Return the address of the caller.

        `forwarded_for` are the values of X-Forwarded-For in the order of the request. They count only if the peer is
        a proxy of ours; then the caller is the last address in them that is not one.
        """
        if not forwarded_for or peer not in self:
            return peer
        for part in reversed(",".join(forwarded_for).split(",")):
            address = part.strip()
            if address not in self:
                return address if _is_address(address) else peer
        return peer


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
