"""A lineage as a graph of nodes and arcs, and in the languages of Graphviz and Mermaid."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from status_grpc.domain.lineage import Lineage, LineageDirection, LineageTrace

#: What people see of a name.
_LONGEST_LABEL = 40
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@dataclass(slots=True)
class Node:
    """A dataset, or a trace (`trace` is what is known of it). `depth` is how many edges it is away from the start."""

    name: str
    depth: int
    is_trace: bool
    trace: LineageTrace | None = None

    @property
    def label(self) -> str:
        """The name, short enough for a picture."""
        if self.is_trace or len(self.name) <= _LONGEST_LABEL:
            return shortened(self.name)
        scheme, separator, path = self.name.partition("://")
        return shortened(f"{scheme}{separator}…/{path.rpartition('/')[2]}" if "/" in path else self.name)

    @property
    def about(self) -> str:
        """What the trace is about and how it stands, in a few words; empty for a dataset."""
        if not self.is_trace or self.trace is None:
            return ""
        return shortened(f"{self.state} · {self.trace.domain_id}")

    @property
    def state(self) -> str:
        """OK, FAILED or running; empty for a dataset, and for a trace of which nothing is known."""
        if self.trace is None:
            return ""
        return str(self.trace.trace_event_status) if self.trace.done else "running"


@dataclass(slots=True)
class Graph:
    """Nodes by their keys, and arcs in the direction in which data flows, with the versions that they are about."""

    nodes: dict[tuple[bool, str], Node] = field(default_factory=dict)
    arcs: dict[tuple[tuple[bool, str], tuple[bool, str]], list[str]] = field(default_factory=dict)


def graph_of(start: str, lineage: Lineage, direction: LineageDirection) -> Graph:
    """Return the graph. Versions of a dataset are one node."""
    traces = {trace.trace_id: trace for trace in lineage.traces}
    graph = Graph()
    begins_with_trace = not lineage.edges or lineage.edges[0].written is (direction is LineageDirection.DOWNSTREAM)
    if not lineage.edges:
        begins_with_trace = start in traces
    graph.nodes[begins_with_trace, start] = Node(start, 0, begins_with_trace, traces.get(start))
    for edge in lineage.edges:
        trace, dataset = (True, edge.trace_id), (False, edge.dataset.uri)
        for key in (trace, dataset):
            if key not in graph.nodes:
                about = traces.get(edge.trace_id) if key[0] else None
                graph.nodes[key] = Node(key[1], edge.depth, key[0], about)
        versions = graph.arcs.setdefault((trace, dataset) if edge.written else (dataset, trace), [])
        if edge.dataset.version and edge.dataset.version not in versions:
            versions.append(edge.dataset.version)
    return graph


def dot(start: str, lineage: Lineage, direction: LineageDirection) -> str:
    """Return the lineage in Graphviz' language, left to right as the data flows."""
    graph = graph_of(start, lineage, direction)
    ids = {key: f"n{number}" for number, key in enumerate(graph.nodes)}
    lines = ["digraph lineage {", "  rankdir=LR;", '  node [fontname="sans-serif"];']
    for key, node in graph.nodes.items():
        label = "\\n".join(_dot_text(text) for text in (node.label, node.about) if text)
        shape = f"box, style=filled, fillcolor={_DOT_COLORS[node.state]}" if node.is_trace else "box, style=rounded"
        bold = ", penwidth=2" if node.depth == 0 else ""
        lines.append(f'  {ids[key]} [label="{label}", tooltip="{_dot_text(node.name)}", shape={shape}{bold}];')
    for (source, target), versions in graph.arcs.items():
        label = f' [label="{_dot_text(_versions(versions))}"]' if versions else ""
        lines.append(f"  {ids[source]} -> {ids[target]}{label};")
    return "\n".join([*lines, "}"])


_DOT_COLORS = {"OK": '"#d3f0d8"', "FAILED": '"#f8d0cc"', "running": '"#d6e4fa"', "": '"#eeeeee"'}


def _dot_text(text: str) -> str:
    return _one_line(text).replace("\\", "\\\\").replace('"', '\\"')


def mermaid(start: str, lineage: Lineage, direction: LineageDirection) -> str:
    """Return the lineage in Mermaid's language, left to right as the data flows."""
    graph = graph_of(start, lineage, direction)
    ids = {key: f"n{number}" for number, key in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for key, node in graph.nodes.items():
        label = "<br/>".join(_mermaid_text(text) for text in (node.label, node.about) if text)
        shape = f'["{label}"]' if node.is_trace else f'(["{label}"])'
        lines.append(f"  {ids[key]}{shape}{_MERMAID_CLASSES[node.state] if node.is_trace else ''}")
    for (source, target), versions in graph.arcs.items():
        label = f'|"{_mermaid_text(_versions(versions))}"|' if versions else ""
        lines.append(f"  {ids[source]} -->{label} {ids[target]}")
    lines += ["  classDef ok fill:#d3f0d8", "  classDef failed fill:#f8d0cc", "  classDef running fill:#d6e4fa"]
    return "\n".join(lines)


_MERMAID_CLASSES = {"OK": ":::ok", "FAILED": ":::failed", "running": ":::running", "": ""}


def _mermaid_text(text: str) -> str:
    """Return the text with everything that has a meaning as an entity of Mermaid's own kind."""
    return re.sub(r"[^\w .,/:@+=·…-]", lambda match: f"#{ord(match[0])};", _one_line(text))


def _versions(versions: list[str]) -> str:
    return shortened(", ".join(versions[:3]) + (" …" if len(versions) > 3 else ""))


def shortened(text: str) -> str:
    """Return the text on one line, with its middle left out if it is long."""
    text = _one_line(text)
    if len(text) <= _LONGEST_LABEL:
        return text
    half = (_LONGEST_LABEL - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def _one_line(text: str) -> str:
    return _CONTROL_CHARACTERS.sub("�", text)
