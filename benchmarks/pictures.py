"""Pictures of a run, for documents."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench import Row

_MET, _MISSED, _NO_BAR = "#2a7f62", "#b5482a", "#8a94a6"


def draw(folder: Path, rows: Sequence[Row]) -> list[Path]:
    """Write ratios.svg: each row's ratio to its baseline, lowest to highest, and its bar."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "status-grpc"  # the same figures make the same file
    from matplotlib import pyplot

    shown = [row for row in rows if row.ratios and row.bar_is == "ratio" and not row.must]
    figure, axes = pyplot.subplots(figsize=(11, 0.34 * len(shown) + 1.2), layout="constrained")
    for at, row in enumerate(reversed(shown)):
        color = {None: _NO_BAR, True: _MET, False: _MISSED}[row.met]
        low, high = min(row.ratios), max(row.ratios)
        axes.plot([low, high], [at, at], color=color, linewidth=5, alpha=0.35, solid_capstyle="butt")
        axes.plot(row.ratio, at, "o", color=color, markersize=6)
        if row.bar is not None:
            axes.plot(row.bar, at, "|", color="black", markersize=14, markeredgewidth=2)
    labels = [f"{row.workload} {row.what} / {row.baseline_name}" for row in reversed(shown)]
    axes.set_yticks(range(len(shown)), labels, fontsize=8)
    axes.set_xscale("log")
    axes.axvline(1, color="#cccccc", linewidth=1, zorder=0)
    axes.set_xlabel("ratio in one run: median (dot), lowest to highest (band), bar to reach (stroke)", fontsize=9)
    axes.margins(y=0.01)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    path = folder / "ratios.svg"
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    return [path]
