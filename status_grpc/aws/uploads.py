"""Uploads: the trace of an object that is about to be uploaded, and the signed request that uploads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from status_grpc.aws.arrivals import ArrivedObject
from status_grpc.aws.router import TRACE_ID_KEY, key_as_path
from status_grpc.client.steps.reported import OnError
from status_grpc.client.steps.tracing import OpenTrace, trace

_HEADER = f"x-amz-meta-{TRACE_ID_KEY}"


@dataclass(frozen=True, slots=True)
class Upload:
    """What an uploader needs: a request that is good for one object, and the trace that tells what becomes of it.

    method "POST": send `fields`, in this order, and then the field `file` as multipart/form-data to `url`.
    method "PUT": send the object to `url` with `headers`.
    """

    trace_id: str
    method: str
    url: str
    fields: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


class Uploads:
    """Prepares uploads to a bucket. The trace is reported as steps report: see `status_grpc.configure`.

    path_of: the path with which the trace is created, as the router's.
    """

    def __init__(self, s3: Any, bucket: str, *, path_of: Callable[[ArrivedObject], str] = key_as_path) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._path_of = path_of

    def post(
        self,
        key: str,
        domain: str,
        domain_id: str,
        *,
        expires_in: int = 3600,
        max_bytes: int | None = None,
        content_type: str = "",
        expire_time: datetime | None = None,
        on_error: OnError = "warn",
        **fields: Any,
    ) -> Upload:
        """Create the trace of an object, and return the form with which a browser uploads it.

        The trace id is in the form, and S3 refuses the upload without it. The form is good for `expires_in` seconds
        and objects of `max_bytes`. `expire_time`, `on_error` and the other `fields` of the trace's first event (user,
        component, operation ...) are those of `status_grpc.trace`.
        """
        opened = self._opened(key, domain, domain_id, expire_time, on_error, fields)
        form = {_HEADER: opened.trace_id} | ({"Content-Type": content_type} if content_type else {})
        conditions: list[Any] = [{name: value} for name, value in form.items()]
        if max_bytes is not None:
            conditions.append(["content-length-range", 0, max_bytes])
        signed = self._s3.generate_presigned_post(
            self._bucket, key, Fields=form, Conditions=conditions, ExpiresIn=expires_in
        )
        _create(opened)
        return Upload(opened.trace_id, "POST", signed["url"], fields=signed["fields"])

    def put(
        self,
        key: str,
        domain: str,
        domain_id: str,
        *,
        expires_in: int = 3600,
        content_type: str = "",
        expire_time: datetime | None = None,
        on_error: OnError = "warn",
        **fields: Any,
    ) -> Upload:
        """As `post`, but return a URL to PUT the object to, with the headers that S3 wants to see."""
        opened = self._opened(key, domain, domain_id, expire_time, on_error, fields)
        headers = {_HEADER: opened.trace_id}
        parameters = {"Bucket": self._bucket, "Key": key, "Metadata": {TRACE_ID_KEY: opened.trace_id}}
        if content_type:
            parameters["ContentType"] = headers["Content-Type"] = content_type
        url = self._s3.generate_presigned_url("put_object", Params=parameters, ExpiresIn=expires_in)
        _create(opened)
        return Upload(opened.trace_id, "PUT", url, headers=headers)

    def _opened(
        self,
        key: str,
        domain: str,
        domain_id: str,
        expire_time: datetime | None,
        on_error: OnError,
        fields: dict[str, Any],
    ) -> OpenTrace:
        defaults = {"component": "data-uploader", "operation": "upload"}
        settled = {"s3_path": self._path_of(ArrivedObject(self._bucket, key))}
        return trace(
            domain, domain_id, expire_time=expire_time, finish=False, on_error=on_error, **defaults | fields | settled
        )


def _create(opened: OpenTrace) -> None:
    """Report the beginning of the trace. Its end is the pipeline's."""
    with opened:
        pass
