"""Pictures of the comparison: Dice against cost, Dice by structure, and each method's worst case beside the truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.files import whole_file
from volumes.label_map import LabelMap
from volumes.volume import Volume

WIDTH = 340  # pixels of a panel
GAP = 10
HEAD = 24
_MARKS = "osD^vP*Xhp"


def draw_cost(summary: Mapping[str, Any], path: Path) -> None:
    """Mean Dice against seconds a case and against hours of training, as a PNG; methods without training at 0."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True)
    for place, one in enumerate(summary["methods"].values()):
        style = {"marker": _MARKS[place % len(_MARKS)], "color": f"C{place}", "linestyle": "", "markersize": 9}
        style |= {"clip_on": False, "zorder": 3}  # a mark at 0 is seen whole
        # One behind another is seen through it.
        style |= {"markerfacecolor": (f"C{place}", 0.25), "markeredgecolor": f"C{place}", "markeredgewidth": 1.6}
        score = one["mean"]["dsc"]
        panels[0].plot([one["seconds"]], [score], label=one["title"], **style)
        if one["training_hours"] is not None:
            panels[1].plot([one["training_hours"]], [score], **style)
    panels[0].set_xlabel("seconds a case, start-up included")
    panels[1].set_xlabel("hours of training")
    panels[0].set_ylabel("mean DSC")
    for panel in panels:
        panel.margins(0.12)
        panel.set_xlim(left=0)  # after the margins: a limit that is set freezes the other one as it is
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    _save(figure, path)


def draw_structures(summary: Mapping[str, Any], path: Path) -> None:
    """Mean DSC and NSD of each structure, a mark for each method, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    methods = list(summary["methods"].values())
    names = list(dict.fromkeys(name for one in methods for name in one["dsc"]))
    figure = Figure(figsize=(max(8.0, 1.3 * len(names)), 7.0), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 1, sharex=True)
    for panel, kind in zip(panels, ("dsc", "nsd"), strict=True):
        for place, one in enumerate(methods):
            # Side by side within a structure: marks on top of each other would hide the best and the worst.
            shift = (place - (len(methods) - 1) / 2) * 0.7 / max(1, len(methods))
            known = [(x + shift, one[kind][name]) for x, name in enumerate(names) if name in one[kind]]
            panel.plot(
                *zip(*known, strict=True),
                marker=_MARKS[place % len(_MARKS)], color=f"C{place}", linestyle="", label=one["title"],
                clip_on=False, zorder=3,
            )  # fmt: skip
        panel.set_ylabel(f"mean {kind.upper()}")
        panel.set_ylim(0, 1)
        panel.grid(axis="y", alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
        for x in range(1, len(names)):
            panel.axvline(x - 0.5, color="#dddddd", linewidth=0.8)
    panels[1].set_xticks(range(len(names)), [name.replace("_", "\n") for name in names], fontsize=9)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False, fontsize=9
    )
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def draw_case(title: str, volume: Volume, truth: LabelMap, found: LabelMap | None, path: Path) -> None:
    """The truth beside what a method made of it, on the slice where they differ most, as a PNG.

    Args:
        found: None: the method failed on this case.
    """
    from PIL import Image, ImageDraw

    from tools.overlay import color_lookup, paint

    made: NDArray[np.uint8] = np.zeros_like(truth.array) if found is None else found.array
    z = int(np.argmax([np.count_nonzero(one != other) for one, other in zip(truth.array, made, strict=True)]))
    dy, dx = volume.spacing[1:]
    height = round(WIDTH * volume.shape[1] * dy / (volume.shape[2] * dx))
    picture = Image.new("RGB", (2 * WIDTH + GAP, height + HEAD), (17, 19, 23))
    write, colors = ImageDraw.Draw(picture), color_lookup(truth.table)
    texts = (f"truth, slice {z}", title if found is not None else f"{title}: failed")
    for place, (labels, text) in enumerate(zip((truth.array[z], made[z]), texts, strict=True)):
        left = place * (WIDTH + GAP)
        picture.paste(paint(volume.array[z], labels, colors, (WIDTH, height)), (left, HEAD))
        write.text((left + 6, 6), text, fill=(232, 234, 237))
    with whole_file(path) as temporary:
        picture.save(temporary, format="png")
