"""docs/lineage.md: its examples run as they stand, its picture is what the command draws."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from status_grpc import Dataset, Lineage, LineageDirection, LineageEdge, LineageTrace, TraceEventStatus, TraceStatus
from status_grpc.cli.lineage_svg import svg

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "lineage.md").read_text()


def blocks(language: str) -> str:
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL))


def test_the_examples_run(address: str, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STATUS_GRPC_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**kept, "PATH": path, "STATUS_GRPC_SERVER": address, "HOME": str(tmp_path)}
    for command in ([sys.executable, "-c", blocks("python")], ["bash", "-euc", blocks("bash")]):
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "s3://lake/raw/bikes.csv" in done.stdout
    assert (tmp_path / "lineage.svg").read_text().startswith("<svg")


def drawn() -> str:
    """Return the picture of the page: a report, from a table, from two files, one of which another trace has made."""
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    edges = (
        ("bikes-report-3f0c", True, "s3://lake/report.pdf", "", 1),
        ("bikes-report-3f0c", False, "s3://lake/bikes.parquet", "", 2),
        ("bikes-report-3f0c", False, "s3://lake/reference/stations.json", "", 2),
        ("bikes-1f0c", True, "s3://lake/bikes.parquet", "", 3),
        ("stations-7a2e", True, "s3://lake/reference/stations.json", "", 3),
        ("bikes-1f0c", False, "s3://lake/raw/bikes.csv", "v1", 4),
        ("bikes-1f0c", False, "s3://lake/reference/stations.json", "", 4),
    )
    ok, failed = TraceEventStatus.OK, TraceEventStatus.FAILED
    traces = (
        ("bikes-report-3f0c", "bikes-report/1", ok, False),
        ("bikes-1f0c", "bikes/1", ok, True),
        ("stations-7a2e", "stations/1", failed, True),
    )
    lineage = Lineage(
        tuple(LineageEdge(t, written, Dataset(uri, version), 1, noon, d) for t, written, uri, version, d in edges),
        tuple(
            LineageTrace(
                trace_id,
                "dataset",
                domain_id,
                TraceStatus.FINISHED if done else TraceStatus.CONTINUE,
                outcome,
                done,
                noon,
                noon if done else None,
                "pipeline",
            )
            for trace_id, domain_id, outcome, done in traces
        ),
        truncated=False,
    )
    return svg("s3://lake/report.pdf", lineage, LineageDirection.UPSTREAM) + "\n"


def test_the_picture_is_what_the_command_draws() -> None:
    assert (ROOT / "docs" / "lineage.svg").read_text() == drawn(), "run: python tests/docs/test_docs_lineage.py"


if __name__ == "__main__":
    (ROOT / "docs" / "lineage.svg").write_text(drawn())
