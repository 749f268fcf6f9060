"""lineage: the command, and its pictures."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import pairwise
from uuid import uuid4
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from status_grpc import (
    Dataset,
    Lineage,
    LineageDirection,
    LineageEdge,
    LineageTrace,
    TraceEventStatus,
    TraceStatus,
)
from status_grpc.cli.lineage_graph import dot, graph_of, mermaid
from status_grpc.cli.lineage_svg import svg

SVG = "{http://www.w3.org/2000/svg}"
UP, DOWN = LineageDirection.UPSTREAM, LineageDirection.DOWNSTREAM


@pytest.fixture(scope="module")
def lake(traces) -> str:
    """A folder: raw.csv was converted to table (by a trace that failed), which a trace that runs has read."""
    lake = f"s3://lake-{uuid4()}"
    convert, report = f"convert-{lake[10:]}", f"report-{lake[10:]}"
    traces.create(trace_id=convert, inputs=[Dataset(f"{lake}/raw.csv", "v1")])
    traces.update(convert, status_body={"files_outgoing": [f"{lake}/table"]})
    traces.finish(convert, TraceEventStatus.FAILED)
    traces.create(trace_id=report, inputs=[Dataset(f"{lake}/table")])
    return lake


def test_a_table_tells_where_a_file_comes_from(cli, lake):
    run = cli("lineage", f"{lake}/table")
    assert run.code == 0
    _, wrote, read = (re.split(r"\s{2,}", line) for line in run.out.splitlines())
    assert (wrote[0], wrote[2], wrote[3], wrote[-1]) == ("1", "wrote", f"{lake}/table", "failed")
    assert (read[0], read[2], read[3], read[4], read[6]) == ("2", "read", f"{lake}/raw.csv", "v1", "failed")


def test_json_tells_what_a_trace_made_and_who_read_it(cli, lake):
    found = cli("lineage", f"convert-{lake[10:]}", "--direction", "down", "--format", "json").json
    assert [(edge["written"], edge["dataset"], edge["depth"]) for edge in found["edges"]] == [
        (True, {"uri": f"{lake}/table"}, 1),
        (False, {"uri": f"{lake}/table"}, 2),
    ]
    assert [trace["done"] for trace in found["traces"]] == [True, False]
    assert (found["direction"], found["truncated"]) == ("DOWNSTREAM", False)


def test_what_the_limits_leave_out_is_told_aside(cli, lake):
    for flags in (("--depth", "1"), ("--limit", "1"), ("--version", "v2")):
        run = cli("lineage", f"{lake}/raw.csv", "--direction", "down", "--format", "json", *flags)
        assert run.code == 0
        assert len(run.json["edges"]) == (0 if "--version" in flags else 1)
        assert ("see --depth and --limit" in run.err) == ("--version" not in flags)


def test_openlineage_tells_every_trace(cli, lake):
    events = cli("lineage", f"{lake}/table", "--format", "openlineage").json_lines
    whole = [f"{event['eventType']} {event['job']['name']}" for event in events]
    assert whole[:2] == ["START d/1", "START d/1.data-uploader"]
    assert whole[-2:] == ["FAIL d/1.state-machine", "FAIL d/1"]
    assert events[4]["outputs"] == [{"namespace": lake, "name": "table"}]


@pytest.mark.parametrize(
    ("form", "expected"),
    [("dot", '[label="v1"]'), ("mermaid", '-->|"v1"|'), ("svg", ">v1</text>")],
)
def test_pictures_are_written(cli, lake, form, expected):
    run = cli("lineage", f"{lake}/table", "--format", form)
    assert (run.code, run.err) == (0, "")
    assert expected in run.out


def test_what_nobody_has_named_is_told_aside(cli):
    run = cli("lineage", "s3://nobody/knows")
    assert (run.code, run.err) == (0, "No event has said where s3://nobody/knows comes from.\n")
    assert cli("lineage", "nobody-knows", "--as", "dataset", "--direction", "down", "--format", "svg").code == 0


def test_a_trace_that_is_not_there_is_not_found(cli):
    for arguments in (("no-such-trace",), ("s3://no/such", "--as", "trace")):
        assert cli("lineage", *arguments).code == 3


# Pictures, of lineages that are made up


def edge(trace_id: str, wrote: bool, uri: str, depth: int, version: str = "") -> LineageEdge:
    return LineageEdge(trace_id, wrote, Dataset(uri, version), 1, datetime(2026, 1, 31, tzinfo=UTC), depth)


def known(trace_id: str, done: bool = True) -> LineageTrace:
    now = datetime(2026, 1, 31, tzinfo=UTC)
    status = TraceStatus.FINISHED if done else TraceStatus.CONTINUE
    return LineageTrace(trace_id, "dataset", "bikes/1", status, TraceEventStatus.OK, done, now, now, "end")


def positions(picture: str) -> dict[str, tuple[float, float]]:
    """Where the box of each name is."""
    root = ElementTree.fromstring(picture)
    found = {}
    for group in root.iter(f"{SVG}g"):
        title, box = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
        assert title is not None
        assert box is not None
        found[(title.text or "").partition(" ")[0]] = (float(box.get("x", "")), float(box.get("y", "")))
    return found


def test_data_flows_from_left_to_right():
    edges = (
        edge("t1", True, "end", 1),
        edge("t1", False, "middle", 2),
        edge("t1", False, "shortcut", 2),
        edge("t2", True, "middle", 3),
        edge("t2", False, "shortcut", 4),
    )
    places = positions(svg("end", Lineage(edges, (known("t1"), known("t2", done=False)), False), UP))
    flow = ["shortcut", "t2", "middle", "t1", "end"]
    assert [name for name, _ in sorted(places.items(), key=lambda entry: entry[1])] == flow
    assert all(places[one][0] < places[other][0] for one, other in pairwise(flow))


def test_no_two_boxes_cover_each_other_and_what_is_too_much_is_counted():
    edges = (
        edge("fan", False, "one", 1),
        *(edge("fan", True, f"part-{n}", 2) for n in range(1000)),
        *(edge(f"reader-{n}", False, f"part-{n}", 3) for n in range(1000)),
    )
    picture = svg("one", Lineage(edges, (), True), DOWN)
    places = positions(picture)
    assert len(places) == len(set(places.values())) < 60
    assert "977 more datasets" in picture
    assert "977 more traces" in picture
    assert "There is more than is shown" in picture


def test_a_circle_is_drawn():
    edges = (
        edge("t1", False, "a", 1),
        edge("t1", True, "a", 2),
        edge("t1", True, "b", 2),
        edge("t2", False, "b", 3),
        edge("t2", True, "a", 4),
    )
    lineage = Lineage(edges, (), False)
    assert set(positions(svg("a", lineage, DOWN))) == {"a", "b", "t1", "t2"}
    assert len(graph_of("a", lineage, DOWN).arcs) == 5


names = st.text(min_size=1, max_size=60)


@given(names, st.lists(st.tuples(names, st.booleans(), names, st.integers(1, 4), names), max_size=8))
def test_any_names_make_pictures(start, given_edges):
    edges = tuple(edge(*given) for given in sorted(given_edges, key=lambda given: given[3]))
    lineage = Lineage(edges, tuple(known(given.trace_id) for given in edges[:2]), False)
    for direction in (UP, DOWN):
        ElementTree.fromstring(svg(start, lineage, direction).encode("utf-8"))
        for text in (dot(start, lineage, direction), mermaid(start, lineage, direction)):
            assert len(text.split("\n")) == len(text.splitlines()), "no name breaks a line"
        for line in dot(start, lineage, direction).splitlines():
            assert len(re.findall(r'(?<!\\)(?:\\\\)*"', line)) % 2 == 0, "no name ends its quotes"
        for line in mermaid(start, lineage, direction).splitlines():
            assert line.count('"') in (0, 2)
