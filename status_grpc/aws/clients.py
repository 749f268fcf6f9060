"""Clients of AWS that give up in time: boto3's own wait for a minute, five times."""

from __future__ import annotations

import os
from typing import Any

import boto3
from botocore.config import Config

#: Seconds.
_CONNECT_TIMEOUT, _READ_TIMEOUT = 5, 15


def aws_client(service: str, *, region: str | None = None, endpoint_url: str | None = None) -> Any:
    """Return boto3's client of a service such as "s3"; it may be shared by threads.

    region: else AWS_REGION, AWS_DEFAULT_REGION or the profile's. endpoint_url: else AWS_ENDPOINT_URL or that of AWS.
    Credentials are found as boto3 finds them. Raises botocore's NoRegionError if no region is known.
    """
    elsewhere = endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return boto3.session.Session().client(
        service,
        region_name=region or os.environ.get("AWS_REGION") or None,
        endpoint_url=endpoint_url,
        config=Config(
            connect_timeout=_CONNECT_TIMEOUT,
            read_timeout=_READ_TIMEOUT,
            retries={"mode": "standard", "max_attempts": 4},
            # What is presigned says which headers come with it: with older signatures metadata need not be sent.
            signature_version="s3v4" if service == "s3" else None,
            # Else what is presigned leads to the global endpoint, which redirects, and refuses those of newer regions.
            s3=None if elsewhere else {"addressing_style": "virtual"},
        ),
    )
