"""What a call of an AWS Lambda handler says about the step: trace, user and where it runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any


def fields_of_call(arguments: Sequence[Any]) -> dict[str, Any]:
    """Return what the arguments `(event, context)` tell, `self` before them or not. Others tell nothing."""
    fields: dict[str, Any] = {}
    meta = _revision()
    for argument in arguments[:3]:
        if isinstance(argument, Mapping):
            _read_event(argument, fields, meta)
        elif hasattr(argument, "function_name"):
            meta["function_name"] = argument.function_name
            meta["function_version"] = getattr(argument, "function_version", None)
    told = {name: value for name, value in meta.items() if value is not None}
    if told:
        fields["meta"] = told
    return fields


def _read_event(event: Mapping[str, Any], fields: dict[str, Any], meta: dict[str, Any]) -> None:
    execution_name = event.get("execution_name")
    if isinstance(execution_name, str):
        fields["trace_id"] = execution_name
    request = event.get("requestContext")
    if isinstance(request, Mapping):
        meta["function_stage"] = request.get("stage")
        meta["function_api_id"] = request.get("apiId")
        authorizer = request.get("authorizer")
        if isinstance(authorizer, Mapping):
            fields["user"] = authorizer.get("principalId")


def _revision() -> dict[str, Any]:
    return {"git_rev": os.environ.get("GIT_REV"), "git_branch": os.environ.get("GIT_BRANCH")}
