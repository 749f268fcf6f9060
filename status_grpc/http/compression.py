"""gzip as connectrpc takes it, safe towards bodies that were made to keep the server busy."""

from __future__ import annotations

import gzip
import zlib

from connectrpc.code import Code
from connectrpc.errors import ConnectError

#: Answers are small, and many are streamed: more effort would cost more time than it saves bytes.
_LEVEL = 1


class Gzip:
    """One gzip member. A body of very many tiny ones, or one that unpacks to very much, is refused."""

    def name(self) -> str:
        """Return the name in the headers."""
        return "gzip"

    def compress(self, data: bytes | bytearray | memoryview) -> bytes:
        """Pack an answer."""
        return gzip.compress(data, compresslevel=_LEVEL, mtime=0)

    def decompress(self, data: bytes | bytearray | memoryview, read_max_bytes: int | None = None) -> bytes:
        """Unpack a request of at most so many bytes. Raises ConnectError."""
        most = 0 if read_max_bytes is None else read_max_bytes + 1  # 0: no limit
        unpacking = zlib.decompressobj(wbits=31)
        try:
            unpacked = unpacking.decompress(data, most)
        except zlib.error:
            raise ConnectError(Code.INVALID_ARGUMENT, "the body is not gzip, as its header says") from None
        if read_max_bytes is not None and len(unpacked) > read_max_bytes:
            raise ConnectError(Code.RESOURCE_EXHAUSTED, f"the request unpacks to more than {read_max_bytes} bytes")
        if not unpacking.eof or unpacking.unused_data:
            raise ConnectError(Code.INVALID_ARGUMENT, "the body is not one whole gzip member")
        return unpacked
