"""Suggestions for mistyped commands, and flags for the protocol's fields."""

from __future__ import annotations

import difflib
import re

import click

_NAME = re.compile(r"\b[a-z0-9]+(?:_[a-z0-9]+)*\b")

#: Fields that flags give as JSON.
_JSON_FIELDS = ("status_body", "meta")


class SuggestingGroup(click.Group):
    """Command group that suggests the nearest command for a mistyped one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name, as `click.Group` does."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if not close or "Did you mean" in error.message:
                raise
            raise click.UsageError(f"{error.message} Did you mean {close[0]!r}?", ctx) from None


def flags_for_fields(context: click.Context) -> dict[str, str]:
    """Map fields to this command's flags, such as s3_path to --path.

    With --file, a field without its flag is left out, because the file gave it.
    """
    from_file = context.params.get("source") is not None
    flags = {}
    for parameter in context.command.params:
        if parameter.name is None or (from_file and context.params.get(parameter.name) in (None, ())):
            continue
        named = parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name
        flags[parameter.name] = named
    return flags


def renamed(field: str, flags: dict[str, str]) -> str:
    """Return the flag that gave a field, such as --error for errors[1].message.

    What is inside of JSON keeps its place, as in "--body: rows[0]".
    """
    head = _NAME.match(field)
    if head is None or head[0] not in flags:
        return field
    flag, place = flags[head[0]], field[head.end() :].removeprefix(".")
    return f"{flag}: {place}" if place and head[0] in _JSON_FIELDS else flag


def with_flags(message: str, flags: dict[str, str]) -> str:
    """Return the message with flags in place of fields such as after_sequence."""
    return _NAME.sub(lambda name: flags.get(name[0], name[0]) if "_" in name[0] else name[0], message)
