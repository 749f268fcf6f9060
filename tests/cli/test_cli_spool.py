"""The command `status-grpc spool`."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from command_line import CommandLine

AWAY = "127.0.0.1:9"


@pytest.fixture
def cli(cli: CommandLine, tmp_path: Path) -> CommandLine:
    """The command line with a spool of the test's own."""
    return CommandLine({**cli.environment, "XDG_STATE_HOME": str(tmp_path), "STATUS_GRPC_FLUSH_TIMEOUT": "0.3"})


def report(cli: CommandLine, trace_id: str, server: str = AWAY, **environment: str) -> str:
    """Report a step to a server that cannot be reached. Return standard error."""
    ended = cli("run", "--trace-id", trace_id, "--", "true", STATUS_GRPC_SERVER=server, **environment)
    assert ended.code == 0
    return ended.err


def test_run_says_where_its_events_are_kept(cli, tmp_path):
    (told,) = [line for line in report(cli, "t").splitlines() if "kept in" in line]
    assert told.startswith(f"status-grpc: 2 events for {AWAY} are kept in {tmp_path}/status-grpc/spool until the next")
    assert told.endswith("`status-grpc spool deliver`, delivers them")


def test_a_command_that_a_signal_ends_says_it_too(cli):
    ended = cli("run", "--trace-id", "t", "--", "sh", "-c", "kill -TERM $$", STATUS_GRPC_SERVER=AWAY)
    assert "2 events for" in ended.err


def test_run_keeps_nothing_for_a_server_that_nobody_chose(offline_cli, tmp_path):
    environment = {"XDG_STATE_HOME": str(tmp_path), "STATUS_GRPC_REPORTING": "off"}
    assert offline_cli("run", "--trace-id", "t", "--", "true", **environment).code == 0
    shown = offline_cli("spool", **environment)
    assert (shown.code, shown.out) == (0, f"Nothing waits in {tmp_path}/status-grpc/spool.\n")


def test_a_context_is_a_server_that_was_chosen(offline_cli, tmp_path):
    environment = {"XDG_STATE_HOME": str(tmp_path), "STATUS_GRPC_CLIENT_CONFIG": str(tmp_path / "config.toml")}
    assert offline_cli("config", "set", "away", "--server", AWAY, **environment).code == 0
    offline_cli("run", "--trace-id", "t", "--", "true", STATUS_GRPC_FLUSH_TIMEOUT="0.3", **environment)
    (waiting,) = offline_cli("spool", "--format", "json", **environment).json["servers"]
    assert (waiting["server"], waiting["events"]) == (AWAY, 2)


def test_it_shows_what_waits_for_whom(cli, tmp_path):
    report(cli, "t")
    report(cli, "t", server="127.0.0.1:19")
    shown = cli("spool", "--format", "json").json
    assert shown["folder"] == f"{tmp_path}/status-grpc/spool"
    assert [(each["server"], each["events"], each["refused"], each["in_use"]) for each in shown["servers"]] == [
        (AWAY, 2, 0, 0),
        ("127.0.0.1:19", 2, 0, 0),
    ]
    assert all(each["bytes"] > 100 and 0 <= each["age_seconds"] < 600 for each in shown["servers"])
    table = cli("spool").out.splitlines()
    assert table[0].split() == ["Server", "Events", "Refused", "In", "use", "Bytes", "Oldest"]
    assert table[1].split()[:2] == [AWAY, "2"]


def test_deliver_needs_the_server_back(cli, traces, server, tmp_path):
    trace_id = f"spooled-{uuid.uuid4()}"
    report(cli, trace_id)
    ended = cli("spool", "deliver", STATUS_GRPC_SERVER=AWAY)
    place = f"{tmp_path}/status-grpc/spool"
    assert ended.code == 5
    assert ended.out.startswith(f"2 events remain for {AWAY} in {place}: The server at {AWAY} cannot be reached")
    ended = cli("spool", "deliver")
    assert (ended.code, ended.out) == (
        0,
        f"Nothing waits for {server}.\n2 events remain for other servers ({AWAY}); see --all.\n",
    )


def test_deliver_says_what_the_server_refuses_and_tries_it_again(cli, traces, server):
    trace_id = f"late-{uuid.uuid4()}"
    told = cli("run", "--trace-id", trace_id, "--", "true").err
    assert f"2 events for {server} are kept in" in told
    ended = cli("spool", "deliver")
    assert ended.code == 5
    assert ended.out.startswith(f"2 events remain for {server} in ")
    assert ended.out.endswith(f"There is no trace '{trace_id}'.\n")
    (waiting,) = cli("spool", "--format", "json").json["servers"]
    assert (waiting["events"], waiting["refused"]) == (2, 2)
    traces.create(trace_id=trace_id)
    ended = cli("spool", "deliver", "--format", "json")
    assert ended.code == 0
    assert ended.json["servers"] == [
        {"server": server, "delivered": 2, "lost": 0, "remaining": 0, "in_use": 0, "reason": ""}
    ]
    assert len(traces.client.get_trace(trace_id).events) == 3
    assert cli("spool", "deliver").out == f"Nothing waits for {server}.\n"


def test_a_folder_can_be_named(cli, tmp_path):
    report(cli, "t", STATUS_GRPC_SPOOL=str(tmp_path / "other"))
    assert cli("spool", "--folder", tmp_path / "other", "--format", "json").json["servers"][0]["events"] == 2
    assert cli("spool", STATUS_GRPC_SPOOL=str(tmp_path / "other")).out.count(AWAY) == 1
    assert cli("spool").out.startswith("Nothing waits in")


@pytest.mark.parametrize("arguments", [["--server", "s:1"], ["--token", "x"], ["--context", "x"]])
def test_all_servers_take_no_credentials_of_one(cli, arguments):
    ended = cli("spool", "deliver", "--all", *arguments)
    assert (ended.code, ended.out) == (2, "")


def test_a_spool_that_is_off_is_none(cli):
    assert cli("spool", STATUS_GRPC_SPOOL="off").sentence == "There is no spool here: --folder names one."
