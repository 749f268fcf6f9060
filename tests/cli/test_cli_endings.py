"""How commands end: exit codes, one sentence, never a traceback."""

from __future__ import annotations

import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from command_line import COMMAND

from status_grpc import TraceEventStatus
from status_grpc.cli.exits import failure
from status_grpc.client.retrying import NotConnected

NOWHERE = ("--server", "127.0.0.1:1")


@pytest.mark.parametrize(
    "command", [["get", " a b "], ["by-path", "no/such/path"], ["status", "nope"], ["watch", "nope"]]
)
def test_not_found(cli, command):
    run = cli(*command)
    assert run.code == 3
    assert command[-1] in run.sentence


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["get", "x" * 129], "TRACE_ID"),
        (["get", "a\nb"], "TRACE_ID"),
        (["create", "--domain", "d"], "--domain-id is required; --component is required"),
        (["update", "x", "--component", "c", "--status", "done"], "--status must be one of STARTED"),
        (["update", "x", "--component", "c", "--status", "finished"], "--outcome: a FINISHED event must say"),
        (
            ["update", "x", "--component", "c", "--expected-sequence", "7", "--attempt", "-1"],
            "--attempt must be a whole number",
        ),
        (["update", "x", "--component", "c", "--body", "[1"], "--body is not JSON"),
        (["create", "--file", "/dev/null"], "/dev/null is not JSON"),
        (["list", "--server", "https://127.0.0.1:1/?x=1"], "https://HOST"),
        (["list", "--cert", __file__], "cert and key"),
        (["list", "--server", "127.0.0.1:99999"], "--server: 127.0.0.1:99999 has no valid port"),
        (["config", "set", "a", "--server", "::1:50051"], "--server: ::1:50051 is not HOST:PORT; an IPv6 address"),
    ],
)
def test_asked_wrongly(cli, command, words):
    run = cli(*command)
    assert run.code == 2
    assert words in run.sentence


@pytest.mark.parametrize(
    "command",
    [
        ["watch"],
        ["watch", "a", "--by-path", "b"],
        ["watch", "a", "--new-only"],
        ["watch", "--by-path", "a", "--after", "1"],
        ["status", "a", "--timeout", "1"],
        ["list", "--created-after", "last week"],
        ["nope"],
    ],
)
def test_wrong_usage(offline_cli, command):
    run = offline_cli(*command)
    assert (run.code, run.out) == (2, "")
    assert "Usage: status-grpc" in run.err


@pytest.mark.parametrize(
    ("mistyped", "meant"), [(["serv"], "serve"), (["wathc", "x"], "watch"), (["config", "sett"], "set")]
)
def test_a_mistyped_command_is_answered_with_the_nearest(offline_cli, mistyped, meant):
    run = offline_cli(*mistyped)
    assert run.code == 2
    assert f"Did you mean '{meant}'?" in run.err


def test_a_field_of_a_file_keeps_its_name(cli, tmp_path):
    (tmp_path / "event.json").write_text('{"component": "c", "trace_id": "x", "trace_status": "FINISHED"}')
    run = cli("update", "--file", str(tmp_path / "event.json"))
    assert run.sentence.startswith("trace_event_status: a FINISHED event must say")


def test_a_nul_in_a_field(cli):
    run = cli("update", "--file", "-", stdin='{"trace_id": "a\\u0000b", "component": "c"}')
    assert run.code == 2
    assert "control characters" in run.sentence


def test_nobody_listens(cli):
    # Much later than any patience that this test would sit out: it is the connection that is not tried for long.
    for command in (["get", "x"], ["create", "--domain", "d", "--domain-id", "x", "--component", "c"]):
        run = cli(*command, *NOWHERE, STATUS_GRPC_TIMEOUT="3600")
        assert run.code == 5
        assert run.sentence == "The server at 127.0.0.1:1 cannot be reached: Connection refused."


@pytest.mark.parametrize("command", [["watch", "x"], ["status", "x", "--watch"], ["list", "--follow"]])
def test_what_waits_for_a_trace_keeps_trying_and_says_so_once(cli, command):
    run = cli(*command, *NOWHERE, STATUS_GRPC_OUTAGE_TIMEOUT="0.6", STATUS_GRPC_CONNECT_TIMEOUT="0.1")
    assert run.code == 5
    cause = "The server at 127.0.0.1:1 cannot be reached: Connection refused."
    assert run.err == f"{cause} Trying again for 1 s ...\nError: {cause}\n"
    if "list" not in command:
        late = cli(*command, *NOWHERE, "--timeout", "0.3")
        assert late.code == 4
        assert "It was not done within 0.3 seconds." in late.err


