"""Rounds of pseudo-labelling as a report: `report.json` for programs, `report.md` for people.

Both are made of the state alone and hold no times, so that rounds that were killed and went on report the same as
rounds that were not.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from cps.journal import write_whole
from cps.round_state import Member, Round, RoundsState
from cps.selection import CaseScores, Verdict

REPORT_JSON, REPORT_MD = "report.json", "report.md"


def write_report(state: RoundsState, folder: Path | None = None) -> None:
    """Write both files into the state's folder, or another one, each whole or not at all."""
    folder = state.folder if folder is None else folder
    content = describe(state)
    write_whole(folder / REPORT_JSON, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_whole(folder / REPORT_MD, markdown(content))


def describe(state: RoundsState) -> dict[str, Any]:
    """All that is known, as plain values; paths in the state's folder are relative to it."""
    best = state.best()
    return {
        **state.about,
        "ended": state.ended,
        "best": None if best is None else _member(state, best),
        "rounds": [_round(state, number, one) for number, one in sorted(state.rounds.items())],
        "accepted": {case: _relative(state, one.path) for case, one in state.accepted().items()},
    }


def _round(state: RoundsState, number: int, one: Round) -> dict[str, Any]:
    cases = {case: _case(scores, (one.verdicts or {}).get(case)) for case, scores in sorted(one.scores.items())}
    return {
        "round": number,
        "trained_on": {
            "labelled": len(state.about["labelled"]),
            "pseudo_labelled": sorted(state.accepted(before=number)),
        },
        "members": [_member(state, member) for _, member in sorted(one.members.items())],
        "validation_score": one.score,
        "accepted": sorted(one.accepted),
        "cases": cases,
        "failed": dict(sorted(one.failed.items())),
    }


def _member(state: RoundsState, member: Member) -> dict[str, Any]:
    return {"weights": _relative(state, member.weights), "validation_score": member.score}


def _case(scores: CaseScores, verdict: Verdict | None) -> dict[str, Any]:
    return {
        "accepted": None if verdict is None else verdict.accepted,
        "score": None if verdict is None else verdict.score,
        "reason": None if verdict is None else verdict.reason,
        "speaks_for": None if verdict is None or verdict.structures is None else list(verdict.structures),
        "structures": {
            name: {
                "agreement": round(fmean(values), 4),
                "members": [round(value, 4) for value in values],
                "voxels": scores.voxels[name],
            }
            for name, values in scores.agreements.items()
        },
    }


def _relative(state: RoundsState, path: Path) -> str:
    return path.relative_to(state.folder).as_posix() if path.is_relative_to(state.folder) else str(path)


def markdown(content: dict[str, Any]) -> str:
    """The report of `describe` as Markdown."""
    rule = ", ".join(f"{key} {value}" for key, value in content["rule"].items() if key != "kind")
    lines = [
        "# Rounds of pseudo-labels",
        "",
        f"- {len(content['labelled'])} cases with labels, {len(content['unlabelled'])} without; structures: "
        f"{', '.join(content['structures'].values())}.",
        f"- Rule of selection: {content['rule']['kind']} ({rule}).",
        f"- Ended: {content['ended'] or 'not yet'}.",
    ]
    if content["best"] is not None:
        lines.append(f"- Best weights: `{content['best']['weights']}`{_validation(content['best'])}.")
    lines += ["", "| round | pseudo-labels trained on | validation, by member | judged | accepted | failed |"]
    lines.append("|---|---|---|---|---|---|")
    for one in content["rounds"]:
        scores = ", ".join(_number(member["validation_score"]) for member in one["members"])
        if one["validation_score"] is not None and len(one["members"]) > 1:
            scores += f" (mean {one['validation_score']:.4f})"
        lines.append(
            f"| {one['round']} | {len(one['trained_on']['pseudo_labelled'])} | {scores} | {len(one['cases'])} "
            f"| {len(one['accepted'])} | {len(one['failed'])} |"
        )
    names = list(content["structures"].values())
    for one in content["rounds"]:
        if one["cases"] or one["failed"]:
            lines += ["", *_cases(one, names)]
    return "\n".join(lines) + "\n"


def _cases(one: dict[str, Any], names: list[str]) -> list[str]:
    """A round's cases, the best first."""
    lines = [
        f"## Round {one['round']}",
        "",
        "Mean agreement by structure: Dice of the members with their aggregate, of two with each other; –: in no "
        "member's label map; in brackets: the pseudo-label does not speak for it.",
        "",
        f"| case | accepted | score | {' | '.join(names)} | why |",
        "|---|---|---|" + "---|" * (len(names) + 1),
    ]
    ordered = sorted(one["cases"].items(), key=lambda item: (-(item[1]["score"] or 0.0), item[0]))
    for case, entry in ordered:
        cells = " | ".join(_cell(entry, name) for name in names)
        verdict = {None: "not judged yet", True: "yes", False: "no"}[entry["accepted"]]
        lines.append(f"| {case} | {verdict} | {_number(entry['score'])} | {cells} | {entry['reason'] or ''} |")
    for case, reason in one["failed"].items():
        lines.append(f"| {case} | no | – | {' | '.join('–' for _ in names)} | {reason} |")
    return lines


def _cell(entry: dict[str, Any], name: str) -> str:
    """Agreement on a structure."""
    if name not in entry["structures"]:
        return "–"
    text = f"{entry['structures'][name]['agreement']:.3f}"
    silent = entry["accepted"] and entry["speaks_for"] is not None and name not in entry["speaks_for"]
    return f"({text})" if silent else text


def _validation(member: dict[str, Any]) -> str:
    score = member["validation_score"]
    return "" if score is None else f", validation {score:.4f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
