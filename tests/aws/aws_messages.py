"""Messages as AWS sends them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote_plus

JsonValue = Any


def notification(key: str, *, bucket: str = "raw-files", name: str = "ObjectCreated:Put", **item: Any) -> dict:
    """An S3 notification of one record."""
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": "eu-west-1",
                "eventTime": "2026-01-31T12:00:00.000Z",
                "eventName": name,
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
                    "object": {"key": quote_plus(key), "size": 3, **item},
                },
            }
        ]
    }


def object_created(key: str, *, bucket: str = "raw-files", detail_type: str = "Object Created", **item: Any) -> dict:
    """An EventBridge event of S3."""
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": detail_type,
        "source": "aws.s3",
        "time": "2026-01-31T12:00:00Z",
        "resources": [f"arn:aws:s3:::{bucket}"],
        "detail": {"version": "0", "bucket": {"name": bucket}, "object": {"key": key, "size": 3, **item}},
    }


def status_change(name: str, status: str, *, redrives: int = 0, **detail: Any) -> dict:
    """An EventBridge event of Step Functions."""
    return {
        "version": "0",
        "id": "315c1398-40ff-a850-213b-158f73e60175",
        "detail-type": "Step Functions Execution Status Change",
        "source": "aws.states",
        "detail": {
            "executionArn": f"arn:aws:states:eu-west-1:123456789012:execution:pipeline:{name}",
            "stateMachineArn": "arn:aws:states:eu-west-1:123456789012:stateMachine:pipeline",
            "name": name,
            "status": status,
            "startDate": 1_769_860_800_000,
            "stopDate": None if status == "RUNNING" else 1_769_860_860_500,
            "redriveCount": redrives,
            "redriveDate": 1_769_860_830_000 if redrives else None,
            "redriveStatus": "REDRIVABLE" if status == "FAILED" else "NOT_REDRIVABLE",
            **detail,
        },
    }


def in_sns_envelope(message: JsonValue) -> dict:
    """What SNS makes of a message for a queue without raw delivery."""
    return {"Type": "Notification", "MessageId": "f01a47fc", "Message": text(message), "Signature": "..."}


def from_sns(*messages: JsonValue) -> dict:
    """What SNS hands to a Lambda function."""
    return {"Records": [{"EventSource": "aws:sns", "Sns": in_sns_envelope(message)} for message in messages]}


def from_sqs(*messages: JsonValue) -> dict:
    """What SQS hands to a Lambda function; the messages are numbered from 0."""
    return {
        "Records": [
            {"messageId": str(number), "eventSource": "aws:sqs", "body": text(message)}
            for number, message in enumerate(messages)
        ]
    }


def text(message: JsonValue) -> str:
    return message if isinstance(message, str) else json.dumps(message)
