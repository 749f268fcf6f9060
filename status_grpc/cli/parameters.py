"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

from status_grpc.cli.times import Direction, read_time

F = TypeVar("F", bound=Callable[..., Any])

lang_option = click.option(
    "--lang",
    default="en",
    envvar="STATUS_GRPC_LANG",
    show_default=True,
    show_envvar=True,
    help="The language of errors, such as nb; where it is missing, the nearest there is.",
)


def format_option(*formats: str) -> Callable[[F], F]:
    """Return the decorator that adds --format; the first of the formats is the default."""
    return click.option(
        "--format", "form", type=click.Choice(formats), default=formats[0], show_default=True, help="How to print it."
    )


def time_option(*names: str, text: str, direction: Direction = "past") -> Callable[[F], F]:
    """Return the decorator that adds an option which takes a time.

    `direction`: whether a length of time such as 15m is before or after now.
    """

    def read(ctx: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
        try:
            return None if value is None else read_time(value, direction=direction)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, parameter) from None

    return click.option(*names, callback=read, metavar="TIME", help=text)
