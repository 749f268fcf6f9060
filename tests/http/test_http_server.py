"""How the port is opened, watched and closed."""

import json
import socket
import ssl
import subprocess
import sys
import threading

import httpx
import pytest
from gateway import PATIENCE, Gateway
from old_bodies import created, creation, events, update

from status_grpc.server.settings import SettingsError, load_settings

SERVE = [sys.executable, "-P", "-m", "status_grpc.cli.main", "serve", "--listen", "127.0.0.1:0"]


def refusal(*flags: str) -> str:
    """What `serve` says before it ends with exit code 2."""
    done = subprocess.run([*SERVE, *flags], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("address", ["8080", "localhost", "127.0.0.1:x", "127.0.0.1:70000", ":8080"])
def test_an_address_that_is_none(address):
    with pytest.raises(SettingsError, match=f"--http: {address} "):
        load_settings({"http": address})


def test_beyond_this_machine_it_takes_tls_or_a_word():
    with pytest.raises(SettingsError, match=r"listening on 0\.0\.0\.0:8080 would let anyone"):
        load_settings({"http": "0.0.0.0:8080"})


def test_a_port_that_is_taken(gateway):
    said = refusal("--http", gateway.http)
    assert f"--http {gateway.http}" in said
    assert "in use" in said


@pytest.mark.parametrize("prefix", ["status", "/status/", "/", "/a b"])
def test_a_prefix_that_is_none(prefix):
    with pytest.raises(SettingsError, match="--http-prefix"):
        load_settings({"http_prefix": prefix})


@pytest.mark.parametrize("url", ["example.com", "ftp://example.com", "https://"])
def test_an_upstream_that_is_none(url):
    with pytest.raises(SettingsError, match="--legacy-upstream"):
        load_settings({"http": "127.0.0.1:0", "legacy_upstream": url})


def test_an_upstream_needs_http():
    with pytest.raises(SettingsError, match="--legacy-upstream needs --http"):
        load_settings({"legacy_upstream": "https://example.com"})


def test_without_its_extra_it_says_which():
    blocked = "import sys; sys.modules['starlette'] = None; from status_grpc.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", blocked, *SERVE[4:], "--http", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'status-grpc[http]'" in done.stderr


def test_port_0_picks_a_free_one(tmp_path):
    command = [*SERVE, "--http", "127.0.0.1:0", "--database-url", f"sqlite+aiosqlite:///{tmp_path / 't.db'}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split(" and ")[1].strip()
        assert httpx.get(f"{url}/readyz", timeout=PATIENCE).status_code == 200
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_health_is_that_of_grpc(http):
    assert http.get("/healthz").json() == {"status": "alive"}
    assert http.get("/readyz").json() == {"status": "ready"}


def test_a_request_under_way_is_answered_and_recorded_before_the_server_ends(new_gateway):
    server: Gateway = new_gateway()
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as http:
        trace_id = created(http)
    body = json.dumps(update(trace_status="FINISHED")).encode()
    host, _, port = server.http.partition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        connection.sendall(
            f"POST /status/{trace_id} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        connection.sendall(body[:10])
        # The head has been read once another request on another connection has been answered.
        httpx.get(f"{server.url}/healthz", timeout=PATIENCE)
        server.terminate()
        wait_until_draining(server)
        connection.sendall(body[10:])
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert server.wait() == 0
    server.start()
    assert [event["trace_status"] for event in httpx.get(f"{server.url}/status/{trace_id}").json()] == [
        "STARTED",
        "FINISHED",
    ]


def wait_until_draining(server: Gateway) -> None:
    """Wait until the server has noticed that it shall stop."""
    while '"draining"' not in server.log:
        threading.Event().wait(0.01)


def test_while_it_drains_new_requests_are_refused_with_a_reason(new_gateway):
    server: Gateway = new_gateway("--drain-seconds", "8")
    head = b"POST /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
    host, _, port = server.http.partition(":")
    with (
        socket.create_connection((host, int(port)), timeout=PATIENCE) as slow,
        httpx.Client(base_url=server.url, timeout=PATIENCE) as http,
        httpx.Client(base_url=server.url, timeout=PATIENCE) as grpc_web,
    ):
        slow.sendall(head)
        trace_id = created(http)
        grpc_web.get("/healthz")  # its connection stays open
        server.terminate()
        wait_until_draining(server)
        # The port stays open for a moment after the drain has begun.
        answer = http.get(f"/status/{trace_id}")
        by_grpc_web = grpc_web.post(
            "/tracestatus.v1.StatusService/GetTrace", headers={"content-type": "application/grpc-web+proto"}
        )
        slow.sendall(b"0123456789")
        assert slow.recv(100).startswith(b"HTTP/1.1 400 ")
    assert answer.status_code == 503
    assert answer.json() == {"message": "The server is shutting down; try again, and another one answers."}
    assert answer.headers["connection"] == "close"
    assert by_grpc_web.status_code == 200
    assert by_grpc_web.content[5:].startswith(b"grpc-status: 14\r\ngrpc-message: The server is shutting down")
    assert server.wait() == 0


def test_requests_that_are_being_sent_while_a_server_restarts_are_recorded_once(new_gateway):
    """The older clients send a request again when the connection breaks, or on a 503: what they send is there once."""
    server: Gateway = new_gateway()
    trace_id = httpx.post(f"{server.url}/status", json=creation(), timeout=PATIENCE).json()["trace_id"]
    stopping = threading.Event()
    sent: list[str] = []

    def send() -> None:
        with httpx.Client(base_url=server.url, timeout=PATIENCE) as http:
            number = 0
            while not stopping.is_set():
                number += 1
                said = update(operation=f"{threading.get_ident()}-{number}")
                assert accepted(http, f"/status/{trace_id}", said)
                sent.append(said["operation"])

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for restart in (server.stop, server.kill):
        enough = len(sent) + 20
        while len(sent) < enough:
            threading.Event().wait(0.01)
        restart()
        server.start()
    stopping.set()
    for thread in threads:
        thread.join(PATIENCE)
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as http:
        recorded = [event["operation"] for event in events(http, trace_id)[1:]]
    assert sorted(recorded) == sorted(sent)


def accepted(http: httpx.Client, path: str, said: dict[str, object]) -> bool:
    """Send it until it is answered, as the older clients do; return whether it was taken."""
    while True:
        try:
            answer = http.post(path, json=said)
        except httpx.TransportError:
            continue
        if answer.status_code != 503:
            return answer.status_code == 200


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A server's certificate and a client's, both signed by themselves."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("server", "client"):
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"),
                *("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"),
            ],
            check=True,
            capture_output=True,
        )
    return folder


def test_tls_is_that_of_the_other_port(tmp_path, certificates):
    flags = ["--tls-cert", certificates / "server.pem", "--tls-key", certificates / "server.key"]
    command = [*SERVE, "--http", "0.0.0.0:0", "--database-url", f"sqlite+aiosqlite:///{tmp_path / 't.db'}", *flags]
    command += ["--tls-client-ca", certificates / "client.pem"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split(" and ")[1].strip().replace("0.0.0.0", "127.0.0.1")
            assert url.startswith("https://")
            context = ssl.create_default_context(cafile=certificates / "server.pem")
            with pytest.raises(httpx.TransportError):  # the server asks for a certificate
                httpx.get(f"{url}/readyz", verify=context, timeout=PATIENCE)
            context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
            assert httpx.get(f"{url}/readyz", verify=context, timeout=PATIENCE).status_code == 200
        finally:
            process.kill()
