"""Routes that change a case: what a person does, what runs beside, and tools that make a mask without changing it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Body
from fastapi.responses import JSONResponse

from tools.annotate import bodies
from tools.annotate.case import Action, Long, OpenCase
from tools.annotate.document import Document
from tools.annotate.loading import load_tools
from tools.annotate.protocol import CASE, pixels_of, runs_of
from tools.annotate.refusals import invalid
from tools.annotate.routes import Case

router = APIRouter()


@router.post(CASE + "/edit")
async def edit(body: Annotated[bodies.Edit, Body()], case: Case) -> JSONResponse:
    """Do one action; it is on the disk when this answers."""
    client = body.client
    once = None if body.id is None else (client, body.id)
    if not isinstance(body, bodies.Step):
        answer = await case.commit(_action(body, case), once=once, client=client)
    elif body.action == "undo":
        answer = await case.commit(lambda document: document.undo(), "undo", once=once, client=client)
    else:
        answer = await case.commit(lambda document: document.redo(), "redo", once=once, client=client)
    return JSONResponse(answer)


@router.post(CASE + "/propagate")
async def propagate(body: bodies.FromClient, case: Case) -> JSONResponse:
    """Propagate what is given now."""
    case.check_editor(body.client)
    case.runs.propagate()
    return JSONResponse({"running": case.runs.running})


@router.post(CASE + "/cancel")
async def cancel(body: bodies.FromClient, case: Case) -> JSONResponse:
    """End what runs, before its next slice."""
    case.check_editor(body.client)
    case.runs.cancel()
    return JSONResponse({"running": case.runs.running})


@router.post(CASE + "/automatic")
async def automatic(body: bodies.Automatic, case: Case) -> JSONResponse:
    """Let a reference model find key slices."""
    case.check_editor(body.client)
    if body.model not in case.models:
        raise invalid("a model that does not fit the case", f"one of {case.models}", "choose one of these")
    case.runs.automatic(body.model)
    return JSONResponse({"running": case.runs.running})


@router.post(CASE + "/assist")
async def assist(body: Annotated[bodies.Assist, Body()], case: Case) -> JSONResponse:
    """The pixels that a tool finds, for the page to show before they count."""
    _check_slice(body.z, case)
    await asyncio.to_thread(load_tools)
    find = _tool(body, case)
    found = await asyncio.to_thread(find)
    return JSONResponse({"runs": runs_of(found), "pixels": int(found.sum())})


def _action(
    body: bodies.Paint
    | bodies.Erase
    | bodies.OfSlice
    | bodies.AcceptAll
    | bodies.OfSliceAndLabel
    | bodies.Extent
    | bodies.AddLabel
    | bodies.RenameLabel
    | bodies.RecolorLabel
    | bodies.ShowLabel
    | bodies.LockLabel
    | bodies.DeleteLabel,
    case: OpenCase,
) -> Action:
    """What is to be done to the document. Proposals are looked up when it is done, not before."""
    proposals = case.proposals
    match body:
        case bodies.Paint(z=z, label=label):
            pixels = _pixels(body.runs, z, case)
            return lambda document: document.paint(z, label, pixels, proposals.open_to(z, document))
        case bodies.Erase(z=z, label=None | int() as erased):
            pixels = _pixels(body.runs, z, case)
            return lambda document: document.erase(z, erased, pixels, proposals.open_to(z, document))
        case bodies.OfSlice(z=z):
            _check_slice(z, case)
            return _of_slice(body.action, z, case)
        case bodies.AcceptAll():
            return _accept_all(body, case)
        case bodies.OfSliceAndLabel(z=z, label=label):
            _check_slice(z, case)
            if body.action == "absent":
                return lambda document: document.mark_absent(z, label)
            return lambda document: document.clear_label(z, label)
        case bodies.Extent(label=label):
            ends = None if body.range is None else (body.range[0], body.range[1])
            return lambda document: document.set_extent(label, ends)
        case bodies.AddLabel(name=name):
            return lambda document: document.add_label(name, None if body.color is None else _color(body.color))
        case bodies.RenameLabel(value=value, name=name):
            return lambda document: document.rename_label(value, name)
        case bodies.RecolorLabel(value=value):
            return lambda document: document.recolor_label(value, _color(body.color))
        case bodies.ShowLabel(value=value, visible=visible):
            return lambda document: document.set_visible(value, visible)
        case bodies.LockLabel(value=value, locked=locked):
            return lambda document: document.set_locked(value, locked)
        case bodies.DeleteLabel(value=value):
            return lambda _: lambda fork: fork.delete_label(value)
    raise AssertionError(body)


def _of_slice(action: str, z: int, case: OpenCase) -> Action:
    proposals = case.proposals
    if action == "accept":
        return lambda document: document.accept(z, proposals.open_to(z, document))
    if action == "reject":
        return lambda document: document.reject(z, proposals.open_to(z, document), proposals.digest(z))
    return lambda document: document.clear(z)


def _accept_all(body: bodies.AcceptAll, case: OpenCase) -> Action:
    """Accept every slice in the range on which something is proposed and shown."""
    proposals, depth = case.proposals, case.volume.shape[0]
    first = 0 if body.first is None else body.first
    last = depth - 1 if body.last is None else body.last
    if not first <= last < depth:
        raise invalid(f"slices {first} to {last}", f"slices 0 to {depth - 1}", "correct the range")

    def act(document: Document) -> Long:
        open_slices = [z for z in proposals.slices() if first <= z <= last and proposals.visible_labels(z, document)]
        found = [(z, proposals.open_to(z, document)) for z in open_slices]
        return lambda fork: fork.accept_all(found)

    return act


def _tool(
    body: bodies.Wand | bodies.Scribble | bodies.Box | bodies.Polygon | bodies.Threshold | bodies.Fill,
    case: OpenCase,
) -> Callable[[], npt.NDArray[np.bool_]]:
    """What is to be computed, on arrays that do not change meanwhile."""
    from tools.annotate import assist as tools  # loaded by now: OpenCV and scikit-image take a second

    plane, shape = case.volume.array[body.z], case.volume.shape[1:]
    match body:
        case bodies.Wand():
            seed = (body.seed[0], body.seed[1])
            return lambda: tools.wand(
                plane, seed, body.low, body.high, tolerance=body.tolerance, max_radius=body.max_radius
            )
        case bodies.Scribble():
            inside, outside = (_pixels(runs, body.z, case) for runs in (body.inside, body.outside))
            return lambda: tools.from_scribbles(plane, inside, outside)
        case bodies.Box():
            top, left, bottom, right = body.box
            return lambda: tools.from_box(plane, (top, left, bottom + 1, right + 1))
        case bodies.Polygon():
            points = [(point[0], point[1]) for point in body.points]
            return lambda: tools.polygon(points, shape)
        case bodies.Threshold():
            pixels = _pixels(body.runs, body.z, case)
            return lambda: tools.threshold(plane, pixels, body.low, body.high)
        case bodies.Fill():
            start = (body.seed[0], body.seed[1])
            shown = case.document.shown(body.z, case.proposals.open_to(body.z, case.document))
            return lambda: tools.fill(shown, start)
    raise AssertionError(body)


def _check_slice(z: int, case: OpenCase) -> None:
    depth = case.volume.shape[0]
    if z >= depth:
        raise invalid(f"slice {z}", f"a slice from 0 to {depth - 1}", "count slices from 0, inferior first")


def _pixels(runs: list[int], z: int, case: OpenCase) -> npt.NDArray[np.bool_]:
    _check_slice(z, case)
    try:
        return pixels_of(runs, case.volume.shape[1:])
    except ValueError as error:
        expected = "[start, length, ...] in rising order within the slice"
        raise invalid(str(error), expected, "correct the runs") from error


def _color(parts: list[int]) -> tuple[int, int, int]:
    return parts[0], parts[1], parts[2]
