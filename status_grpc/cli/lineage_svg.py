"""A lineage as a picture: layers from left to right as the data flows, few crossings, and no more than can be read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from status_grpc.cli.lineage_graph import Graph, Node, graph_of, shortened
from status_grpc.domain.lineage import Lineage, LineageDirection

#: How many nodes one layer shows; the rest of it is one node that says how many there are.
_MOST_PER_LAYER = 24
_SWEEPS = 8
#: How many arcs may have places of their own in the layers that they pass.
_MOST_LONG_ARCS = 60

_BOX_WIDTH, _BOX_HEIGHT = 300, 40
_COLUMN, _ROW = 380, 56
_MARGIN, _TITLE = 24, 56

_Key = tuple[bool, str]


@dataclass(slots=True)
class _Box:
    """What has a place in the picture: a node; all the nodes of a layer for which there is no room (`stands_for` > 1);
    or, without a node, the place where an arc passes a layer.
    """

    layer: int
    node: Node | None = None
    stands_for: int = 1
    row: float = 0.0
    neighbours: list[_Box] = field(default_factory=list, repr=False)


@dataclass(slots=True)
class _Arc:
    """An arc, with the boxes at which it passes the layers in between."""

    source: _Box
    target: _Box
    versions: list[str]
    via: list[_Box] = field(default_factory=list)


def svg(start: str, lineage: Lineage, direction: LineageDirection) -> str:
    """Return the picture as one SVG element that stands by itself."""
    graph = graph_of(start, lineage, direction)
    upstream = direction is LineageDirection.UPSTREAM
    boxes = _boxes(graph, _distances(graph, upstream=upstream), upstream=upstream)
    shown = list({id(box): box for box in boxes.values()}.values())
    arcs = _arcs(graph, boxes)
    layers = _layers([*shown, *(box for arc in arcs for box in arc.via)])
    _order(layers)
    width = len(layers) * _COLUMN - (_COLUMN - _BOX_WIDTH) + 2 * _MARGIN
    height = max(len(layer) for layer in layers) * _ROW + 2 * _MARGIN + _TITLE
    where = "Where it comes from" if upstream else "What became of it"
    more = " There is more than is shown." if lineage.truncated else ""
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title">',
        f'<title id="title">{_text(f"{where}: {start}.{more}")}</title>',
        _STYLE,
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_MARGIN}" y="{_MARGIN + 14}" class="heading">{_text(_heading(where, start))}</text>',
        f'<text x="{_MARGIN}" y="{_MARGIN + 34}" class="about">{_text(_counts(graph) + more)}</text>',
        *(_arc(arc) for arc in arcs),
        *(_box(box, box.node) for box in shown if box.node),
        "</svg>",
    ]
    return "\n".join(parts)


_STYLE = """<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0L8 4L0 8z" fill="#7a828c"/></marker></defs>
<style>
text { font: 13px ui-sans-serif, system-ui, sans-serif; fill: #1c2127 }
.heading { font-size: 15px; font-weight: 600 } .about { fill: #59626d; font-size: 11px }
.arc { fill: none; stroke: #7a828c; stroke-width: 1.2 } .version { fill: #59626d; font-size: 10px; text-anchor: middle }
.dataset { fill: #fffdf4; stroke: #b59a3b } .trace { stroke: #59626d; fill: #eeeeee }
.OK { fill: #d3f0d8; stroke: #3b8a4c } .FAILED { fill: #f8d0cc; stroke: #b8423a }
.running { fill: #d6e4fa; stroke: #3f6fb5; stroke-dasharray: 5 3 } .start { stroke-width: 2.5 }
</style>"""


def _distances(graph: Graph, *, upstream: bool) -> dict[_Key, int]:
    """Return how far from the start each node is drawn: on the longest way, so that arcs lead forwards.

    Where the lineage is a circle, the arc that closes it does not count.
    """
    outwards: dict[_Key, list[_Key]] = {key: [] for key in graph.nodes}
    for source, target in graph.arcs:
        if upstream:
            outwards[target].append(source)
        else:
            outwards[source].append(target)
    order: list[_Key] = []
    closing: set[tuple[_Key, _Key]] = set()
    start = next(iter(graph.nodes))
    stack: list[tuple[_Key, Iterator[_Key]]] = [(start, iter(outwards[start]))]
    seen, open_ = {start}, {start}
    while stack:
        key, rest = stack[-1]
        for other in rest:
            if other in open_:
                closing.add((key, other))
            elif other not in seen:
                seen.add(other)
                open_.add(other)
                stack.append((other, iter(outwards[other])))
                break
        else:
            stack.pop()
            open_.discard(key)
            order.append(key)
    distances = {key: node.depth for key, node in graph.nodes.items()}
    for key in reversed(order):
        for other in outwards[key]:
            if (key, other) not in closing:
                distances[other] = max(distances[other], distances[key] + 1)
    return distances


def _boxes(graph: Graph, distances: dict[_Key, int], *, upstream: bool) -> dict[_Key, _Box]:
    """Return a box for each node. What its layer has no room for shares one; what leads on from what is shown stays."""
    furthest = max(distances.values())
    by_distance: dict[int, list[_Key]] = defaultdict(list)
    for key, distance in distances.items():
        by_distance[distance].append(key)
    inwards: dict[_Key, list[_Key]] = defaultdict(list)
    for source, target in graph.arcs:
        inwards[source if upstream else target].append(target if upstream else source)
    boxes: dict[_Key, _Box] = {}
    places: dict[_Key, int] = {}
    for distance in sorted(by_distance):
        layer = furthest - distance if upstream else distance
        keys = sorted(
            by_distance[distance],
            key=lambda key: (min((places[other] for other in inwards[key] if other in places), default=10**9), key[1]),
        )
        room = len(keys) if len(keys) <= _MOST_PER_LAYER else _MOST_PER_LAYER - 1
        for place, key in enumerate(keys[:room]):
            boxes[key] = _Box(layer, graph.nodes[key])
            places[key] = place
        if keys[room:]:
            boxes |= dict.fromkeys(keys[room:], _Box(layer, graph.nodes[keys[room]], stands_for=len(keys) - room))
    return boxes


def _arcs(graph: Graph, boxes: dict[_Key, _Box]) -> list[_Arc]:
    arcs: dict[tuple[int, int], _Arc] = {}
    for (source, target), versions in graph.arcs.items():
        ends = boxes[source], boxes[target]
        arc = arcs.setdefault((id(ends[0]), id(ends[1])), _Arc(*ends, []))
        arc.versions.extend(version for version in versions if version not in arc.versions)
    long = [arc for arc in arcs.values() if arc.target.layer > arc.source.layer + 1]
    if len(long) <= _MOST_LONG_ARCS:
        for arc in long:
            arc.via = [_Box(layer) for layer in range(arc.source.layer + 1, arc.target.layer)]
    for arc in arcs.values():
        for one, other in pairwise([arc.source, *arc.via, arc.target]):
            one.neighbours.append(other)
            other.neighbours.append(one)
    return list(arcs.values())


def _layers(boxes: Iterable[_Box]) -> list[list[_Box]]:
    """Return the layers from left to right."""
    layers: dict[int, list[_Box]] = defaultdict(list)
    for box in boxes:
        layers[box.layer].append(box)
    return [layers[layer] for layer in sorted(layers)]


def _order(layers: list[list[_Box]]) -> None:
    """Give every box its row: near to the middle of its neighbours in the layer before, then behind, and so on."""
    tallest = max(len(layer) for layer in layers)

    def place(layer: list[_Box]) -> None:
        first = (tallest - len(layer)) / 2
        for number, box in enumerate(layer):
            box.row = first + number

    def by_middle(side: int) -> Callable[[_Box], tuple[bool, float]]:
        def middle(box: _Box) -> tuple[bool, float]:
            rows = [other.row for other in box.neighbours if other.layer == side]
            # What stands for the rest of a layer stays behind the others.
            return box.stands_for > 1, sum(rows) / len(rows) if rows else box.row

        return middle

    for layer in layers:
        place(layer)
    for sweep in range(_SWEEPS):
        forwards = sweep % 2 == 0
        for layer in layers if forwards else reversed(layers):
            layer.sort(key=by_middle(layer[0].layer + (-1 if forwards else 1)))
            place(layer)


def _corner(box: _Box) -> tuple[float, float]:
    return _MARGIN + box.layer * _COLUMN, _MARGIN + _TITLE + box.row * _ROW


def _box(box: _Box, node: Node) -> str:
    x, y = _corner(box)
    kind = f"trace {node.state}" if node.is_trace else "dataset"
    label, about, title = node.label, node.about, f"{node.name} {node.about}"
    if box.stands_for > 1:
        kind, about = "trace" if node.is_trace else "dataset", ""
        label = title = f"… and {box.stands_for:,} more {'traces' if node.is_trace else 'datasets'}"
    start = " start" if not node.depth else ""
    frame = f'x="{x:g}" y="{y:g}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="{3 if node.is_trace else 18}"'
    parts = [
        f"<g><title>{_text(title.strip())}</title>",
        f'<rect {frame} class="{kind}{start}"/>',
        f'<text x="{x + 14:g}" y="{y + (17 if about else 25):g}">{_text(label)}</text>',
    ]
    if about:
        parts.append(f'<text x="{x + 14:g}" y="{y + 32:g}" class="about">{_text(about)}</text>')
    return "".join([*parts, "</g>"])


def _arc(arc: _Arc) -> str:
    x, y = _corner(arc.source)
    x, y = x + _BOX_WIDTH, y + _BOX_HEIGHT / 2
    curve = f"M{x:g} {y:g}"
    for box in (*arc.via, arc.target):
        to_x, to_y = _corner(box)
        to_y += _BOX_HEIGHT / 2
        # One that leads back, in a circle, bows out on both sides.
        bend = (to_x - x) / 2 if to_x > x else _COLUMN / 2
        curve += f"C{x + bend:g} {y:g} {to_x - bend:g} {to_y:g} {to_x:g} {to_y:g}"
        x, y = to_x, to_y
        if box is not arc.target:
            x += _BOX_WIDTH
            curve += f"H{x:g}"
    path = f'<path class="arc" marker-end="url(#end)" d="{curve}"/>'
    if not arc.versions:
        return path
    said = shortened(", ".join(arc.versions[:2]) + (" …" if len(arc.versions) > 2 else ""))
    return f'{path}<text class="version" x="{x - (_COLUMN - _BOX_WIDTH) / 2:g}" y="{y - 5:g}">{_text(said)}</text>'


def _heading(where: str, start: str) -> str:
    return f"{where}: {start if len(start) <= 90 else shortened(start)}"


def _counts(graph: Graph) -> str:
    traces = sum(node.is_trace for node in graph.nodes.values())
    return f"{_number(traces, 'trace')}, {_number(len(graph.nodes) - traces, 'dataset')}."


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _text(text: str) -> str:
    """Return the text for XML, which has no control characters and no halves of characters."""
    kept = "".join(c if c.isprintable() else "�" for c in text.encode("utf-8", "replace").decode())
    return escape(kept)
