"""The example, as these tests use it: they run what it shows."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "examples" / "aws-pipeline"
sys.path.insert(0, str(FOLDER))

import run  # noqa: E402
import steps  # noqa: E402
from platform_aws import Platform, moto_server  # noqa: E402
from worker import Worker  # noqa: E402

from status_grpc.aws.clients import aws_client  # noqa: E402

#: A client for all tests, since making one takes longer than most of what it does. Only where there is moto.
shared_client = functools.cache(aws_client)

__all__ = ["FOLDER", "Platform", "Worker", "moto_server", "run", "shared_client", "steps"]
