"""Lambda handlers, ready to be deployed: `status_grpc.aws.handlers.route` and `.end_state`, set up by variables.

The service is found by STATUS_GRPC_SERVER and its kin, AWS as boto3 finds it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from status_grpc.aws.arrivals import ArrivedObject
from status_grpc.aws.clients import aws_client
from status_grpc.aws.dataset_keys import DATASET_KEYS, dataset_traces
from status_grpc.aws.dead_letters import DeadLetters
from status_grpc.aws.ends import EndStates
from status_grpc.aws.router import Router, key_as_path, uri_as_path
from status_grpc.client.sync import StatusClient
from status_grpc.domain.events import EventDraft

#: What the path is with which traces are created for an object, by the names of STATUS_GRPC_AWS_PATH.
PATHS = {"key": key_as_path, "uri": uri_as_path}


def route(event: Any, context: Any) -> dict[str, Any]:
    """Route the objects that the event tells of; see `Router.handle`."""
    return _router().handle(event, context)


def end_state(event: Any, context: Any) -> dict[str, Any]:
    """Tell traces how their executions ended; see `EndStates.handle`."""
    return _end_states().handle(event, context)


@functools.cache
def _router() -> Router:
    return router_from_environment(StatusClient())


@functools.cache
def _end_states() -> EndStates:
    return EndStates(StatusClient(), aws_client("stepfunctions"))


def router_from_environment(
    client: StatusClient, *, region: str | None = None, endpoint_url: str | None = None
) -> Router:
    """Return a router as the variables STATUS_GRPC_AWS_* describe it (docs/aws.md). Raises ValueError, naming one."""
    s3 = aws_client("s3", region=region, endpoint_url=endpoint_url)
    return Router(
        client,
        s3,
        aws_client("stepfunctions", region=region, endpoint_url=endpoint_url),
        state_machine=_required("STATE_MACHINE"),
        dead_letters=dead_letters_from_environment(s3),
        without_trace=_choice("WITHOUT_TRACE", {name: name for name in ("dead-letter", "ignore", "create")}),
        new_trace=new_trace_from_environment(),
        path_of=_choice("PATH", PATHS),
        patience=_seconds("PATIENCE", 5.0),
    )


def new_trace_from_environment() -> Callable[[ArrivedObject], EventDraft]:
    """Return what STATUS_GRPC_AWS_DATASET_KEYS makes of an object without a trace. Raises ValueError."""
    text = _variable("DATASET_KEYS")
    try:
        return dataset_traces(text.split(",") if text else DATASET_KEYS)
    except ValueError as error:
        raise ValueError(f"STATUS_GRPC_AWS_DATASET_KEYS: {error}") from None


def dead_letters_from_environment(s3: Any) -> DeadLetters | None:
    """Return the dead letters of STATUS_GRPC_AWS_DEAD_LETTERS; None if it is not set. Raises ValueError."""
    uri = _variable("DEAD_LETTERS")
    return open_dead_letters(s3, uri) if uri else None


def open_dead_letters(s3: Any, uri: str) -> DeadLetters:
    """Return the dead letters at s3://bucket/prefix. Raises ValueError if it is no such URI."""
    parts = urlsplit(uri)
    if parts.scheme != "s3" or not parts.netloc:
        raise ValueError(f"{uri!r} is not s3://bucket/prefix")
    return DeadLetters(s3, parts.netloc, parts.path.lstrip("/") or "dead-letters/")


def _variable(name: str) -> str:
    return os.environ.get(f"STATUS_GRPC_AWS_{name}", "")


def _required(name: str) -> str:
    value = _variable(name)
    if not value:
        raise ValueError(f"STATUS_GRPC_AWS_{name} is not set")
    return value


def _choice(name: str, choices: dict[str, Any]) -> Any:
    """Return what the variable chooses; the first of the choices if it is not set."""
    value = _variable(name) or next(iter(choices))
    if value not in choices:
        raise ValueError(f"STATUS_GRPC_AWS_{name} is {value!r}, none of {', '.join(choices)}")
    return choices[value]


def _seconds(name: str, default: float) -> float:
    text = _variable(name)
    try:
        return float(text) if text else default
    except ValueError:
        raise ValueError(f"STATUS_GRPC_AWS_{name} is {text!r}, not a number of seconds") from None
