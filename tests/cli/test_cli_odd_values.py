"""Commands with text that is not UTF-8 and unfit numbers."""

from __future__ import annotations

import json
import sys
from itertools import count
from pathlib import Path

import pytest
from command_line import CommandLine, Traces, serving

NAME, SENT = b"raw/caf\xe9.csv", "raw/caf\\xe9.csv"
HUGE = str(2**1024)
_numbers = count(1)


@pytest.fixture(params=["gRPC", "HTTP"])
def anywhere(
    request: pytest.FixtureRequest, cli: CommandLine, clean_environment: dict[str, str], tmp_path: Path
) -> CommandLine:
    if request.param == "HTTP":
        return request.getfixturevalue("by_url")
    return cli


@pytest.fixture(scope="module")
def by_url(clean_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory):
    with serving(clean_environment, tmp_path_factory.mktemp("http"), "--http", "127.0.0.1:0") as url:
        yield CommandLine({**clean_environment, "STATUS_GRPC_SERVER": url})


@pytest.fixture
def name() -> bytes:
    return NAME + str(next(_numbers)).encode()


def test_run_with_path_in_latin_1_is_found(anywhere: CommandLine, name: bytes) -> None:
    job = ["--domain", "job", "--domain-id", name, "--path", name, "--input", name, "--operation", name]
    ran = anywhere("run", *job, "--", sys.executable, "-c", "import sys; sys.exit(3)", name)
    assert ran.code == 3
    found = anywhere("by-path", name, "--format", "json").json
    sent = SENT + name[len(NAME) :].decode()
    assert (found["trace"]["s3_path"], found["trace"]["domain_id"]) == (sent, sent)
    assert found["trace"]["trace_event_status"] == "FAILED"
    assert anywhere("watch", "--by-path", name).code == 1
    assert anywhere("list", "--domain-id", name, "--format", "jsonl").json["trace_id"] == found["trace"]["trace_id"]
    assert anywhere("lineage", "upstream", name).code in (0, 2)


def test_trace_created_with_path_in_latin_1_is_found(anywhere: CommandLine, name: bytes) -> None:
    event = ["--domain", name, "--domain-id", "x", "--component", name, "--path", name, "--output", name]
    trace_id = anywhere("create", *event, "--body", b'{"' + name + b'": "' + name + b'"}').out.strip()
    assert anywhere("by-path", name, "--domain", name, "--format", "json").json["trace_ids"] == [trace_id]
    told = anywhere("get", trace_id, "--format", "json").json["events"][0]
    sent = SENT + name[len(NAME) :].decode()
    assert told["status_body"] == {sent: sent}
    absent = anywhere("get", b"no-such-\xff")
    assert (absent.code, absent.sentence) == (3, "There is no trace 'no-such-\\\\xff'.")


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (["--body", f'{{"rows": [{HUGE}]}}'], "--body: rows[0] must be a finite number that a double can hold."),
        (["--meta", '{"n": NaN}'], "--meta: n must be a finite number that a double can hold."),
        (["--body", f'{{"n": {"1" * 5000}}}'], "--body has a number of more than 4300 digits."),
        (["--body", '{"n": 1e400}'], "--body: n must be a finite number that a double can hold."),
        (["--duration", "1e300"], "--duration must be a duration of 0 to 315,576,000,000 s."),
        (["--duration", "1e12"], "--duration must be a timedelta of 0 to 315,576,000,000 s."),
        (
            ["--end-time", "9999-12-31T23:59:59-12:00"],
            "--end-time must be a time with an offset, in the years 1 to 9999.",
        ),
    ],
)
def test_unfit_value_is_refused_by_its_field(anywhere: CommandLine, event: list[str], words: str) -> None:
    run = anywhere("create", "--domain", "d", "--domain-id", "x", "--component", "c", *event)
    assert (run.code, run.sentence) == (2, words)


def test_unfit_line_of_bulk_fails_alone(anywhere: CommandLine) -> None:
    trace_id = anywhere("create", "--domain", "d", "--domain-id", "x", "--component", "c").out.strip()
    start = f'{{"trace_id": "{trace_id}", "component": "c"'
    lines = [
        f"{start}}}",
        f'{start}, "status_body": {{"n": {HUGE}}}}}',
        f'{start}, "meta": {{"n": {"9" * 5000}}}}}',
        f'{start}, "duration": 1e15}}',
        f'{start}, "s3_path": "caf\\udce9", "status_body": {{"\\ud800": "\\udcff"}}}}',
        f'{start}, "colour\\udce9": "red"}}',
        f'{start}, "status_body": {"[" * 900}{"]" * 900}}}',
        f'{start}, "status_body": {{"a": {"[" * 200}{"]" * 200}}}}}',
    ]
    run = anywhere("update", "--bulk", "-", stdin="\n".join(lines))
    assert (run.code, run.err) == (2, "2 events are recorded, 6 are not.\n")
    errors = {failure["line"]: failure["error"] for failure in run.json_lines}
    assert errors.pop(8).endswith("[0] is nested too deep")
    assert errors == {
        2: "status_body.n must be a finite number that a double can hold",
        3: "has a number of more than 4300 digits",
        4: "duration must be a timedelta of 0 to 315,576,000,000 s",
        6: "colour\udce9 is not a field of an event",
        7: "status_body must be a JSON object",
    }
    event = anywhere("get", trace_id, "--format", "json").json["events"][-1]
    assert (event["s3_path"], event["status_body"]) == ("caf\\xe9", {"\\ud800": "\\xff"})


def test_report_of_line_with_surrogate_can_be_sent_again(cli: CommandLine, traces: Traces) -> None:
    said = {"trace_id": traces.create(), "component": "c", "user": "\udcff", "colour": "red"}
    first = cli("update", "--bulk", "-", stdin=json.dumps(said))
    assert first.json_lines[0]["event"] == said
    assert cli("update", "--bulk", "-", stdin=first.out.replace("colour", "operation")).code == 0
