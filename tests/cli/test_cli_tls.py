"""TLS from the outside: certificates that fit, and what is said when they do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Certificates
from command_line import CommandLine, serving


@pytest.fixture(scope="module")
def cli(clean_environment: dict[str, str], server: str) -> CommandLine:
    return CommandLine({**clean_environment, "STATUS_GRPC_SERVER": server}, warm=False)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of another authority."""
    return Certificates(tmp_path_factory.mktemp("strangers"))


@pytest.fixture(scope="module", params=["TLS", "mutual TLS"])
def tls(
    request: pytest.FixtureRequest,
    certificates: Certificates,
    clean_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[CommandLine, list[str]]]:
    """A command line that knows a server with TLS, and the flags that it needs."""
    mutual = request.param == "mutual TLS"
    folder = tmp_path_factory.mktemp("tls")
    with serving(clean_environment, folder, *certificates.server_flags(asks_clients=mutual)) as address:
        flags = ["--ca", certificates.authority]
        if mutual:
            flags += ["--cert", certificates.client[0], "--key", certificates.client[1]]
        yield CommandLine(clean_environment | {"STATUS_GRPC_SERVER": address}, warm=False), flags


def test_commands_and_following_by_flags_and_by_a_context(tls, tmp_path: Path):
    cli, flags = tls
    event = ["--domain", "d", "--domain-id", "x", "--component", "c"]
    trace_id = cli("create", *event, *flags).out.strip()
    ended = cli("update", trace_id, "--component", "c", "--status", "finished", "--outcome", "ok", *flags)
    assert ended.code == 0
    assert cli("watch", trace_id, *flags).code == 0
    assert cli("health", *flags, "--format", "json").json["ready"] is True
    config = {"STATUS_GRPC_CLIENT_CONFIG": str(tmp_path / "config.toml")}
    server = cli.environment["STATUS_GRPC_SERVER"]
    assert cli("config", "set", "safe", "--server", server, *flags, **config).code == 0
    assert cli("status", trace_id, "--context", "safe", **config).code == 0
    variables = {f"STATUS_GRPC_{flag[2:].upper()}": file for flag, file in zip(flags[::2], flags[1::2], strict=True)}
    assert cli("status", trace_id, **variables).code == 0


def test_a_server_of_another_authority(tls, strangers: Certificates):
    cli, flags = tls
    for command in ("list", "health"):
        run = cli(command, *flags, "--ca", strangers.authority)
        assert run.code == 5
        assert run.sentence.endswith("its certificate is not trusted; --ca names who signed it.")


def test_without_tls(tls):
    cli, _ = tls
    for flags in ([], ["--insecure"]):
        run = cli("list", *flags)
        assert run.code == 5
        assert run.sentence.endswith("(without TLS; does it need --ca?).")


@pytest.mark.parametrize("tls", ["mutual TLS"], indirect=True)
def test_a_client_whose_certificate_is_missing_or_anothers(tls, certificates: Certificates, strangers: Certificates):
    cli, _ = tls
    authority = ["--ca", certificates.authority]
    for own in ([], ["--cert", strangers.client[0], "--key", strangers.client[1]]):
        run = cli("list", *authority, *own)
        assert run.code == 5
        assert run.sentence


def test_tls_where_there_is_none(cli, certificates: Certificates):
    run = cli("list", "--ca", certificates.authority)
    assert run.code == 5
    assert run.sentence.endswith("it does not speak TLS; --plaintext does without.")


def test_files_that_are_no_certificates(cli, certificates: Certificates):
    for flags in (["--ca", __file__], ["--cert", certificates.client[0], "--key", certificates.server[1]]):
        run = cli("list", "--ca", certificates.authority, *flags)
        assert run.code == 5
        assert "--ca, --cert and --key" in run.sentence
