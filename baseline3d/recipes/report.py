"""A recipe's report, `report.json` for programs and `report.md` for people: what was done, and what it gained.

Made of what is on the disk alone, without times, so that a recipe that was killed and went on reports the same as one
that was not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from baseline3d.recipes.recipe import Recipe, Work
from cps.journal import write_whole
from cps.round_report import REPORT_JSON, REPORT_MD, describe, markdown
from cps.round_state import RoundsState

_COLUMNS = {
    "start": "supervised start",
    "trained": "last round",
    "shipped": "with post-processing",
}


def write_recipe_report(
    work: Work,
    recipe: Recipe,
    state: RoundsState,
    chosen: Path,
    scores: Mapping[str, Mapping[str, float]],
    skipped: Sequence[str],
) -> None:
    """Write both files into the recipe's folder, each whole or not at all.

    Args:
        state: of the rounds, ended.
        chosen: weights that the recipe ends with, before post-processing.
        scores: Dice on the validation cases by structure, under `start`, `trained` and, where there is post-processing,
            `shipped`.
        skipped: what does not apply to these structures.
    """
    end = list(scores)[-1]
    content = {
        "name": work.whole.name,
        "recipe": {"kind": type(recipe).__name__.lower(), **asdict(recipe)},
        "weights": f"{work.whole.name}.safetensors",
        "weights_of": chosen.relative_to(work.folder).as_posix(),
        "pseudo_labels_used": max(state.rounds) > 1,
        "gain": _gain(scores, end),
        "gain_without_postprocessing": _gain(scores, "trained"),
        "scores": {name: dict(one) for name, one in scores.items()},
        "skipped": list(skipped),
        "rounds": describe(state),
    }
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(work.folder / REPORT_JSON, text + "\n")
    write_whole(work.folder / REPORT_MD, _markdown(content))


def _markdown(content: Mapping[str, Any]) -> str:
    lines = [
        f"# {content['name']}: the recipe {content['recipe']['kind']}",
        "",
        f"- Ended: {content['rounds']['ended']}.",
        f"- Weights: `{content['weights']}`, those of `{content['weights_of']}`"
        + (", with post-processing." if "shipped" in content["scores"] else "."),
        f"- {_told(content)}",
        *(f"- Left out: {line}" for line in content["skipped"]),
    ]
    if content["scores"]["start"]:
        lines += ["", *_table(content["scores"])]
    rounds = markdown(content["rounds"]).split("\n", 1)[1]
    return "\n".join(lines) + "\n\n## Rounds of pseudo-labels\n" + rounds.replace("\n## Round", "\n### Round")


def _gain(scores: Mapping[str, Mapping[str, float]], end: str) -> float | None:
    """Mean Dice more than the supervised start; None without validation cases."""
    start, after = scores["start"], scores[end]
    return round(after["mean"] - start["mean"], 6) if start and after else None


def _told(content: Mapping[str, Any]) -> str:
    """What was gained, in a sentence."""
    if content["gain"] is None:
        return "Without validation cases nobody knows what it gained."
    before, *_, after = (one["mean"] for one in content["scores"].values())
    told = f"Mean Dice on the validation cases: {before:.4f} to {after:.4f}, a gain of {content['gain']:+.4f}"
    if "shipped" in content["scores"]:
        told += f" ({content['gain_without_postprocessing']:+.4f} before post-processing, which the start is without)"
    if not content["pseudo_labels_used"]:
        return f"{told}, none of it by pseudo-labels: they were not trained on."
    return f"{told} over the supervised start."


def _table(scores: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Dice by structure, and their mean."""
    names = [*dict.fromkeys(name for one in scores.values() for name in one if name != "mean"), "mean"]
    lines = [f"| structure | {' | '.join(_COLUMNS[one] for one in scores)} |", "|---|" + "---|" * len(scores)]
    for name in names:
        cells = (f"{one[name]:.4f}" if name in one else "–" for one in scores.values())
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines
