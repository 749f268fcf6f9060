"""docs/aws.md: what it shows runs, and what it lists is complete."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

from status_grpc.aws import Router, handlers

DOCUMENT = Path(__file__).parents[2] / "docs" / "aws.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


def test_its_python_runs(aws, capsys):
    names: dict = {}
    for block in blocks("python"):
        exec(block, names)
    assert names["handler"]({"Event": "s3:TestEvent"}, None) == {
        "results": ["ignored is not about an object that has arrived"]
    }
    assert names["upload"].trace_id in capsys.readouterr().out


def test_its_json_is_json():
    assert all(json.loads(block) for block in blocks("json"))


def test_it_names_every_variable_and_every_argument():
    read = set(re.findall(r'_(?:variable|required|choice|seconds)\("(\w+)"', inspect.getsource(handlers)))
    text = DOCUMENT.read_text()
    assert set(re.findall(r"^\| `STATUS_GRPC_AWS_(\w+)`", text, re.MULTILINE)) == read
    arguments = set(inspect.signature(Router).parameters) - {"client", "s3", "stepfunctions", "component"}
    assert set(re.findall(r"^\|[^|]*\| `(\w+)` \|", text, re.MULTILINE)) == arguments
