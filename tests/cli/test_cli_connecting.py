"""How commands find their server: flags, variables, contexts; and the commands about that."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import pytest
from command_line import CommandLine

from status_grpc.cli.connecting import _complete
from status_grpc.cli.contexts import Context, Contexts, save_contexts

NOTHING: dict[str, object] = dict.fromkeys(("server", "token", "token_file", "ca", "cert", "key", "plaintext"))


@pytest.fixture
def own_config(clean_environment, tmp_path) -> CommandLine:
    """A command line with contexts of its own, and no server beside them."""
    return CommandLine(clean_environment | {"STATUS_GRPC_CLIENT_CONFIG": str(tmp_path / "folder" / "config.toml")})


def test_contexts_are_kept_and_used(own_config, server, tmp_path):
    assert own_config("config", "list", "--format", "json").json == {"current": None, "contexts": {}}
    assert own_config("config", "set", "first").sentence == "The new context 'first' needs a --server."
    (tmp_path / "token").write_text("secret")
    own_config("config", "set", "elsewhere", "--server", "127.0.0.1:1", "--token-file", str(tmp_path / "token"))
    own_config("config", "set", "here", "--server", server)
    assert own_config("health").code == 5, "the first one is used at once"
    assert own_config("health", "--context", "here").code == 0
    assert own_config("config", "use", "here").code == 0
    assert own_config("health").code == 0
    assert "*       here       " in own_config("config", "list").out
    assert own_config("config", "remove", "here").code == 0
    assert own_config("config", "list", "--format", "json").json == {
        "current": None,
        "contexts": {"elsewhere": {"server": "127.0.0.1:1", "token_file": str(tmp_path / "token")}},
    }
    unknown = own_config("list", "--context", "here")
    assert (unknown.code, "there is: elsewhere" in unknown.sentence) == (2, True)


def test_a_file_of_contexts_that_cannot_be_read(own_config):
    path = Path(own_config("config", "path").out.strip())
    path.parent.mkdir()
    for content in ("nonsense", "[contexts.a]\nca = 3", '[contexts.a]\nserver = "a"\nnew = 1'):
        path.write_text(content)
        run = own_config("list")
        assert run.code == 2
        assert str(path) in run.sentence


@pytest.fixture
def environment(monkeypatch, tmp_path) -> pytest.MonkeyPatch:
    """No variables but a file of contexts, in which the first is in use."""
    for name in ("SERVER", "TOKEN", "TOKEN_FILE", "CONTEXT", "CA"):
        monkeypatch.delenv(f"STATUS_GRPC_{name}", raising=False)
    monkeypatch.setenv("STATUS_GRPC_CLIENT_CONFIG", str(tmp_path / "config.toml"))
    used = Context("used:1", token_file="used-token", ca="used-ca", plaintext=False)
    save_contexts(Contexts({"used": used, "other": Context("other:1", token_file="other-token")}, current="used"))
    return monkeypatch


def test_what_counts_before_what(environment):
    assert _complete(NOTHING, None) == {
        "server": "used:1",
        "token_file": "used-token",
        "ca": "used-ca",
        "plaintext": False,
    }
    assert _complete(NOTHING | {"token": "t", "ca": "c"}, "other") == {"token": "t", "ca": "c", "server": "other:1"}
    environment.setenv("STATUS_GRPC_TOKEN", "from-environment")
    assert _complete(NOTHING, None) == {"server": "used:1", "token": None, "ca": "used-ca", "plaintext": False}
    assert _complete(NOTHING, "other") == {"server": "other:1", "token_file": "other-token"}


def test_the_token_of_a_context_goes_to_its_server_only(environment):
    assert _complete(NOTHING | {"server": "mine:1"}, None) == {"server": "mine:1"}
    environment.setenv("STATUS_GRPC_SERVER", "environment:1")
    assert _complete(NOTHING, None) == {"server": None}
    environment.setenv("STATUS_GRPC_TOKEN_FILE", "environment-token")
    assert _complete(NOTHING, None) == {"server": None, "token_file": None}, "the client reads it"


class _Recorder(grpc.GenericRpcHandler):
    """A server that refuses every call, and remembers with which credentials it came."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        self.seen.append(dict(details.invocation_metadata).get("authorization"))

        def refuse(_: object, context: grpc.ServicerContext) -> None:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token has expired")

        return grpc.unary_unary_rpc_method_handler(refuse)


def test_a_token_is_sent_and_refused(offline_cli, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    recorder = _Recorder()
    with ThreadPoolExecutor(1) as executor:
        server = grpc.server(executor, handlers=[recorder])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        (tmp_path / "token").write_text(" secret\n")
        run = offline_cli("list", "--server", f"127.0.0.1:{port}", "--token-file", str(tmp_path / "token"))
        server.stop(None).wait()
    assert recorder.seen == ["Bearer secret"]
    assert (run.code, run.sentence) == (5, f"Not let in at 127.0.0.1:{port}: the token has expired.")


def test_health(cli, server):
    assert cli("health", "--format", "json").json | {"milliseconds": 0} == {
        "server": server,
        "alive": True,
        "ready": True,
        "milliseconds": 0,
    }
    assert cli("health", "--server", "127.0.0.1:1").code == 5


def test_completion_and_version(offline_cli):
    for shell in ("bash", "zsh", "fish"):
        assert "_STATUS_GRPC_COMPLETE" in offline_cli("completion", shell).out
    environment = {"_STATUS_GRPC_COMPLETE": "bash_complete", "COMP_WORDS": "status-grpc wat", "COMP_CWORD": "1"}
    assert offline_cli(**environment).out == "plain,watch\n"
    assert {"status-grpc", "grpcio"} <= set(offline_cli("version", "--format", "json").json)


def test_events_in_bulk(cli, traces, tmp_path):
    trace_id, finished = traces.create(), traces.create()
    lines = [{"trace_id": trace_id, "component": "c", "status_body": {"number": number}} for number in range(1200)]
    lines[7] = {"trace_id": trace_id, "component": "c", "colour": "red"}
    lines[9] = {"trace_id": finished, "component": "c", "trace_status": "FINISHED"}
    lines[11] = lines[10]
    path = tmp_path / "events.ndjson"
    path.write_text("\n".join([json.dumps(line) for line in lines] + ["", "{"]))
    first = cli("update", "--bulk", str(path))
    assert (first.code, first.err) == (2, "1198 events are recorded, 3 are not.\n")
    assert [(line["line"], line["error"]) for line in first.json_lines] == [
        (8, "colour is not a field of an event"),
        (10, "trace_event_status: a FINISHED event must say whether it is OK or FAILED"),
        (1202, "is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    ]
    again = cli("update", "--bulk", str(path), "--format", "json").json
    assert (again["recorded"], len(again["failed"])) == (1198, 3)
    assert traces.client.get_trace(trace_id).trace.event_count == 1199, "1 by create, the file's once"
    report = first.out.replace('"FINISHED"', '"FINISHED", "trace_event_status": "OK"').replace("colour", "user")
    assert cli("update", "--bulk", "-", stdin=report).err == "2 events are recorded, 1 are not.\n"
    assert traces.client.get_trace(finished).trace.done


def test_events_in_bulk_that_nobody_takes(cli, traces):
    events = "".join(json.dumps({"trace_id": "t", "component": f"c{number}"}) + "\n" for number in range(600))
    run = cli("update", "--bulk", "-", "--server", "127.0.0.1:1", stdin=events, STATUS_GRPC_TIMEOUT="0.3")
    assert run.code == 5
    assert len({line["event"]["trace_event_id"] for line in run.json_lines}) == 600
