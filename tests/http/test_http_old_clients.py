"""The published packages okdata-sdk, okdata-aws and okdata-cli, unmodified, against the gateway."""

import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gateway import PATIENCE
from old_bodies import created, events, update, updated

from status_grpc import StatusClient

ROOT = Path(__file__).parents[2]
# Making the environments takes a while, the first time.
pytestmark = pytest.mark.timeout(900)

#: What somebody does who points the command line at another service: it is in its configuration.
OKDATA = """
import os
from okdata.sdk.config import OKDATA_CONFIG
OKDATA_CONFIG["prod"]["statusApiUrl"] = os.environ["STATUS_API_URL"]
from okdata.cli.__main__ import main
main()
"""


def python_of(package: str) -> Path:
    """Return the Python of the environment with that package, which is made if it is not there yet."""
    folder = ROOT / ".cache" / package
    folder.parent.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = ["make", "--silent", f"PYTHON={sys.executable}", f".cache/{package}/.ready"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def lambda_(gateway):
    """Run a function of tests/http/old_lambda.py; return what it prints."""
    python = python_of("okdata-aws")

    def run(what: str, trace_id: str) -> Any:
        done = subprocess.run(
            [python, Path(__file__).with_name("old_lambda.py"), f"{gateway.url}/status-api/status", what, trace_id],
            env={"PATH": os.environ["PATH"], "SERVICE_NAME": "my-service", "GIT_REV": "abc123", "GIT_BRANCH": "main"},
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        )
        assert "Status API error" not in done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def okdata(gateway):
    """Start `okdata` with these arguments."""
    python = python_of("okdata-cli")
    environment = {
        "PATH": os.environ["PATH"],
        "TZ": "Europe/Oslo",
        "STATUS_API_URL": f"{gateway.url}/status-api/status",
        "PYTHONUNBUFFERED": "1",
    }

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [python, "-c", OKDATA, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def told(okdata):
    """Run `okdata` with these arguments; return what it prints."""

    def run(*arguments: str) -> str:
        with okdata(*arguments) as process:
            out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, err) == (0, "")
        return out

    return run


def test_a_wrapped_handler_that_succeeds(http, lambda_):
    trace_id = created(http)
    assert lambda_("success", trace_id) == {"valid": False}
    event = events(http, trace_id)[-1]
    assert event.pop("duration") > 0
    assert event.pop("start_time") <= event.pop("end_time")
    del event["trace_event_id"]
    assert event == {
        "trace_id": trace_id,
        "domain": "dataset",
        "domain_id": "my-dataset/1",
        "trace_status": "CONTINUE",
        "trace_event_status": "OK",
        "user": "ooo123456",
        "component": "my-service",
        "operation": "validate",
        "status_body": {"rows": 3},
        "meta": {
            "function_name": "my-function",
            "function_version": "$LATEST",
            "function_stage": "dev",
            "function_api_id": "api",
            "git_rev": "abc123",
            "git_branch": "main",
        },
        "errors": [{"message": {"nb": "Rad 3 mangler pris", "en": "Row 3 has no price"}}],
    }


def test_a_wrapped_handler_that_fails(http, rpc: StatusClient, lambda_):
    trace_id = created(http)
    assert lambda_("failure", trace_id) == "division by zero"
    event = events(http, trace_id)[-1]
    assert (event["trace_status"], event["trace_event_status"]) == ("FINISHED", "FAILED")
    assert (event["operation"], event["exception"], event["domain"]) == ("convert", "division by zero", "N/A")
    trace = rpc.get_trace(trace_id).trace
    assert trace.done
    assert trace.first_failure is not None
    assert trace.first_failure.exception_message == "division by zero"


def test_the_handler_of_the_end_of_an_execution(http, rpc: StatusClient, lambda_):
    trace_id = created(http)
    lambda_("success", trace_id)
    answered = lambda_("end", trace_id)
    assert answered == events(http, trace_id)[-1]
    trace = rpc.get_trace(trace_id).trace
    assert (trace.done, trace.trace_event_status) == (True, "FAILED")
    assert trace.first_failure is not None
    assert trace.first_failure.component == "my-service"  # which reported the error that the end does not name


def test_the_sdk(http, lambda_):
    trace_id = created(http)
    answered, got = lambda_("sdk", trace_id)
    assert got == events(http, trace_id)
    assert got[-1] == answered
    assert answered["component"] == "sdk"


@pytest.fixture
def failed(http) -> str:
    """A trace with a history and an end."""
    trace_id = created(http, user="me", operation="upload")
    long = "The third row of the file has no price, which is why nothing of it has been taken over"
    updated(
        http,
        trace_id,
        component="validator",
        domain_id="my-dataset/1",
        end_time="N/A",
        errors=[{"message": {"nb": "Rad 3", "en": long}}, {"message": {"nb": "x", "en": "Second"}}],
    )
    end = {"domain_id": "my-dataset/1", "trace_status": "FINISHED", "trace_event_status": "FAILED"}
    updated(http, trace_id, component="state-machine", **end)
    return trace_id


def ours(gateway, *arguments: str) -> str:
    """Return what our own command line prints."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "status_grpc.cli.main", "status", "--server", gateway.grpc, *arguments],
        env=os.environ | {"TZ": "Europe/Oslo", "COLUMNS": "400"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.stderr == ""
    return done.stdout


def test_the_status_that_the_old_command_line_shows_is_that_of_ours(gateway, told, failed):
    old = json.loads(told("status", failed, "--format=json"))
    assert old == json.loads(ours(gateway, failed, "--format=json"))
    assert (old["done"], old["trace_status"], old["trace_event_status"]) == (True, "FINISHED", "FAILED")
    assert words(told("status", failed)) == words(ours(gateway, failed))


def test_the_history_that_the_old_command_line_shows_is_that_of_ours(gateway, told, failed):
    old = json.loads(told("status", failed, "--history", "--format=json"))
    new = json.loads(ours(gateway, failed, "--history", "--format=json"))
    assert old == [
        {**event, **{name: event[name].replace("Z", "+00:00") for name in ("start_time", "end_time")}} for event in new
    ]
    assert words(told("status", failed, "--history")) == words(ours(gateway, failed, "--history"))


def words(table: str) -> list[str]:
    """Return what the cells of a table say, whatever is drawn around them and however they are broken."""
    rows = [line for line in table.splitlines() if line and not line.startswith(("+", "Status for"))]
    text = " ".join(rows[1:]).replace("|", " ")
    text = re.sub(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)\+\d\d:\d\d", r"\1 \2", text)
    return text.split()


def test_watch_ends_when_the_trace_does(http, okdata):
    trace_id = created(http)
    with okdata("status", trace_id, "--watch") as process:
        assert process.stdout is not None
        assert process.stdout.read(7) == "Waiting"
        http.post(
            f"/status/{trace_id}", json=update(trace_status="FINISHED", trace_event_status="OK")
        ).raise_for_status()
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    assert words(out.partition("\n")[2])[:2] == ["Yes", trace_id]


def test_a_trace_that_is_unknown_is_said_to_be(told):
    assert told("status", "nobody-knows") == "An error occurred: there is no trace 'nobody-knows'\n"
    assert json.loads(told("status", "nobody-knows", "--format=json")) == {
        "message": "there is no trace 'nobody-knows'",
        "error": 1,
    }
