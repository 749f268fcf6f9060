"""Loader of the server's TLS files."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from status_grpc.server.settings import Settings, SettingsError

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_PRIVATE_KEY = b"PRIVATE KEY-----"


def server_credentials(settings: Settings) -> grpc.ServerCredentials:
    """Return the credentials to listen with.

    Raises SettingsError, which names the file that cannot be used.
    """
    assert settings.tls_cert is not None
    assert settings.tls_key is not None
    certificate = _read("--tls-cert", settings.tls_cert, _CERTIFICATE, "certificate")
    key = _read("--tls-key", settings.tls_key, _PRIVATE_KEY, "private key")
    client_ca = None
    if settings.tls_client_ca is not None:
        client_ca = _read("--tls-client-ca", settings.tls_client_ca, _CERTIFICATE, "certificate")
    _check(settings)
    return grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=client_ca, require_client_auth=client_ca is not None
    )


def _read(flag: str, path: Path, marker: bytes, what: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{flag} {path}: {error.strerror}") from error
    if marker not in content:
        raise SettingsError(f"{flag} {path}: the file holds no {what} in PEM form")
    return content


def _check(settings: Settings) -> None:
    """Check the files with OpenSSL, because gRPC gives no cause. Raises SettingsError."""
    assert settings.tls_cert is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # The password is one that no key has: OpenSSL would ask for it at the terminal.
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password=lambda: "")
    except ssl.SSLError as error:
        files = f"--tls-cert {settings.tls_cert} and --tls-key {settings.tls_key}"
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SettingsError(f"{files}: the key is not that of the certificate") from error
        raise SettingsError(f"{files} cannot be used, or the key has a password: {_reason(error)}") from error
    if settings.tls_client_ca is None:
        return
    try:
        context.load_verify_locations(settings.tls_client_ca)
    except ssl.SSLError as error:
        raise SettingsError(f"--tls-client-ca {settings.tls_client_ca} cannot be used: {_reason(error)}") from error


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")
