from __future__ import annotations

import contextlib
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from status_grpc.client.options import ClientOptions, ReportingOptions, client_options, is_local, reporting_options


def test_arguments_count_before_variables_and_those_before_defaults():
    environment = {"STATUS_GRPC_SERVER": "status.example:1", "STATUS_GRPC_TIMEOUT": "7.5"}
    options = client_options({"server": "other.example:2", "token": None}, environment)
    assert (options.server, options.timeout, options.token) == ("other.example:2", 7.5, None)
    assert client_options({}, {}) == ClientOptions()


def test_every_option_is_also_a_variable():
    environment = {
        "STATUS_GRPC_SERVER": "status.example:443",
        "STATUS_GRPC_TOKEN": "secret",
        "STATUS_GRPC_TOKEN_FILE": "token",
        "STATUS_GRPC_CA": "ca.pem",
        "STATUS_GRPC_CERT": "cert.pem",
        "STATUS_GRPC_KEY": "key.pem",
        "STATUS_GRPC_PLAINTEXT": "no",
        "STATUS_GRPC_TIMEOUT": "1",
        "STATUS_GRPC_CONNECT_TIMEOUT": "0.5",
        "STATUS_GRPC_ATTEMPT_TIMEOUT": "2",
        "STATUS_GRPC_SILENCE_TIMEOUT": "3",
        "STATUS_GRPC_OUTAGE_TIMEOUT": "4",
    }
    assert client_options({}, environment) == ClientOptions(
        server="status.example:443",
        token="secret",
        token_file="token",
        ca="ca.pem",
        cert="cert.pem",
        key="key.pem",
        plaintext=False,
        timeout=1,
        connect_timeout=0.5,
        attempt_timeout=2,
        silence_timeout=3,
        outage_timeout=4,
    )
    reporting = reporting_options({}, {"STATUS_GRPC_REPORTING": "off", "STATUS_GRPC_FLUSH_TIMEOUT": "0.5"})
    assert (reporting.reporting, reporting.flush_timeout) == (False, 0.5)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"STATUS_GRPC_TIMEOUT": "soon"}, "STATUS_GRPC_TIMEOUT"),
        ({"STATUS_GRPC_PLAINTEXT": "perhaps"}, "STATUS_GRPC_PLAINTEXT"),
        ({"STATUS_GRPC_TIMEOUT": "0"}, "STATUS_GRPC_TIMEOUT"),
        ({"STATUS_GRPC_TIMEOUT": "inf"}, "STATUS_GRPC_TIMEOUT"),
        ({"STATUS_GRPC_TIMEOUT": "nan"}, "STATUS_GRPC_TIMEOUT"),
        ({"STATUS_GRPC_SERVER": "127.0.0.1:99999"}, "STATUS_GRPC_SERVER: 127.0.0.1:99999 has no valid port"),
        ({"STATUS_GRPC_CERT": "cert.pem"}, "cert and key"),
        ({"STATUS_GRPC_CA": "ca.pem", "STATUS_GRPC_PLAINTEXT": "1"}, "plaintext"),
        ({"STATUS_GRPC_SERVER": "http://status.example"}, "plaintext"),
    ],
)
def test_what_cannot_be_is_refused_by_name(environment: dict[str, str], named: str):
    with pytest.raises(ValueError, match=named):
        client_options({}, environment)


@pytest.mark.parametrize(
    "server",
    ["x:0", "x:65536", "x:", "x:http", "::1:50051", "[::1:50051", "[x]:1", ":50051", "dns:///x:99999", "a b:1", "x:１"],
)
def test_a_server_that_is_no_address_is_refused(server: str):
    with pytest.raises(ValueError, match="server: "):
        client_options({"server": server}, {})


@pytest.mark.parametrize(
    "server",
    [
        "localhost:50051",
        "[::1]:50051",
        "status.example",
        "dns:///status.example:443",
        "dns://10.0.0.1/status.example:443",
        "ipv4:10.0.0.1:50051,10.0.0.2:50051",
        "unix:/run/status.sock",
        "xds:///status",
    ],
)
def test_every_target_that_grpc_knows_is_taken(server: str):
    assert client_options({"server": server}, {}).server == server


def test_no_variable_means_one_thing_to_a_client_and_another_to_a_server():
    from status_grpc.server.settings import Settings

    ours = {field.name for kind in (ClientOptions, ReportingOptions) for field in fields(kind)}
    assert not ours & set(Settings.model_fields)
    assert client_options({}, {"STATUS_GRPC_INSECURE": "true", "STATUS_GRPC_SERVER": "away:1"}).uses_tls


@pytest.mark.parametrize(
    ("server", "local"),
    [
        ("127.0.0.1:50051", True),
        ("localhost:1", True),
        ("[::1]:50051", True),
        ("dns:///localhost:50051", True),
        ("ipv4:127.0.0.9:1", True),
        ("ipv4:127.0.0.1:1,127.0.0.1:2", True),
        ("ipv4:127.0.0.1:1,10.0.0.1:2", False),
        ("unix:/run/status.sock", True),
        ("127.0.0.1.evil.example:50051", False),
        ("localhost.example:50051", False),
        ("dns://8.8.8.8/localhost.example:1", False),
        ("10.0.0.1:50051", False),
        ("status.example", False),
    ],
)
def test_no_tls_only_on_this_host_unless_told(server: str, local: bool):
    assert is_local(server) is local
    assert ClientOptions(server=server).uses_tls is not local
    assert not ClientOptions(server=server, plaintext=True).uses_tls
    assert ClientOptions(server=server, plaintext=False).uses_tls


@given(st.dictionaries(st.sampled_from(["TIMEOUT", "PLAINTEXT", "SERVER", "CA"]), st.text(max_size=8)))
def test_any_environment_gives_options_or_a_value_error(environment: dict[str, str]):
    with contextlib.suppress(ValueError):
        client_options({}, {f"STATUS_GRPC_{name}": value for name, value in environment.items()})
