"""Commands whose server is a URL: the HTTP edge, for where gRPC does not get through."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from certificates import Certificates
from command_line import CommandLine, serving


@pytest.fixture(scope="module")
def cli(clean_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    folder = tmp_path_factory.mktemp("http")
    with serving(clean_environment, folder, "--http", "127.0.0.1:0", "--http-prefix", "/status-api") as url:
        assert url.startswith("http://")
        yield CommandLine(clean_environment | {"STATUS_GRPC_SERVER": f"{url}/status-api"})


def test_a_run_is_reported_watched_and_found(cli: CommandLine) -> None:
    event = ["--domain", "d", "--domain-id", "x/1", "--component", "c"]
    trace_id = cli("create", *event, "--path", "raw/x").out.strip()
    assert cli("update", trace_id, "--component", "v", "--error", "en", "Row 3 has no price").code == 0
    assert cli("update", trace_id, "--component", "c", "--status", "finished", "--outcome", "failed").code == 0
    watched = cli("watch", trace_id)
    assert watched.code == 1
    assert "v said: Row 3 has no price" in watched.out
    assert cli("status", trace_id, "--format", "json").json["trace_event_status"] == "FAILED"
    assert trace_id in cli("by-path", "raw/x").out
    assert trace_id in cli("list").out
    unknown = cli("status", "nobody's")
    assert (unknown.code, unknown.sentence) == (3, 'There is no trace "nobody\'s".')


def test_health_asks_over_http(cli: CommandLine) -> None:
    told = cli("health", "--format", "json")
    assert (told.code, told.json["alive"], told.json["ready"]) == (0, True, True)


def test_what_cannot_be_reached_or_is_something_else(cli: CommandLine) -> None:
    for command in ("health", "list"):
        nobody = cli(command, "--server", "http://127.0.0.1:1")
        assert (nobody.code, "cannot be reached" in nobody.sentence) == (5, True)
        elsewhere = cli(command, "--server", f"{cli.environment['STATUS_GRPC_SERVER']}/elsewhere")
        assert (elsewhere.code, "is not status-grpc" in elsewhere.sentence) == (5, True)
        away = cli(command, "--server", "http://status.example")
        assert (away.code, "--plaintext" in away.sentence or "plaintext" in away.sentence) == (2, True)


def test_certificates(clean_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("https")
    certificates = Certificates(folder / "ours")
    flags = [*certificates.server_flags(asks_clients=False), "--http", "127.0.0.1:0"]
    with serving(clean_environment, folder, *flags) as url:
        assert url.startswith("https://")
        cli = CommandLine(clean_environment | {"STATUS_GRPC_SERVER": url})
        for command in ("health", "list"):
            assert cli(command, "--ca", certificates.authority).code == 0
            stranger = cli(command)
            assert stranger.code == 5
            assert stranger.sentence.endswith("its certificate is not trusted; --ca names who signed it.")


def test_grpc_is_not_loaded(cli: CommandLine) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "status_grpc.cli.main", "list"]
    done = subprocess.run(command, env=cli.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "http.client" in modules
    assert not {"grpc", "asyncio", "grpc._cython"} & modules
