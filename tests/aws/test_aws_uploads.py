"""Uploads: the request and the trace belong together, whatever the uploader does."""

from __future__ import annotations

import logging
import urllib.request
import uuid

import pytest
import requests
from pipeline_example import shared_client

from status_grpc import configure, flush
from status_grpc.aws import Uploads
from status_grpc.aws.clients import aws_client
from status_grpc.aws.router import uri_as_path

KEY = "raw/blåbær + 100 %/version=1/f.csv"


@pytest.fixture
def bucket(aws) -> str:
    name = f"bucket-{uuid.uuid4()}"
    shared_client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return name


@pytest.fixture
def uploads(bucket) -> Uploads:
    return Uploads(shared_client("s3"), bucket)


def stored(bucket: str) -> tuple[bytes, dict, str]:
    answer = shared_client("s3").get_object(Bucket=bucket, Key=KEY)
    return answer["Body"].read(), answer["Metadata"], answer["ContentType"]


def test_a_form_uploads_the_object_with_its_trace_id(uploads, bucket, client):
    upload = uploads.post(KEY, "dataset", "berries/1", user="kari", max_bytes=100, content_type="text/csv")
    answer = requests.post(upload.url, data=upload.fields, files={"file": b"a,b\n"}, timeout=30)
    assert answer.status_code == 204
    assert (upload.method, stored(bucket)) == ("POST", (b"a,b\n", {"trace-id": upload.trace_id}, "text/csv"))
    trace = client.get_trace(upload.trace_id).trace
    assert (trace.s3_path, trace.user, trace.component, trace.done) == (KEY, "kari", "data-uploader", False)


def test_a_put_uploads_the_object_with_its_trace_id(uploads, bucket, client):
    upload = uploads.put(KEY, "dataset", "berries/1", content_type="text/csv", operation="copy")
    request = urllib.request.Request(upload.url, b"a,b\n", upload.headers, method=upload.method)
    urllib.request.urlopen(request, timeout=30).close()
    assert stored(bucket) == (b"a,b\n", {"trace-id": upload.trace_id}, "text/csv")
    assert "x-amz-meta-trace-id" in upload.url  # signed: S3 refuses an upload without it
    assert client.get_trace(upload.trace_id).trace.operation == "copy"


def test_the_form_is_good_for_nothing_else(uploads):
    import base64
    import json

    upload = uploads.post(KEY, "dataset", "berries/1", max_bytes=100)
    conditions = json.loads(base64.b64decode(upload.fields["policy"]))["conditions"]
    assert {"key": KEY} in conditions
    assert {"x-amz-meta-trace-id": upload.trace_id} in conditions
    assert ["content-length-range", 0, 100] in conditions


def test_it_leads_to_the_region_of_the_bucket(aws, monkeypatch):
    # Nobody is asked to sign.
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    uploads = Uploads(aws_client("s3"), "raw-files")
    for upload in (uploads.post(KEY, "dataset", "berries/1"), uploads.put(KEY, "dataset", "berries/1")):
        assert upload.url.startswith("https://raw-files.s3.eu-west-1.amazonaws.com/")


def test_the_path_is_the_one_that_the_router_looks_for(bucket, client):
    upload = Uploads(shared_client("s3"), bucket, path_of=uri_as_path).put(KEY, "dataset", "berries/1")
    assert client.get_trace(upload.trace_id).trace.s3_path == f"s3://{bucket}/{KEY}"


def test_an_upload_is_possible_while_the_service_is_away(uploads, bucket, caplog):
    configure(server="127.0.0.1:9", flush_timeout=0.1)
    with caplog.at_level(logging.WARNING, logger="status_grpc"):
        upload = uploads.put(KEY, "dataset", "berries/1")
    assert upload.trace_id
    assert "wait for the service" in caplog.text
    assert not flush(timeout=0)


def test_the_trace_is_there_when_the_uploader_asks_for_certainty(uploads):
    configure(server="127.0.0.1:9", flush_timeout=0.1)
    with pytest.raises(Exception, match="arrived"):
        uploads.put(KEY, "dataset", "berries/1", on_error="raise")
