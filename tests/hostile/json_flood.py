"""Floods a server with JSON bodies. Usage: json_flood.py URL KIND SECONDS CLIENTS. Prints a count per status."""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections import Counter
from urllib.parse import urlsplit


def request(kind: str) -> tuple[str, bytes]:
    """Return the path and the body of a kind of flood."""
    if kind == "older":
        event = {
            "domain": "d",
            "domain_id": "x",
            "component": "c",
            "start_time": "2026-01-01T00:00:00Z",
            "end_time": "N/A",
        }
        return "/status", json.dumps(event | {"status_body": {"numbers": list(range(530_000))}}).encode()
    if kind == "openlineage":
        run = {"eventType": "COMPLETE", "eventTime": "2026-01-01T00:00:00Z", "job": {"namespace": "n", "name": "j"}}
        facets = {f"facet{number}": {"values": [{"a": index} for index in range(50)]} for number in range(6_000)}
        return "/api/v1/lineage", json.dumps(run | {"run": {"runId": "run", "facets": facets}}).encode()[:4_100_000]
    body = {"event": {"domain": "d", "domainId": "x", "component": "c", "statusBody": {"n": list(range(72_000))}}}
    return "/tracestatus.v1.StatusService/Create", json.dumps(body).encode()


def main(url: str, kind: str, seconds: float, clients: int) -> None:
    path, body = request(kind)
    counts: Counter[int] = Counter()
    until = time.monotonic() + seconds

    def flood() -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        while time.monotonic() < until:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            counts[answer.status] += 1
        connection.close()

    threads = [threading.Thread(target=flood) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"bytes": len(body), "answers": counts}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
