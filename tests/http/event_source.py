"""A reader of Server-Sent Events that does what browsers do.

https://html.spec.whatwg.org/multipage/server-sent-events.html, but that it waits less before it connects again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
from gateway import PATIENCE


@dataclass(frozen=True)
class Told:
    """One message: its type, its data, and the last id seen when it came."""

    kind: str
    data: Any
    last_id: str


class EventSource:
    """Connects again by itself, with the last id, until it is closed or told to stop (any status but 200)."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.last_id = ""
        self.retry = 3.0
        self.statuses: list[int] = []

    def __iter__(self) -> Iterator[Told]:
        with httpx.Client(timeout=PATIENCE) as client:
            while True:
                try:
                    headers: dict[str, str | bytes] = {"accept": "text/event-stream"}
                    if self.last_id:
                        headers["last-event-id"] = self.last_id.encode()
                    with client.stream("GET", self.url, headers=headers) as answer:
                        self.statuses.append(answer.status_code)
                        if answer.status_code != 200:
                            return
                        assert answer.headers["content-type"].startswith("text/event-stream")
                        yield from self._messages(answer.iter_lines())
                except httpx.TransportError:
                    pass  # refused, or broken off
                time.sleep(self.retry / 20)

    def _messages(self, lines: Iterator[str]) -> Iterator[Told]:
        kind, data, last_id = "", [], self.last_id
        for line in lines:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not line:
                self.last_id = last_id
                if data:
                    yield Told(kind or "message", json.loads("\n".join(data)), last_id)
                kind, data = "", []
            elif field == "event":
                kind = value
            elif field == "data":
                data.append(value)
            elif field == "id":
                last_id = value
            elif field == "retry":
                self.retry = int(value) / 1000
