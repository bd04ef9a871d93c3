"""What a page is told of a case, in the form that `protocol` promises: the whole state, or what has changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from tools.annotate.protocol import mask_text
from volumes.label_map import labels_in

if TYPE_CHECKING:
    from propagation_module.suggestion import Suggestion
    from tools.annotate.case import OpenCase
    from tools.annotate.changes import Change
    from tools.annotate.document import Document
    from tools.annotate.given import GivenSlice

LETTERS = {"x": ["R", "L"], "y": ["A", "P"], "z": ["I", "S"]}
"""What lies at the first and last index of each axis; the same for every volume in canonical order."""


def state(case: OpenCase, client: str | None) -> dict[str, Any]:
    """Everything but pixels."""
    document = case.document
    return {
        "case": case.entry.key,
        "revision": document.revision,
        "serial": case.serial,
        "shape": list(case.volume.shape),
        "spacing": list(case.volume.spacing),
        "letters": LETTERS,
        "hu": list(case.hu_range),
        "labels": label_rows(case),
        "slices": {z: _slice_row(document.slices[z]) for z in sorted(document.slices)},
        "extents": _extents(document),
        "rejected": case.proposals.rejected(document),
        "proposals": {z: row for z in case.proposals.slices() if (row := _proposal_row(case, z)) is not None},
        "suggestion": suggestion(case),
        "running": case.runs.running,
        "progress": case.runs.progress,
        **_steps(document),
        "editor": case.audience.editor,
        "you_edit": client is not None and client == case.audience.editor,
        "models": case.models,
        "notices": list(case.notices),
    }


def changed(case: OpenCase, slices: Iterable[int], change: Change | None = None) -> dict[str, Any]:
    """What is shown otherwise than before.

    Args:
        slices: those whose proposals may be others.
        change: what was done to the document, if it was done just now.
    """
    *_, told = changed_in_parts(case, slices, change)
    return told


def changed_in_parts(case: OpenCase, slices: Iterable[int], change: Change | None) -> Iterator[dict[str, Any]]:
    """`changed` as it grows, a slice at a time: what is yielded last is all of it.

    One that touches hundreds of slices takes a good part of a second, in which the server has others to answer.
    """
    document = case.document
    touched = [] if change is None else change.touched("slice")
    told: dict[str, Any] = {
        "revision": document.revision,
        "serial": case.serial,
        "slices": {},
        "proposals": {},
        **_steps(document),
    }
    for z in touched:
        told["slices"][z] = _given(document.slices.get(z))
        yield told
    for z in sorted({*touched, *slices}):
        told["proposals"][z] = _proposal(case, z)
        yield told
    if change is not None and change.touched("extent"):
        told["extents"] = _extents(document)
    told |= case.news()
    yield told


def label_rows(case: OpenCase) -> list[dict[str, Any]]:
    """The list of labels: each with how many key slices show it and how sure propagation is of it."""
    count = dict.fromkeys(case.document.labels, 0)
    for given in case.document.slices.values():
        for label in given.labels:
            count[label] = count.get(label, 0) + 1
    confidence = case.proposals.mean_confidence()
    return [
        {
            "value": value,
            "name": label.name,
            "color": list(label.color),
            "visible": label.visible,
            "locked": label.locked,
            "key_slices": count[value],
            "confidence": confidence.get(value),
        }
        for value, label in case.document.labels.items()
    ]


def suggestion(case: OpenCase) -> dict[str, Any] | None:
    """The slice to look at next."""
    return None if case.suggestion is None else suggestion_row(case.suggestion)


def suggestion_row(one: Suggestion) -> dict[str, Any]:
    """A suggestion as it is told."""
    return {"z": one.z, "labels": list(one.labels), "gain": round(float(one.gain), 4), "reason": one.reason}


def _slice_row(given: GivenSlice) -> dict[str, Any]:
    return {
        "kind": given.kind,
        "complete": given.complete,
        "labels": sorted(given.labels),
        "absent": sorted(given.absent),
    }


def _given(given: GivenSlice | None) -> dict[str, Any] | None:
    return None if given is None else {"given": mask_text(given.mask), **_slice_row(given)}


def _proposal_row(case: OpenCase, z: int) -> dict[str, Any] | None:
    labels = case.proposals.visible_labels(z, case.document)
    return {"labels": list(labels), "confidence": _confidence(case, z, labels)} if labels else None


def _proposal(case: OpenCase, z: int) -> dict[str, Any] | None:
    mask = case.proposals.visible(z, case.document)
    if mask is None:
        return None
    return {"pixels": mask_text(mask), "confidence": _confidence(case, z, labels_in(mask))}


def _confidence(case: OpenCase, z: int, labels: Iterable[int]) -> dict[int, float]:
    known = case.proposals.confidence.get(z, {})
    return {label: known[label] for label in labels if label in known}


def _extents(document: Document) -> dict[int, list[int]]:
    return {label: list(ends) for label, ends in sorted(document.extents.items())}


def _steps(document: Document) -> dict[str, Any]:
    return {
        "undo": {"title": document.undo_title} if document.can_undo else None,
        "redo": {"title": document.redo_title} if document.can_redo else None,
    }
