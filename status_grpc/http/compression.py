"""gzip, safe towards bodies that were made to keep the server busy."""

from __future__ import annotations

import gzip
import zlib

from connectrpc.code import Code
from connectrpc.errors import ConnectError

#: Answers are small, and many are streamed: more effort would cost more time than it saves bytes.
_LEVEL = 1


class CannotUnpack(Exception):
    """A body that is not what its header says, or `too_large`; the message says so."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large


def unpack(data: bytes | bytearray | memoryview, most_bytes: int) -> bytes:
    """Return what a gzip body holds. Raises CannotUnpack.

    It must be one member: very many tiny ones are made to keep a server busy.
    """
    unpacking = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacking.decompress(data, most_bytes + 1)
    except zlib.error:
        raise CannotUnpack("the body is not gzip, as its header says") from None
    if len(unpacked) > most_bytes:
        raise CannotUnpack(f"the body unpacks to more than {most_bytes} bytes", too_large=True)
    if not unpacking.eof or unpacking.unused_data:
        raise CannotUnpack("the body is not one whole gzip member")
    return unpacked


class Gzip:
    """gzip as connectrpc takes it."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes

    def name(self) -> str:
        """Return the name in the headers."""
        return "gzip"

    def compress(self, data: bytes | bytearray | memoryview) -> bytes:
        """Pack an answer."""
        return gzip.compress(data, compresslevel=_LEVEL, mtime=0)

    def decompress(self, data: bytes | bytearray | memoryview, read_max_bytes: int | None = None) -> bytes:
        """Unpack a request. Raises ConnectError."""
        try:
            return unpack(data, self._most_bytes)
        except CannotUnpack as error:
            code = Code.RESOURCE_EXHAUSTED if error.too_large else Code.INVALID_ARGUMENT
            raise ConnectError(code, str(error)) from None
