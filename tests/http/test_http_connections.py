"""Connections are limited: one address cannot take those of others, and health is still answered."""

from __future__ import annotations

import socket
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
from gateway import Gateway

from status_grpc.http.hosting.connections import ConnectionLimits, TrustedProxies


def connect(gateway: Gateway, source: str) -> socket.socket:
    host, port = gateway.http.split(":")
    return socket.create_connection((host, int(port)), timeout=20, source_address=(source, 0))


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.2)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def healthy(gateway: Gateway) -> bool:
    with urllib.request.urlopen(f"{gateway.url}/healthz", timeout=5) as answer:
        return bool(answer.status == 200)


def test_one_address_cannot_take_the_connections_of_others(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, "--max-http-connections-per-address", "3").start()
    try:
        with ExitStack() as stack:
            held = [stack.enter_context(connect(gateway, "127.0.0.2")) for _ in range(5)]
            assert [is_closed(each) for each in held] == [False, False, False, True, True]
            assert healthy(gateway)
            held[0].close()
            time.sleep(0.1)
            assert not is_closed(stack.enter_context(connect(gateway, "127.0.0.2")))
    finally:
        assert gateway.stop() == 0


def test_the_caller_is_what_a_trusted_proxy_says() -> None:
    proxies = TrustedProxies.parse("10.0.0.0/8, ::1")
    assert proxies.caller("10.1.1.1", ["203.0.113.9, 10.2.2.2"]) == "203.0.113.9"
    assert proxies.caller("::1", ["6.6.6.6", "203.0.113.9"]) == "203.0.113.9"
    assert proxies.caller("192.0.2.1", ["203.0.113.9"]) == "192.0.2.1"  # not a proxy: what it says is its own
    assert proxies.caller("10.1.1.1", ["nonsense"]) == "10.1.1.1"
    assert proxies.caller("10.1.1.1", []) == "10.1.1.1"
    assert TrustedProxies().caller("10.1.1.1", ["203.0.113.9"]) == "10.1.1.1"


def test_a_trusted_proxy_has_no_limit_of_its_own() -> None:
    limits = ConnectionLimits(10, 2, TrustedProxies.parse("10.0.0.0/8"))
    assert all(limits.admit("10.0.0.1") for _ in range(5))
    places = [limits.admit("192.0.2.1") for _ in range(3)]
    assert [place is not None for place in places] == [True, True, False]
    assert places[0] is not None
    places[0].give_up()
    places[0].give_up()  # the second time changes nothing
    assert limits.total == 6
    assert limits.admit("192.0.2.1") is not None
    assert limits.admit("192.0.2.1") is None


def test_networks_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="300"):
        TrustedProxies.parse("300.0.0.0/8")
