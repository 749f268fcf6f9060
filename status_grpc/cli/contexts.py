"""Named contexts: how to reach which server, kept in a file in the platform's folder for settings.

A context counts as a whole. Whoever names a server by --server or STATUS_GRPC_SERVER uses none, so that a token which
is meant for one server is never sent to another.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

from status_grpc.cli.exits import USAGE, CommandFailed

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_TEXTS = ("server", "token_file", "ca", "cert", "key")


@dataclass(frozen=True, slots=True)
class Context:
    """How to reach a server; None is not said. The token itself is not kept here, but in a file of its own."""

    server: str
    token_file: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    plaintext: bool | None = None

    def said(self) -> dict[str, Any]:
        """Return what is said."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(slots=True)
class Contexts:
    """All contexts, and the name of the one that is used unless another is asked for."""

    by_name: dict[str, Context] = field(default_factory=dict)
    current: str | None = None

    def get(self, name: str) -> Context:
        """Return a context. Raises CommandFailed when there is none of that name."""
        if name not in self.by_name:
            known = ", ".join(self.by_name) or "none"
            raise CommandFailed(f"There is no context {name!r} in {config_path()}; there is: {known}.", USAGE)
        return self.by_name[name]


def config_path() -> Path:
    """Return where the contexts are kept."""
    given = os.environ.get("STATUS_GRPC_CLIENT_CONFIG")
    return Path(given) if given else Path(click.get_app_dir("status-grpc")) / "config.toml"


def load_contexts() -> Contexts:
    """Return the contexts; none if there is no file. Raises CommandFailed for a file that cannot be read."""
    path = config_path()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Contexts()
    except UnicodeDecodeError:
        raise CommandFailed(f"{path} is not UTF-8.", USAGE) from None
    import tomllib

    try:
        return _read(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise CommandFailed(f"{path}: {error}.", USAGE) from None


def _read(content: Mapping[str, Any]) -> Contexts:
    contexts = Contexts(current=content.get("current"))
    for name, values in content.get("contexts", {}).items():
        wrong = [key for key in values if key not in (*_TEXTS, "plaintext")]
        wrong += [key for key in _TEXTS if not isinstance(values.get(key, ""), str)]
        if wrong or "server" not in values or not isinstance(values.get("plaintext", False), bool):
            raise ValueError(f"context {name} needs a server, and knows {', '.join(_TEXTS[1:])} and plaintext")
        contexts.by_name[name] = Context(**values)
    return contexts


def save_contexts(contexts: Contexts) -> None:
    """Write the file anew, at once: who reads it meanwhile sees the old one or the new one."""
    lines = [] if contexts.current is None else [f"current = {json.dumps(contexts.current)}"]
    for name, context in contexts.by_name.items():
        lines += ["", f"[contexts.{name}]"]
        # What JSON writes for texts and truth values is TOML as well.
        lines += [f"{key} = {json.dumps(value)}" for key, value in context.said().items()]
    path = config_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text("\n".join(lines).lstrip() + "\n", encoding="utf-8")
    beside.replace(path)


def check_name(name: str) -> None:
    """Raise CommandFailed for what cannot be the name of a context."""
    if not _NAME.fullmatch(name):
        raise CommandFailed(f"A context's name is made of letters, digits, - and _: not {name!r}.", USAGE)


def chosen_context(name: str | None, *, server: str | None) -> Context | None:
    """Return the context for a call, given what its flags say; None when none is to be used."""
    if name is not None:
        if server is not None:
            raise click.UsageError("--context and --server exclude each other.")
        return load_contexts().get(name)
    if server is not None or os.environ.get("STATUS_GRPC_SERVER"):
        return None
    contexts = load_contexts()
    name = os.environ.get("STATUS_GRPC_CONTEXT") or contexts.current
    return None if name is None else contexts.get(name)
