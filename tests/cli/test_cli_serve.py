"""How `status-grpc serve` refuses to start, and how it ends at a terminal."""

from __future__ import annotations

import re
import socket
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from certificates import Certificates
from command_line import COMMAND, CommandLine
from ports import free_port
from terminal import Terminal
from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1.status_service_pb2_grpc import StatusServiceStub

from status_grpc import StatusClient
from status_grpc.server.settings import SettingsError, load_settings
from status_grpc.server.tls import server_credentials


@pytest.fixture
def serve(offline_cli: CommandLine, tmp_path: Path):
    """Run a server that refuses to start; return its sentence."""

    def refused(*flags: str, code: int = 2, **variables: str) -> str:
        listen = () if "--listen" in flags or "STATUS_GRPC_LISTEN" in variables else ("--listen", "127.0.0.1:0")
        database = () if "--database-url" in flags else ("--database-url", f"sqlite+aiosqlite:///{tmp_path}/t.db")
        run = offline_cli("serve", *listen, *database, *flags, **variables)
        assert run.code == code
        return run.sentence

    return refused


@pytest.mark.parametrize("name", ["listen", "http", "metrics"])
@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:99999", "has no valid port, which is a number from 0 to 65535"),
        ("nonsense", "is not HOST:PORT"),
        ("::1:50051", "is not HOST:PORT; an IPv6 address stands in brackets"),
        ("[nonsense]:1", "has no valid IPv6 address in its brackets"),
        (":50051", "has no host"),
    ],
)
def test_an_address_that_is_none_is_refused_by_its_flag(name, address, words):
    with pytest.raises(SettingsError, match=re.escape(f"--{name}: {address} {words}")):
        load_settings({name: address})


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:50051", "localhost:65535", "unix:/run/status.sock"])
def test_an_address_that_is_one_is_taken(address):
    assert load_settings({"listen": address}).listen == address


def test_a_wrong_value_is_refused_by_the_name_it_was_given_under(serve, tmp_path, monkeypatch):
    assert serve("--listen", "127.0.0.1:99999") == (
        "--listen: 127.0.0.1:99999 has no valid port, which is a number from 0 to 65535."
    )
    file = tmp_path / "settings.toml"
    file.write_text('listen = "127.0.0.1:70000"\n')
    with pytest.raises(SettingsError, match=re.escape(f"{file}: listen: 127.0.0.1:70000 has no valid port")):
        load_settings({}, file)
    with pytest.raises(SettingsError, match=r"^--drain-seconds must be at least 0, not '-1'$"):
        load_settings({"drain_seconds": "-1"})
    for name, text, words in (
        ("LISTEN", "127.0.0.1:70000", ": 127.0.0.1:70000 has no valid port"),
        ("WORKERS", "many", " must be a whole number, not 'many'"),
        ("LIMITS", "x", " is not a JSON object such as"),
    ):
        with monkeypatch.context() as environment:
            environment.setenv(f"STATUS_GRPC_{name}", text)
            with pytest.raises(SettingsError, match=f"^STATUS_GRPC_{name}{words}"):
                load_settings({})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("databse_url = 'x'", "databse_url is not a setting; did you mean database_url?"),
        ("drain-seconds = 1", "drain-seconds is not a setting; did you mean drain_seconds?"),
        ("colour = 'red'", "colour is not a setting"),
    ],
)
def test_a_settings_file_is_refused_with_its_name(tmp_path, content, words):
    file = tmp_path / "settings.toml"
    file.write_text(content)
    with pytest.raises(SettingsError, match=re.escape(f"{file}: {words}")):
        load_settings({}, file)


