"""Events as the clients of the older status service send them."""

from __future__ import annotations

import base64
from itertools import count
from typing import Any

import httpx

_numbers = count(1)


def unique(name: str) -> str:
    """Return a name that no other test of this process uses."""
    return f"{name}-{next(_numbers)}"


def creation(**fields: Any) -> dict[str, Any]:
    return {
        "domain": "dataset",
        "domain_id": "my-dataset/1",
        "start_time": "2020-03-02T12:34:23.042400+00:00",
        "end_time": "2020-03-02T12:34:24.042400+00:00",
        "component": "data-uploader",
    } | fields


def update(**fields: Any) -> dict[str, Any]:
    return {
        "domain": "dataset",
        "start_time": "2020-03-02T12:35:00+00:00",
        "end_time": "2020-03-02T12:35:01+00:00",
        "trace_status": "CONTINUE",
        "trace_event_status": "OK",
        "component": "s3-writer",
    } | fields


def created(http: httpx.Client, **fields: Any) -> str:
    """Start a trace; return its id."""
    answer = http.post("/status", json=creation(**fields))
    assert answer.status_code == 200, answer.text
    trace_id: str = answer.json()["trace_id"]
    return trace_id


def updated(http: httpx.Client, trace_id: str, /, **fields: Any) -> dict[str, Any]:
    """Append an event; return it as it was answered."""
    answer = http.post(f"/status/{trace_id}", json=update(**fields))
    assert answer.status_code == 200, answer.text
    event: dict[str, Any] = answer.json()
    return event


def events(http: httpx.Client, trace_id: str) -> list[dict[str, Any]]:
    answer = http.get(f"/status/{trace_id}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def encoded(s3_path: str) -> str:
    return base64.b64encode(s3_path.encode()).decode()
