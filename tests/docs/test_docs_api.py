"""docs/api.md names every call, limit, error reason and health name, with what the code says of them."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from tracestatus.v1 import status_service_pb2

from status_grpc.domain.limits import Limits
from status_grpc.rpc import health
from status_grpc.wire.errors import CODES

API = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
SERVICE = status_service_pb2.DESCRIPTOR.services_by_name["StatusService"]


@pytest.mark.parametrize("name", [method.name for method in SERVICE.methods])
def test_every_call_has_a_row_and_a_section(name):
    assert f"| `{name}` |" in API
    assert name == "Heartbeat" or f"\n### {name}\n" in API


def test_every_reason_has_a_row_with_its_code():
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| ([A-Z_]+) \|", API, re.MULTILINE))
    assert rows == {error.reason: code.name for error, code in CODES.items()}


def test_every_limit_has_a_row_with_its_default():
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", API, re.MULTILINE))
    assert rows == {field.name: f"{field.default:,}" for field in fields(Limits)}


def test_every_health_name_is_explained():
    section = API.partition("\n## Health\n")[2]
    for name in (health.LIVENESS, health.READINESS, SERVICE.full_name):
        assert f"`{name}`" in section
