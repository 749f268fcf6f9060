"""The older status service, asked for traces that only it knows while callers and traces move."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import httpx
import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from status_grpc.domain.errors import TraceNotFound, Unavailable

log = structlog.get_logger(__name__)

#: Less than the 10 s after which the older clients send their request again.
_TIMEOUT = httpx.Timeout(9.0, connect=3.0)
#: Says that a request has been passed on: two services that ask each other would never stop.
_VIA = "status-grpc"
#: What is passed on of a request beside its body: who asks, and what it is.
_PASSED_ON = ("authorization", "content-type")


class Upstream:
    """One older status service."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url.rstrip("/")
        self._client = httpx.AsyncClient(timeout=_TIMEOUT, transport=transport)

    async def pass_on(self, request: Request, path: str, body: bytes | None = None) -> Response:
        """Ask the older service the same, and return its answer. `path` is quoted, as it goes into the URL.

        Raises TraceNotFound when it knows of none either, and Unavailable when it cannot be asked.
        """
        if _VIA in request.headers.get("via", ""):
            raise TraceNotFound
        headers = {name: value for name, value in request.headers.items() if name in _PASSED_ON}
        asking = self._client.build_request(
            "GET" if body is None else "POST", self._url + path, headers={**headers, "via": f"1.1 {_VIA}"}, content=body
        )
        try:
            answer = await self._client.send(asking, stream=True)
        except httpx.HTTPError as error:
            log.warning("the older service could not be asked", error=type(error).__name__)
            raise Unavailable("the older status service cannot be reached; try again shortly") from None
        if answer.is_success:
            return StreamingResponse(_body(answer), answer.status_code, media_type="application/json")
        return await _refusal(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def _body(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in answer.aiter_bytes():
            yield part
    finally:
        await answer.aclose()


async def _refusal(answer: httpx.Response) -> Response:
    """Return the answer that says what the older service said. Raises TraceNotFound if that is its word."""
    message = f"the older status service answered {answer.status_code}"
    try:
        said: Any = (await answer.aread(), answer.json())[1]
        message = str(said["message"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        pass
    finally:
        await answer.aclose()
    if answer.status_code == HTTPStatus.NOT_FOUND:
        raise TraceNotFound(message)
    refused = HTTPStatus.BAD_REQUEST <= answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
    return JSONResponse({"message": message}, answer.status_code if refused else HTTPStatus.BAD_GATEWAY)
