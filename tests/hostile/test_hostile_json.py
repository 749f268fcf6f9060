"""Floods of JSON bodies hold up nobody else, and large bodies are read like small ones."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from bystander import Bystander
from json_flood import request
from victims import MEASURED, Peak, Victim

HERE = Path(__file__).parent
SECONDS = 4.0 if MEASURED else 2.0


def flooded(victim: Victim, kind: str, clients: int) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "json_flood.py"), victim.url, kind, str(SECONDS), str(clients)]
    found: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=90).stdout
    )
    return found


@pytest.mark.parametrize(("kind", "status"), [("older", "503"), ("openlineage", "503"), ("connect", "429")])
def test_ninth_large_body_is_refused_for_now(victim: Victim, kind: str, status: str) -> None:
    answers = flooded(victim, kind, clients=12)["answers"]
    assert answers[status] > 1
    assert set(answers) <= {"200", "201", "503", status}


@pytest.mark.parametrize("kind", ["older", "openlineage", "connect"])
def test_json_flood_holds_up_no_bystander(victim: Victim, kind: str) -> None:
    with Peak(victim) as peak, Bystander(victim.address, victim.url) as bystander:
        flood = flooded(victim, kind, clients=8)
    print(f"{kind}: {flood}; memory grew by {peak.growth:.0f} MB; {bystander.seen.worst}")
    assert flood["answers"]
    # 503: the process that reads them has ended, which a client may repeat.
    assert set(flood["answers"]) <= {"200", "201", "503"}
    assert not bystander.seen.failures
    assert peak.growth < 300
    assert victim.comes_back(150)
    if MEASURED:
        assert max(bystander.seen.worst.values()) < 0.2


def post(victim: Victim, path: str, body: Any) -> dict[str, Any]:
    asked = urllib.request.Request(
        f"{victim.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=60) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def test_large_bodies_are_recorded_as_small_ones_are(victim: Victim) -> None:
    times = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-01T00:00:01Z"}
    event = {"domain": "d", "domain_id": "x", "component": "c", **times}
    trace_id = post(victim, "/status", event | {"status_body": {"text": "x" * 900_000}})["trace_id"]
    statuses = {"trace_status": "FINISHED", "trace_event_status": "OK"}
    update = event | statuses | {"status_body": {"exact": 2**70, "numbers": list(range(50_000))}}
    assert post(victim, f"/status/{trace_id}", update)["status_body"] == update["status_body"]
    bad = {key: value for key, value in update.items() if key != "component"}
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(victim, f"/status/{trace_id}", bad)
    assert (refused.value.code, "component" in json.loads(refused.value.read())["message"]) == (400, True)
    run_event = {
        "eventType": "COMPLETE",
        "eventTime": "2026-01-01T00:00:00Z",
        "run": {"runId": "large", "facets": {"spark": {"plan": "x" * 500_000}}},
        "job": {"namespace": "n", "name": "j"},
    }
    assert post(victim, "/api/v1/lineage", run_event)["sequence"] == 1
    batch = [run_event | {"run": {"runId": f"run-{number}", "facets": run_event["run"]}} for number in range(6)]
    assert post(victim, "/api/v1/lineage/batch", batch)["summary"]["successful"] == 6
    path, body = request("connect")
    created = post(victim, path, json.loads(body))
    assert created["event"]["statusBody"]["n"][-1] == 71_999
