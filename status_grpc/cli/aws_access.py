"""How commands reach AWS: the options that they share, and what becomes of boto3's errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from status_grpc.cli.exits import UNREACHABLE, USAGE, CommandFailed

F = TypeVar("F", bound=Callable[..., Any])


def aws_options(command: F) -> F:
    """Give the command the options --region and --endpoint-url."""
    command = click.option("--endpoint-url", metavar="URL", help="Where AWS is. [env: AWS_ENDPOINT_URL]")(command)
    return click.option("--region", help="The region. [env: AWS_REGION, AWS_DEFAULT_REGION; default: the profile's]")(
        command
    )


@contextmanager
def aws_errors() -> Iterator[None]:
    """Let errors of AWS, and that there is no boto3, end the command in a sentence."""
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise CommandFailed(
            f"{error.name} is missing: install it with pip install 'status-grpc[aws]'.", USAGE
        ) from None
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise CommandFailed(f"AWS: {str(error).rstrip('.')}.", UNREACHABLE) from None
