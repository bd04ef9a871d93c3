"""Pictures of the interaction benchmark's results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.benchmark.interaction.results import GOAL, NAMES
from tools.benchmark.propagation.plots import STYLES
from tools.benchmark.propagation.results import OURS
from tools.files import whole_file
from tools.report import how_many

_STYLES: dict[str, dict[str, Any]] = {
    **STYLES,
    "suggested": STYLES[OURS],
    "equidistant": {"color": "#c1272d", "marker": "o", "linestyle": "--"},
    "random": {"color": "#c1272d", "marker": "o", "linestyle": ":"},
}


def draw_interaction(summary: dict[str, Any], path: Path) -> None:
    """Mean Dice and the share of acceptable slices against annotated slices, one column a set, as a PNG.

    Args:
        summary: `{set: results}` of one kind of annotator from `results.summarize`, not empty.
        path: the PNG, whole or not at all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(summary) + 0.4, 7.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, len(summary), squeeze=False, sharex="col", sharey="row")
    lines: dict[str, Any] = {}
    for column, (name, one) in enumerate(summary.items()):
        for panel, key in zip(panels[:, column], ("dice", "acceptable"), strict=True):
            for method, values in one[key].items():
                style = {"linewidth": 1.5, "markersize": 4, **_STYLES.get(method, {})}
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
        labels=[NAMES[method] for method in lines],
        loc="outside lower center",
        ncols=min(2 if panels.shape[1] == 1 else 3, len(lines)),
        frameon=False,
        fontsize=9,
    )
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
