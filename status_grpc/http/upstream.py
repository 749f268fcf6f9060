"""The older status service, asked for traces that only it knows while callers and traces move."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import unquote

import httpx
import orjson
import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from status_grpc.domain.errors import TraceNotFound, Unavailable

log = structlog.get_logger(__name__)

#: Seconds for one request and its whole answer. The older clients send their request again after 10 s.
_SECONDS = 9.0
_CONNECT_SECONDS = 3.0
#: Largest answer, in bytes: an API gateway, behind which the older service runs, sends no more.
LARGEST_ANSWER = 10 * 1024 * 1024
#: Requests to the older service at a time. With the size of an answer this bounds the memory they take.
_LIMITS = httpx.Limits(max_connections=20, max_keepalive_connections=10)
#: Marks a request that was passed on, so that two services that ask each other stop.
_VIA = "status-grpc"
#: Headers that are passed on beside the body.
_PASSED_ON = ("authorization", "content-type")
#: Times that a path is decoded when dot segments are looked for: more layers are not honest.
_MOST_DECODINGS = 4
#: Largest refusal that is searched for a message, in bytes.
_LARGEST_REFUSAL = 64 * 1024


class Upstream:
    """One older status service. `seconds` is for a whole answer."""

    def __init__(self, url: str, *, seconds: float = _SECONDS) -> None:
        self._url = httpx.URL(url.rstrip("/"))
        self._seconds = seconds
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(seconds, connect=_CONNECT_SECONDS),
            limits=_LIMITS,
            follow_redirects=False,
            # A jar that takes no cookie: what one caller was given must not go with another caller's request.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    async def pass_on(self, request: Request, path: str, body: bytes | None = None) -> Response:
        """Ask the older service the same, and return its answer. `path` is quoted, as it goes into the URL.

        Raises TraceNotFound when it knows of none either or when the path would leave the configured URL, and
        Unavailable when it cannot be asked.
        """
        if _VIA in request.headers.get("via", "") or _has_dot_segments(path):
            raise TraceNotFound
        headers = {name: value for name, value in request.headers.items() if name in _PASSED_ON}
        headers |= {"via": f"1.1 {_VIA}", "accept-encoding": "identity"}
        asking = self._client.build_request(
            "GET" if body is None else "POST", f"{self._url}{path}", headers=headers, content=body
        )
        if not self._is_below(asking.url):
            raise TraceNotFound
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._client.send(asking, stream=True)
                try:
                    content = await _content(answer)
                finally:
                    await answer.aclose()
        except (httpx.HTTPError, TimeoutError) as error:
            log.warning("the older service could not be asked", error=type(error).__name__)
            raise Unavailable("the older status service cannot be reached; try again shortly") from None
        if content is None:
            return _bad_gateway(f"the older status service answered with more than {LARGEST_ANSWER} bytes")
        if answer.headers.get("content-encoding", "identity") != "identity":
            return _bad_gateway("the older status service compressed its answer, which was not asked for")
        if answer.is_success:
            return Response(content, answer.status_code, media_type="application/json")
        return _refusal(answer.status_code, content)

    def _is_below(self, url: httpx.URL) -> bool:
        """Return whether a URL is below the configured one."""
        origin = (url.scheme, url.host, url.port, url.userinfo)
        configured = self._url
        prefix = configured.raw_path.rstrip(b"/") + b"/"
        same = origin == (configured.scheme, configured.host, configured.port, configured.userinfo)
        return same and url.raw_path.startswith(prefix)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _has_dot_segments(path: str) -> bool:
    """Return whether a server could find "." or ".." in the path.

    It may decode the path several times.
    """
    decoded = path
    for _ in range(_MOST_DECODINGS):
        decoded = unquote(decoded)
    if unquote(decoded) != decoded:
        return True
    # Some servers take a backslash for a slash, and cut parameters (;) off a segment.
    segments = decoded.replace("\\", "/").split("/")
    return any(segment.partition(";")[0].strip() in (".", "..") for segment in segments)


async def _content(answer: httpx.Response) -> bytes | None:
    """Return an answer's body, None beyond LARGEST_ANSWER."""
    content = bytearray()
    # Raw: a compressed body, which was not asked for, may grow a thousandfold.
    async for part in answer.aiter_raw():
        content += part
        if len(content) > LARGEST_ANSWER:
            return None
    return bytes(content)


def _refusal(code: int, content: bytes) -> Response:
    """Return the answer that says what the older service said. Raises TraceNotFound if that is its word."""
    message = f"the older status service answered {code}"
    try:
        said: Any = orjson.loads(content[:_LARGEST_REFUSAL])
        message = str(said["message"])
    except (ValueError, KeyError, TypeError):
        pass
    if code == HTTPStatus.NOT_FOUND:
        raise TraceNotFound(message)
    if HTTPStatus.BAD_REQUEST <= code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return JSONResponse({"message": message}, code)
    return _bad_gateway(message)


def _bad_gateway(message: str) -> Response:
    return JSONResponse({"message": message}, HTTPStatus.BAD_GATEWAY)