@pytest.mark.parametrize("command", [["watch", "x"], ["status", "x", "--watch"]])
@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_answers_in_the_place_of_the_service_ends_at_once(cli, command, status):
    class Proxy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,))
        thread.start()
        run = cli(*command, "--server", f"http://127.0.0.1:{proxy.server_address[1]}")
        proxy.shutdown()
        thread.join()
    assert run.code == 5
    assert f"HTTP {status}" in run.sentence


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:1.2.3.4:1: connect: Timed out (1)",
            "Timed out (1)",
        ),
        (
            "errors resolving x:1: [field:address lookup failed for x:1: Domain name not found].",
            "Domain name not found",
        ),
        (
            "last error: UNKNOWN: SSL_ERROR_SSL: CERTIFICATE_VERIFY_FAILED: self signed: OK",
            "its certificate is not trusted",
        ),
        ("last error: UNKNOWN: SSL_ERROR_SSL: WRONG_VERSION_NUMBER: verification: OK", "it does not speak TLS"),
        ("last error: UNAVAILABLE: ipv4:1.2.3.4:1: Socket closed", "Socket closed (without TLS; does it need --ca?)"),
    ],
)
def test_why_there_is_no_connection(words, meaning):
    failed = failure(NotConnected(words), "x:1", uses_tls=False)
    assert failed.sentence.startswith(f"The server at x:1 cannot be reached: {meaning}")
    assert failed.exit_code == 5


def test_what_listens_is_no_grpc_server(cli):
    import socket
    import threading

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        run = cli("list", "--server", f"127.0.0.1:{listener.getsockname()[1]}", STATUS_GRPC_TIMEOUT="0.5")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert run.code == 5
    assert run.sentence


def test_what_cannot_be_a_token(cli, tmp_path):
    (tmp_path / "token").write_text("\n")
    for token in (["--token-file", str(tmp_path / "token")], ["--token", "two\nlines"], ["--token", "æ"]):
        run = cli("list", *token)
        assert run.code == 5
        assert run.sentence.endswith("the token is not a line of ASCII text.")


def test_exit_codes_of_a_trace_that_is_done(cli, traces):
    trace_id = traces.create()
    traces.finish(trace_id, TraceEventStatus.FAILED)
    assert cli("watch", trace_id).code == cli("status", trace_id).code == 1
    again = ("update", trace_id, "--component", "c", "--new-run", "--status", "finished", "--outcome", "ok")
    assert cli(*again).out == f"event 3 of {trace_id}: FINISHED OK\n"
    assert cli("watch", trace_id).code == cli("status", trace_id).code == 0
    assert cli("get", trace_id).code == 0


def test_the_reader_of_a_pipe_has_enough(cli):
    for command in (["list"], ["list", "--help"]):
        with subprocess.Popen(
            [*COMMAND, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=cli.environment
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == b"Error: The output is cut short: nobody reads it any more.\n"
            assert process.wait() == 128 + signal.SIGPIPE


def test_the_reader_of_both_outputs_has_enough(cli):
    with subprocess.Popen(
        [*COMMAND, "list"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=cli.environment
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait() == 128 + signal.SIGPIPE


def test_the_disk_is_full(cli):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, "list"], stdout=full, stderr=subprocess.PIPE, env=cli.environment, check=False)
    assert done.returncode == 70
    assert done.stderr.decode() == "Error: The output cannot be written: No space left on device.\n"


def test_an_encoding_that_lacks_characters(cli, traces):
    trace_id = traces.create(user="Åse 🚲")
    run = cli("get", trace_id, PYTHONIOENCODING="ascii")
    assert "User     ?se ?\n" in run.out
    assert cli("get", trace_id, "--format", "json", PYTHONIOENCODING="ascii").json["trace"]["user"] == "Åse 🚲"


def test_the_overview_names_every_command(offline_cli):
    overview = offline_cli("--help").out
    for name in ("status", "watch", "get", "by-path", "list", "create", "update", "serve", "demo", "config", "health"):
        assert f"\n  {name} " in overview
    assert "4  not done in time" in overview


def test_the_documentation_is_what_the_code_says():
    from make_docs import DOCS, generated

    assert DOCS.read_text(encoding="utf-8").endswith(generated()), "run: python tests/cli/make_docs.py"
