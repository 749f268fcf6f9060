"""Load generator for HTTP/1.1 with one request at a time per connection."""

import asyncio
import re
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks.load.base import Outcome, Trail
from benchmarks.processes import Line

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Posts:
    """POST requests to one path, over one connection per body."""

    url: str
    path: str
    content_type: str
    bodies: tuple[bytes, ...]
    calls: int


async def post(_line: Line, job: Posts) -> Outcome:
    """Make the requests, in a worker. A status other than 200 counts as failed."""
    where = urlsplit(job.url)
    each = max(1, job.calls // len(job.bodies))
    cpu = time.process_time()
    trails = await asyncio.gather(
        *(_repeat(where.hostname, where.port, _request(job, body), each) for body in job.bodies)
    )
    return Outcome(list(trails), time.process_time() - cpu)


def _request(job: Posts, body: bytes) -> bytes:
    head = f"POST {job.path} HTTP/1.1\r\nHost: {urlsplit(job.url).netloc}\r\nContent-Type: {job.content_type}\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


async def _repeat(host: str | None, port: int | None, request: bytes, calls: int) -> Trail:
    reader, writer = await asyncio.open_connection(host, port)
    trail = Trail([], [])
    for _ in range(calls):
        started = time.monotonic()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        await _skip_body(reader, head)
        trail.starts.append(started)
        trail.durations.append(time.monotonic() - started)
        trail.failed += not head.startswith(b"HTTP/1.1 200 ")
    writer.close()
    return trail


async def _skip_body(reader: asyncio.StreamReader, head: bytes) -> None:
    length = _LENGTH.search(head)
    if length is not None:
        await reader.readexactly(int(length[1]))
        return
    if _CHUNKED.search(head) is None:
        raise RuntimeError(f"an answer of unknown length: {head[:200]!r}")
    size = -1
    while size:
        size = int(await reader.readuntil(b"\r\n"), 16)
        await reader.readexactly(size + 2)
