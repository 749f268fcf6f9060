"""The three steps of the pipeline, each as it would be deployed as a Lambda function.

The event is the output of the step before, and has the trace id as `execution_name`. Whether a step that raises ends
the trace is for the state machine to tell, which may try again: `on_exception="continue"`.
"""

from __future__ import annotations

import csv
import io
import json
import os
from typing import Any

from status_grpc import status_add, status_wrapper
from status_grpc.aws.clients import aws_client

_tried: set[str] = set()


@status_wrapper(component="csv-validator", on_exception="continue")
def validate(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes it
    """Check that every row has a price. What is wrong is told to people; the step itself has gone well."""
    status_add(inputs=[_uri(event["bucket"], event["key"])])
    errors = [
        {"message": {"nb": f"Rad {number} mangler pris", "en": f"Row {number} has no price"}}
        for number, row in enumerate(_rows(event["bucket"], event["key"]), 1)
        if not row.get("price")
    ]
    if errors:
        status_add(errors=errors)
    return {**event, "valid": not errors}


@status_wrapper(component="csv-to-json", on_exception="continue")
def convert(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes it
    """Make JSON of the rows."""
    if "flaky" in event["key"] and event["execution_name"] not in _tried:
        _tried.add(event["execution_name"])
        raise ConnectionError("the price list cannot be reached")
    rows = list(_rows(event["bucket"], event["key"]))
    converted = event["key"].replace("raw/", "intermediate/").replace(".csv", ".json")
    aws_client("s3").put_object(Bucket=event["bucket"], Key=converted, Body=json.dumps(rows).encode())
    status_add(inputs=[_uri(event["bucket"], event["key"])], outputs=[_uri(event["bucket"], converted)])
    status_add(status_body={"rows": len(rows)})
    return {**event, "converted": converted}


@status_wrapper(component="s3-writer", on_exception="continue")
def write(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes it
    """Put the result where the users of the data find it."""
    if "dies" in event["key"]:
        os._exit(1)  # as a process that is out of memory does: without a word
    s3, bucket, written = aws_client("s3"), event["bucket"], event["converted"].replace("intermediate/", "green/")
    s3.copy_object(Bucket=bucket, Key=written, CopySource={"Bucket": bucket, "Key": event["converted"]})
    status_add(inputs=[_uri(bucket, event["converted"])], outputs=[_uri(bucket, written)])
    return {"written": _uri(bucket, written)}


def _rows(bucket: str, key: str) -> csv.DictReader[str]:
    body = aws_client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return csv.DictReader(io.StringIO(body.decode()))


def _uri(bucket: str, key: str) -> str:
    return f"s3://{bucket}/{key}"
