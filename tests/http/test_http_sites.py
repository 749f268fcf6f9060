"""Which web pages may call: none of another site's by default, whatever protocol they speak."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from gateway import Gateway
from hypothesis import given
from hypothesis import strategies as st

from status_grpc.http.hosting.sites import SiteRefused, site_policy

EVENT = {
    "domain": "dataset",
    "domain_id": "a/1",
    "component": "c",
    "start_time": "2026-01-01T10:00:00+00:00",
    "end_time": "2026-01-01T10:00:01+00:00",
}
RUN_EVENT = {
    "eventType": "COMPLETE",
    "eventTime": "2026-01-01T10:00:00Z",
    "run": {"runId": "0191f5d5-0000-7000-8000-000000000001"},
    "job": {"namespace": "n", "name": "j"},
}
CREATE = {"event": {"domain": "dataset", "domainId": "a/1", "component": "c"}}
#: Each way to write over HTTP: path, body, content type. A page needs no preflight for text/plain.
WRITES = [
    ("/status", EVENT, "text/plain"),
    ("/status", EVENT, "application/json"),
    ("/tracestatus.v1.StatusService/Create", CREATE, "application/json"),
    ("/api/v1/lineage", RUN_EVENT, "text/plain"),
    ("/api/v1/lineage/batch", [RUN_EVENT], "text/plain"),
]
FOREIGN = "https://evil.example"
#: What browsers say of a request by a page of another site.
STRANGERS: list[dict[str, str]] = [
    {"Origin": FOREIGN},
    {"Origin": FOREIGN, "Sec-Fetch-Site": "cross-site"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


def post(url: str, path: str, body: Any, kind: str, **headers: str) -> httpx.Response:
    return httpx.post(f"{url}{path}", content=json.dumps(body), headers={"Content-Type": kind, **headers}, timeout=20)


@pytest.mark.parametrize("headers", STRANGERS, ids=str)
@pytest.mark.parametrize(("path", "body", "kind"), WRITES)
def test_another_sites_page_cannot_write(
    gateway: Gateway, path: str, body: Any, kind: str, headers: dict[str, str]
) -> None:
    refused = post(gateway.url, path, body, kind, **headers)
    assert refused.status_code == 403
    assert "--http-origins" in refused.json()["message"]
    assert "access-control-allow-origin" not in refused.headers


def test_grpc_web_of_another_site_is_refused_in_its_own_form(gateway: Gateway) -> None:
    refused = httpx.post(
        f"{gateway.url}/tracestatus.v1.StatusService/Create",
        content=b"\0\0\0\0\0",
        headers={"Content-Type": "application/grpc-web+proto", "Origin": FOREIGN},
    )
    assert refused.status_code == 200
    assert b"grpc-status: 7" in refused.content or refused.headers.get("grpc-status") == "7"


@pytest.mark.parametrize(("path", "body", "kind"), WRITES)
def test_programs_and_pages_of_this_server_may_write(gateway: Gateway, path: str, body: Any, kind: str) -> None:
    own = {"Origin": gateway.url}
    for headers in ({}, own, {"Origin": gateway.url.replace("http:", "https:")}, {"Sec-Fetch-Site": "same-origin"}):
        assert post(gateway.url, path, body, kind, **headers).is_success


def test_another_sites_page_can_read_no_answer(gateway: Gateway) -> None:
    asking = {"Origin": FOREIGN, "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in httpx.options(f"{gateway.url}/status", headers=asking).headers
    answer = httpx.get(f"{gateway.url}/status/unknown", headers={"Origin": FOREIGN})
    assert "access-control-allow-origin" not in answer.headers


def test_named_origins_may_call_and_others_may_not(new_gateway: Any) -> None:
    url = new_gateway("--http-origins", f"https://a.example, {FOREIGN}").url
    asking = {
        "Origin": FOREIGN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,connect-protocol-version,authorization",
    }
    allowed = httpx.options(f"{url}/status", headers=asking)
    assert allowed.headers["access-control-allow-origin"] == FOREIGN
    assert allowed.headers["access-control-allow-headers"] == asking["Access-Control-Request-Headers"]
    written = post(url, "/status", EVENT, "application/json", Origin=FOREIGN)
    assert (written.status_code, written.headers["access-control-allow-origin"]) == (200, FOREIGN)
    assert post(url, "/status", EVENT, "application/json", Origin="https://b.example").status_code == 403


def test_star_restores_that_every_page_may_call(new_gateway: Any) -> None:
    url = new_gateway("--http-origins", "*").url
    written = post(url, "/status", EVENT, "text/plain", Origin=FOREIGN)
    assert (written.status_code, written.headers["access-control-allow-origin"]) == (200, "*")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "169.254.169.254", "localhost.evil.example"])
def test_foreign_host_on_loopback_is_refused(gateway: Gateway, host: str) -> None:
    for method, path in (("GET", "/status/unknown"), ("POST", "/status")):
        refused = httpx.request(method, f"{gateway.url}{path}", headers={"Host": host})
        assert refused.status_code == 421
        assert "--http-hosts" in refused.json()["message"]
    assert httpx.get(f"{gateway.url}/healthz", headers={"Host": host}).status_code == 200


def test_named_hosts_are_answered(new_gateway: Any) -> None:
    url = new_gateway("--http-hosts", "status.example.org").url
    for host in ("status.example.org", "STATUS.example.org:8443", "localhost", "[::1]:80", "127.0.0.1"):
        assert httpx.get(f"{url}/status/unknown", headers={"Host": host}).status_code == 404


def test_any_host_is_answered_beyond_loopback_unless_some_are_named() -> None:
    host = [(b"host", b"whatever.example")]
    site_policy("0.0.0.0", "", "").check_host(host)
    site_policy("0.0.0.0", "whatever.example", "").check_host(host)
    with pytest.raises(SiteRefused):
        site_policy("0.0.0.0", "other.example", "").check_host(host)


@given(st.text(st.characters(codec="latin-1"), max_size=60), st.text(st.characters(codec="latin-1"), max_size=60))
def test_whatever_a_browser_sends_a_foreign_origin_never_writes(origin: str, host: str) -> None:
    policy = site_policy("127.0.0.1", "", "")
    headers = [(b"host", host.encode("latin-1")), (b"origin", f"https://evil.example/{origin}".encode("latin-1"))]
    try:
        policy.check_host(headers)
        policy.check_origin("POST", headers)
    except SiteRefused:
        return
    raise AssertionError((origin, host))
