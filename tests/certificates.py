"""Certificates for tests of TLS: an authority, and what it has signed, as PEM files."""

from __future__ import annotations

from pathlib import Path

import trustme


class Certificates:
    """An authority, and the certificates and keys of a server on 127.0.0.1 and of a client, in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._ca = trustme.CA()
        self.authority = str(folder / "ca.pem")
        self._ca.cert_pem.write_to_path(self.authority)
        self.server = self._signed("server", "127.0.0.1")
        self.client = self._signed("client", "client@example.org")

    def _signed(self, name: str, identity: str) -> tuple[str, str]:
        certificate = self._ca.issue_cert(identity)
        chain, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.private_key_pem.write_to_path(str(key))
        chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        return str(chain), str(key)

    def server_flags(self, *, asks_clients: bool) -> list[str]:
        """Return what to start a server with; `asks_clients`: they need a certificate, too."""
        flags = ["--tls-cert", self.server[0], "--tls-key", self.server[1]]
        return [*flags, "--tls-client-ca", self.authority] if asks_clients else flags
