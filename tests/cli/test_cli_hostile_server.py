"""No command lets escape sequences of a server through to the terminal."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
from command_line import COMMAND, CommandLine
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from terminal import Terminal
from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1.status_service_pb2_grpc import StatusServiceServicer, add_StatusServiceServicer_to_server

EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[31m\r\x9b31m\x7f\u202egpj.exe\u2066\u2028next"
STEERS = {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), *"\u2028\u202e\u2066"} - {"\n"}
#: Fields whose values steer the client, not the terminal.
KEPT = {"next_page_token"}


def filled(kind: type[Message], depth: int = 6) -> Any:
    """Return a message with EVIL in every text."""
    message = kind()
    for field in message.DESCRIPTOR.fields:
        if field.name in KEPT or (field.message_type and (depth == 0 or "google" in field.message_type.full_name)):
            continue
        if field.message_type and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)["en"] = EVIL
            continue
        value: Any = 1
        if field.message_type:
            value = filled(field.message_type._concrete_class, depth - 1)
        elif field.enum_type:
            value = field.enum_type.values[-1].number
        elif field.type == field.TYPE_STRING:
            value = EVIL
        if field.is_repeated:
            getattr(message, field.name).append(value)
        elif field.message_type:
            getattr(message, field.name).CopyFrom(value)
        else:
            setattr(message, field.name, value)
    return message


class Evil(StatusServiceServicer):
    """Answers every call with EVIL, or fails with it."""

    code: grpc.StatusCode | None = None

    def _fail(self, context: Any) -> None:
        if self.code is not None:
            status = status_pb2.Status(code=self.code.value[0], message=EVIL)
            info = error_details_pb2.ErrorInfo(reason=EVIL, domain="status-grpc", metadata={"incident": EVIL})
            status.details.add().Pack(info)
            violation = error_details_pb2.BadRequest.FieldViolation(field=EVIL, description=EVIL)
            status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            context.abort(self.code, EVIL)

    def _answer(self, kind: type[Message]) -> Any:
        def answer(_request: Any, context: Any) -> Message:
            self._fail(context)
            return filled(kind)

        return answer

    def __init__(self) -> None:
        for method in pb.DESCRIPTOR.services_by_name["StatusService"].methods:
            if not method.server_streaming:
                setattr(self, method.name, self._answer(method.output_type._concrete_class))

    def StreamTrace(self, _request: Any, context: Any) -> Iterator[pb.StreamTraceResponse]:
        self._fail(context)
        event, end = filled(pb.StreamTraceResponse), filled(pb.StreamTraceResponse)
        end.ClearField("event")
        end.checkpoint.CopyFrom(filled(pb.Checkpoint))
        event.event.CopyFrom(filled(type(event.event)))
        yield event
        yield end


@pytest.fixture(scope="module")
def evil() -> Iterator[tuple[Evil, str]]:
    service = Evil()
    server = grpc.server(ThreadPoolExecutor(8))
    add_StatusServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service, f"127.0.0.1:{port}"
    server.stop(None).wait()


READ = [
    ["status", "x"],
    ["status", "x", "--history"],
    ["status", "x", "--format", "json"],
    ["status", "x", "--format", "csv"],
    ["watch", "x", "--plain"],
    ["watch", "x", "--format", "jsonl"],
    ["get", "x"],
    ["get", "x", "--format", "json"],
    ["by-path", "x"],
    ["list"],
    ["list", "--format", "jsonl"],
    ["lineage", "x"],
    ["lineage", "x", "--format", "dot"],
    ["lineage", "x", "--format", "mermaid"],
    ["lineage", "x", "--format", "svg"],
    ["create", "--domain", "d", "--domain-id", "x", "--component", "c"],
    ["update", "x", "--component", "c"],
    ["update", "x", "--component", "c", "--format", "json"],
]


def harmless(cli: CommandLine, address: str, command: list[str]) -> str:
    run = cli(*command, "--server", address, STATUS_GRPC_TIMEOUT="0.5", STATUS_GRPC_FLUSH_TIMEOUT="0.3")
    assert run.code in range(6), run
    assert not STEERS & set(run.out + run.err), (command, run)
    return run.out + run.err


def test_escapes_in_every_field_reach_no_terminal(offline_cli: CommandLine, evil: tuple[Evil, str]) -> None:
    service, address = evil
    service.code = None
    for command in READ:
        assert "owned" in harmless(offline_cli, address, command), command


def test_live_view_of_a_hostile_server_steers_nothing(offline_cli: CommandLine, evil: tuple[Evil, str]) -> None:
    service, address = evil
    service.code = None
    environment = offline_cli.environment | {"TERM": "xterm-256color", "STATUS_GRPC_SERVER": address}
    terminal = Terminal([*COMMAND, "watch", "x"], environment)
    terminal.end()
    assert "owned" in terminal.output
    assert "\x1b]" not in terminal.output
    assert not {"\x07", "\x9b", "\x7f", "\u202e", "\u2066", "\u2028"} & set(terminal.output)


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "NOT_FOUND", "UNAUTHENTICATED", "INTERNAL", "UNIMPLEMENTED"])
def test_error_of_a_hostile_server_steers_nothing(offline_cli: CommandLine, evil: tuple[Evil, str], code: str) -> None:
    service, address = evil
    service.code = grpc.StatusCode[code]
    for command in (["status", "x"], ["list"], ["create", "--domain", "d", "--domain-id", "x", "--component", "c"]):
        assert "owned" in harmless(offline_cli, address, command), command
    # The library warns that events wait or are refused: by the logger, which without a handler writes to stderr.
    if code in ("INVALID_ARGUMENT", "INTERNAL"):
        harmless(offline_cli, address, ["run", "--domain", "d", "--domain-id", "x", "--", "true"])


ANSWERS = {
    "page": b"HTTP/1.1 500 %s\r\nServer: %s\r\nContent-Length: 60\r\n\r\n" + EVIL.encode().ljust(60),
    "reason": b"HTTP/1.1 503 %s\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n",
    "status": b"HTTP/1.1 %s\r\n%s\r\n\r\n",
    "error": b'HTTP/1.1 500 x\r\n%s: %s\r\nContent-Length: 85\r\n\r\n{"code": "internal", "message": '
    b'"\\u001b]0;owned\\u0007\\u001b[2J\\u009b31m\\u202egpj.exe"}',
}


@pytest.mark.parametrize("what", ANSWERS)
def test_http_error_of_a_hostile_server_steers_nothing(offline_cli: CommandLine, what: str) -> None:
    evil = EVIL.replace("\r", "").encode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", "0")))
            self.wfile.write(ANSWERS[what].replace(b"%s", evil))
            self.close_connection = True

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        for command in (["status", "x"], ["health"], ["watch", "x", "--plain", "--timeout", "2"]):
            harmless(offline_cli, f"http://127.0.0.1:{server.server_address[1]}", command)
        server.shutdown()


def test_error_of_a_megabyte_is_shortened(offline_cli: CommandLine) -> None:
    body = b'{"code": "internal", "message": "' + b"x" * 1_000_000 + b'"}'

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", "0")))
            self.wfile.write(b"HTTP/1.1 500 x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        text = harmless(offline_cli, f"http://127.0.0.1:{server.server_address[1]}", ["status", "x"])
        server.shutdown()
    assert 4000 < len(text) < 4100
