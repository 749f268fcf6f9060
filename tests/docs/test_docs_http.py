"""docs/http.md: its examples run, one after the other, and say what they are said to say."""

import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from status_grpc.http.errors import STATUS_CODES

PATIENCE = 60
DOCUMENT = (Path(__file__).parents[2] / "docs" / "http.md").read_text()


@pytest.fixture
def url(tmp_path):
    command = [sys.executable, "-P", "-m", "status_grpc.cli.main", "serve", "--listen", "127.0.0.1:0"]
    command += ["--http", "127.0.0.1:0", "--drain-seconds", "0"]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=log, text=True)
    with process:
        assert process.stdout is not None
        try:
            assert select.select([process.stdout], [], [], PATIENCE)[0], "the server did not start"
            yield process.stdout.readline().split(" and ")[1].strip()
        finally:
            process.kill()


def test_the_examples(url):
    script = "set -eu\n" + "\necho\n".join(re.findall(r"^```bash\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL))
    script = script.replace("http://127.0.0.1:8080", url)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        '"end_time":"N/A","trace_status":"CONTINUE"',
        '"errors":[{"message":{"nb":"Rad 3 mangler pris","en":"Row 3 has no price"}}]',
        'start_time: must be a time such as 2026-01-31T12:00:00.123456+00:00"}\n400',
        '"eventCount":"2"',
        '"code": "invalid_argument", "message": "event.trace_status: must be one of',
        "\nid: 4.",
        "\nevent: done\n",
        '"trace_id":"0190c5a4-6a3e-7c39-a3d1-4f0f6a7d9b11"',
        '{"status":"alive"}',
        '{"status":"ready"}',
    ):
        assert words in done.stdout


def test_the_table_of_errors_has_every_code():
    (table,) = re.findall(r"^\| code \|.*?\n\n", DOCUMENT, re.MULTILINE | re.DOTALL)
    told = {int(code) for row in table.split("\n")[2:-2] for code in re.findall(r"\d+", row.split("|")[1])}
    # What only the modern calls answer is in docs/api.md; nobody is refused for want of credentials yet.
    others = {401, 403, 410, 504}
    assert {int(code) for code in STATUS_CODES.values()} - others <= told