def test_a_file_that_is_no_toml_is_refused_with_its_name(serve, tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text("listen = \n")
    assert re.fullmatch(rf"{re.escape(str(file))}: .*line 1.*\.", serve("--config", str(file)))


def test_tls_files_are_refused_by_their_flags(serve, tmp_path):
    certificates = Certificates(tmp_path / "certificates")
    (chain, key), (_, other_key) = certificates.server, certificates.client
    no_pem = tmp_path / "no.pem"
    no_pem.write_text("nothing")
    assert serve("--tls-cert", str(no_pem), "--tls-key", key) == (
        f"--tls-cert {no_pem}: the file holds no certificate in PEM form."
    )
    for files, words in (
        ((chain, no_pem, None), f"--tls-key {no_pem}: the file holds no private key"),
        ((chain, other_key, None), "the key is not that of the certificate"),
        ((chain, key, no_pem), f"--tls-client-ca {no_pem}: the file holds no certificate"),
    ):
        names = ("tls_cert", "tls_key", "tls_client_ca")
        with pytest.raises(SettingsError, match=words):
            server_credentials(load_settings({name: file for name, file in zip(names, files, strict=True) if file}))


def test_a_port_that_is_taken_is_refused(serve, clean_environment, tmp_path):
    cold = CommandLine(clean_environment, warm=False)  # what gRPC's core writes is decided when it is loaded
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        database = ("--database-url", f"sqlite+aiosqlite:///{tmp_path}/t.db")
        alone = cold("serve", "--listen", address, *database)
        assert (alone.code, alone.sentence) == (2, f"--listen {address}: address already in use.")
        for flags in (["--http"], ["--metrics"], ["--workers", "2", "--listen"]):
            assert serve(*flags, address) == f"{flags[-1]} {address}: address already in use."


def test_a_file_that_cannot_be_the_database_is_refused(serve, offline_cli, tmp_path):
    no_database, other = tmp_path / "no.db", tmp_path / "missing" / "t.db"
    no_database.write_text("This is a text and no database, and it is longer than the header of one.")
    for file, words in (
        (other, f"{other}: there is no folder {other.parent}"),
        (tmp_path, f"{tmp_path} is a folder, not a file"),
        (no_database, f"{no_database}: the file is not a SQLite database"),
    ):
        url = f"sqlite+aiosqlite:///{file}"
        assert serve("--database-url", url) == f"--database-url: {words}."
    assert offline_cli("migrate", "--database-url", url).sentence == f"--database-url: {words}."
    assert serve("--database-url", "nonsense").startswith("--database-url is not a database URL, such as")


def test_a_postgresql_that_refuses_is_named_without_its_password(offline_cli, tmp_path):
    url = f"postgresql+asyncpg://user:secret@127.0.0.1:{free_port()}/traces"
    place = url.partition("@")[2].partition("/")[0]
    run = offline_cli("serve", "--listen", "127.0.0.1:0", "--database-url", url, "--database-wait-seconds", "0")
    assert run.code == 1
    last = run.err.splitlines()[-1]
    assert last == (
        f"Error: The database at {place} cannot be reached: connection refused; the server waited 0 s for it."
    )
    assert "secret" not in run.err
    migrating = offline_cli("migrate", "--database-url", url)
    assert migrating.code == 5
    assert f"the database at {place}: connection refused" in migrating.sentence


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_ctrl_c_ends_a_drain_at_once(offline_cli, tmp_path, workers):
    address = f"127.0.0.1:{free_port()}"
    command = [*COMMAND, "serve", "--listen", address, "--database-url", f"sqlite+aiosqlite:///{tmp_path}/t.db"]
    terminal = Terminal([*command, "--workers", workers], offline_cli.environment)
    terminal.expect("status-grpc is listening on")
    with StatusClient(address) as client:
        trace_id = client.create(domain="d", domain_id="x", component="c").trace.trace_id
    with ExitStack() as stack:
        # So many that their ends take seconds, and 50 on each connection.
        own = [("grpc.use_local_subchannel_pool", 1)]
        stubs = [StatusServiceStub(stack.enter_context(grpc.insecure_channel(address, own))) for _ in range(8)]
        calls = [stub.StreamTrace(pb.StreamTraceRequest(trace_id=trace_id)) for stub in stubs for _ in range(50)]
        for call in calls:
            next(call)
        terminal.press(b"\x03")
        terminal.expect("Ending 400 streams, within 20 s; Ctrl-C again ends the server at once.")
        terminal.press(b"\x03")
        assert terminal.end() == 130
