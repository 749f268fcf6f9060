"""etcd, the well-known store that can be watched: started for a run when it is installed (Debian: etcd-server).

It writes through to the disk like the service does. The few messages that are needed are put together by hand; their
fields are those of etcd's rpc.proto (https://etcd.io/docs/v3.4/learning/api/).
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen

import grpc

from status_grpc.wire.framing import embedded
from tests.ports import free_ports

PUT, TXN, WATCH = "/etcdserverpb.KV/Put", "/etcdserverpb.KV/Txn", "/etcdserverpb.Watch/Watch"


class Etcd:
    """A running etcd."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = grpc.insecure_channel(address)

    def revision(self) -> int:
        """The number of changes so far; makes one more to find out."""
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(
            PUT, request_serializer=None, response_deserializer=None
        )
        header = _fields(_fields(call(put(b"revision", b"?"), timeout=30))[1])
        return header[3]

    def close(self) -> None:
        self._channel.close()


@contextmanager
def started() -> Iterator[Etcd | None]:
    """A new etcd; None where there is none."""
    program = shutil.which("etcd")
    if program is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="status-grpc-bench-"))
    client = free_ports(2)
    peer = client + 1
    client_url, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    options = {
        "data-dir": folder / "data",
        "listen-client-urls": client_url,
        "advertise-client-urls": client_url,
        "listen-peer-urls": peer_url,
        "initial-advertise-peer-urls": peer_url,
        "initial-cluster": f"default={peer_url}",
        "log-level": "error",
        "quota-backend-bytes": 8 << 30,
    }
    process = Popen(
        [program, *[f"--{name}={value}" for name, value in options.items()]], stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        etcd = Etcd(f"127.0.0.1:{client}")
        _wait(etcd)
        yield etcd
        etcd.close()
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def put(key: bytes, value: bytes) -> bytes:
    """A PutRequest."""
    return embedded(1, key) + embedded(2, value)


def txn(puts: list[bytes]) -> bytes:
    """A TxnRequest that makes these puts."""
    return b"".join(embedded(2, embedded(2, one)) for one in puts)


def watch(key: bytes) -> bytes:
    """A WatchRequest."""
    return embedded(1, embedded(1, key))


def _fields(message: bytes) -> dict[int, int | bytes]:
    """The fields of a message by number; only varints and what has a length."""
    found: dict[int, int | bytes] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value, at = _varint(message, at)
        if tag & 7 == 2:
            found[tag >> 3] = message[at : at + value]
            at += value
        else:
            found[tag >> 3] = value
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _wait(etcd: Etcd, patience: float = 30) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            etcd.revision()
            return
        except grpc.RpcError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
