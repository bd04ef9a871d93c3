"""Pictures of benchmark results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.benchmark.results import NAMES, OURS, OURS_WITHOUT_MARKS, counts_of
from tools.files import whole_file
from tools.report import how_many

_STYLES: dict[str, dict[str, Any]] = {
    OURS: {"color": "#c1272d", "linewidth": 2.6, "marker": "o", "zorder": 5},
    OURS_WITHOUT_MARKS: {"color": "#c1272d", "linewidth": 1.4, "marker": "o", "linestyle": ":"},
    "nearest": {"color": "#555555", "marker": "s"},
    "shape": {"color": "#0072b2", "marker": "^"},
    "shape+ends": {"color": "#0072b2", "marker": "^", "linestyle": "--"},
    "morphological": {"color": "#009e73", "marker": "D"},
    "morphological+ends": {"color": "#009e73", "marker": "D", "linestyle": "--"},
}

_INTERACTION_STYLES: dict[str, dict[str, Any]] = {
    **_STYLES,
    "suggested": _STYLES[OURS],
    "equidistant": {"color": "#c1272d", "marker": "o", "linestyle": "--"},
    "random": {"color": "#c1272d", "marker": "o", "linestyle": ":"},
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
            style = {"linewidth": 1.5, "markersize": 5, **_STYLES.get(method, {})}
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


def draw_interaction(summary: dict[str, Any], path: Path) -> None:
    """Mean Dice and the share of acceptable slices against annotated slices, one column a set, as a PNG.

    Args:
        summary: `{set: results}` of one kind of annotator from `interaction_results.summarize`, not empty.
        path: the PNG, whole or not at all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from tools.benchmark.interaction_results import GOAL
    from tools.benchmark.interaction_results import NAMES as TITLES

    figure = Figure(figsize=(4.2 * len(summary) + 0.4, 7.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, len(summary), squeeze=False, sharex="col", sharey="row")
    lines: dict[str, Any] = {}
    for column, (name, one) in enumerate(summary.items()):
        for panel, key in zip(panels[:, column], ("dice", "acceptable"), strict=True):
            for method, values in one[key].items():
                style = {"linewidth": 1.5, "markersize": 4, **_INTERACTION_STYLES.get(method, {})}
                (line,) = panel.plot([int(n) for n in values], list(values.values()), **style)
                lines.setdefault(method, line)
            panel.grid(alpha=0.25)
            panel.spines[["top", "right"]].set_visible(False)
        panels[0, column].axhline(GOAL, color="#999999", linewidth=1.0, linestyle=":")
        panels[0, column].set_title(f"{name} ({how_many(one['cases'], 'case')})", fontsize=11)
        panels[1, column].set_xlabel("annotated slices")
        panels[1, column].xaxis.get_major_locator().set_params(integer=True)
    panels[0, 0].set_ylabel("mean Dice")
    panels[1, 0].set_ylabel("share of slices acceptable as they are")
    figure.legend(
        handles=list(lines.values()),
        labels=[TITLES[method] for method in lines],
        loc="outside lower center",
        ncols=min(2 if panels.shape[1] == 1 else 3, len(lines)),
        frameon=False,
        fontsize=9,
    )
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
