"""Pictures of the propagation benchmark's results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.benchmark.propagation.results import NAMES, OURS, OURS_WITHOUT_MARKS, counts_of
from tools.files import whole_file

STYLES: dict[str, dict[str, Any]] = {
    OURS: {"color": "#c1272d", "linewidth": 2.6, "marker": "o", "zorder": 5},
    OURS_WITHOUT_MARKS: {"color": "#c1272d", "linewidth": 1.4, "marker": "o", "linestyle": ":"},
    "nearest": {"color": "#555555", "marker": "s"},
    "shape": {"color": "#0072b2", "marker": "^"},
    "shape+ends": {"color": "#0072b2", "marker": "^", "linestyle": "--"},
    "morphological": {"color": "#009e73", "marker": "D"},
    "morphological+ends": {"color": "#009e73", "marker": "D", "linestyle": "--"},
}

def draw_curves(summary: dict[str, Any], path: Path) -> None:
    """Mean Dice against the number of key slices, one panel per set, as a PNG (whole or not at all).

    Args:
        summary: from `results.summarize`, not empty.
        path: the PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = [int(n) for n in counts_of(summary)]
    figure = Figure(figsize=(4.2 * len(summary) + 0.4, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(summary), squeeze=False, sharey=True)[0]
    lines: dict[str, Any] = {}
    for panel, (name, one) in zip(panels, summary.items(), strict=True):
        for method, values in one["dice"].items():
            style = {"linewidth": 1.5, "markersize": 5, **STYLES.get(method, {})}
            xs = [int(n) for n in values]
            (line,) = panel.plot(xs, list(values.values()), label=NAMES.get(method, method), **style)
            lines.setdefault(method, line)
        panel.set_title(f"{name} ({one['structures']} structures)", fontsize=11)
        panel.set_xlabel("key slices for each structure")
        panel.set_xticks(counts)
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("mean Dice")
    ordered = [method for method in NAMES if method in lines]
    figure.legend(
        handles=[lines[method] for method in ordered],
        loc="outside lower center",
        ncols=min(4, len(ordered)),
        frameon=False,
        fontsize=9,
    )
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
