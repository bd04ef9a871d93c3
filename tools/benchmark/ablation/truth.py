"""The ablation's pseudo-labels against the labels that were hidden: whether the members' agreement means anything."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.files import write_json
from volumes.datasets import DataCase
from volumes.labels import LabelTable

if TYPE_CHECKING:
    from cps.round_state import RoundsState

TRUTH = "truth.json"


def write_truth(state: RoundsState, hidden: Mapping[str, DataCase], table: LabelTable) -> None:
    """Write what the hidden labels say of each pseudo-label that was judged into the folder of the rounds."""
    from cps.uncertainty import member_scores
    from volumes.formats import read_label_map

    found = {}
    for number, one in state.rounds.items():
        for name, verdict in (one.verdicts or {}).items():
            case = hidden.get(name)
            if case is None or case.label is None:
                continue
            made = read_label_map(state.pseudo_label(number, name), table=table)
            truth = read_label_map(case.label, table=table)
            scores = member_scores([made.array], truth.array)
            dice = {table.name_of(v): round(s[0], 4) for v, s in scores.items() if case.contours(v)}
            found[name] = {
                "round": number, "accepted": verdict.accepted, "agreement": verdict.score, "dice": dice,
                "mean": round(sum(dice.values()) / len(dice), 4) if dice else None,
            }  # fmt: skip
    write_json(state.folder / TRUTH, found)


def pseudo_labels(folder: Path) -> dict[str, Any]:
    """What came of the rounds in a folder, for the report."""
    from cps.round_state import read_rounds

    state = read_rounds(folder.resolve())
    accepted = set(state.accepted())
    truth = json.loads((folder / TRUTH).read_text(encoding="utf-8"))

    def mean(of: Collection[str]) -> float | None:
        values = [one["mean"] for case, one in truth.items() if case in of and one["mean"] is not None]
        return round(sum(values) / len(values), 4) if values else None

    return {
        "judged": len({case for one in state.rounds.values() for case in one.scores}),
        "accepted": len(accepted),
        "dice_of_accepted": mean(accepted),
        "dice_of_rejected": mean(truth.keys() - accepted),
        "validation": [member.score for _, one in sorted(state.rounds.items()) for member in one.members.values()],
        "ended": state.ended,
    }
