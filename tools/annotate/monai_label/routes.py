"""MONAI Label's routes beside the datastore's: what there is, sessions, inference, what to do next, logs.

Paths and fields are those that MONAI Label 0.8 serves and its Python client asks for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from tools.annotate import describe
from tools.annotate.automatic_start import available_models
from tools.annotate.monai_label import datastore, inference
from tools.annotate.monai_label.answers import attachment, label_file, multipart
from tools.annotate.monai_label.door import PREFIX
from tools.annotate.monai_label.forms import Form, ending, keep, received
from tools.annotate.monai_label.labels_in import read_key_slices
from tools.annotate.monai_label.service import Image, MonaiLabel, Service
from tools.annotate.refusals import Refusal, invalid
from tools.files import ALL_LABEL_SUFFIXES

if TYPE_CHECKING:
    from propagation_module.suggestion import Suggestion

PROPAGATE = "propagate"
"""The model that carries key slices to all slices. The others are the reference models that ship."""
STRATEGIES = {
    "first": "the first case without a label, else the first that is not done",
    "slice": "the slice of a case to look at next, once something was propagated",
}
_SEGMENTATION = "segmentation"

router = APIRouter(prefix=PREFIX)


@router.get("/info")
@router.get("/info/")
async def info(service: Service) -> JSONResponse:
    """What this server can do."""
    rows = await service.cases.rows()
    models = await asyncio.to_thread(available_models, ())
    held = service.cases.held(service.cases.current(rows))
    names = [] if held is None else list(held.document.names.values())
    described: dict[str, Any] = {
        PROPAGATE: _model(names, "carry the labels of key slices to every slice"),
        **{one.name: _model(list(one.structures), "find and segment these structures") for one in models},
    }
    return JSONResponse(
        {
            "name": "Keyslice",
            "description": "label a few slices of a CT volume, get every slice labelled",
            "version": _version(),
            "labels": list(dict.fromkeys(name for one in described.values() for name in one["labels"])),
            "models": described,
            "trainers": {},
            "strategies": {name: {"description": text} for name, text in STRATEGIES.items()},
            "scoring": {},
            "train_stats": {},
            "datastore": datastore.stats(rows),
        }
    )


@router.get("/auth")
@router.get("/auth/")
async def auth() -> JSONResponse:
    """No name and no password are asked for: who came this far has shown the token."""
    return JSONResponse({"enabled": False})


@router.get("/auth/token/valid")
async def auth_valid() -> JSONResponse:
    """As who came this far has."""
    return JSONResponse({})


@router.put("/session")
@router.put("/session/")
async def create_session(request: Request, service: Service) -> JSONResponse:
    """Take in an image that is no case."""
    async with received(request) as form:
        session = await service.sessions.add(form.files.get("files", []))
    service.log.add(f"session {session.key}: {session.name}")
    return JSONResponse({"session_id": session.key, "session_info": session.info()})


@router.get("/session/{key}")
async def session(key: str, service: Service) -> JSONResponse:
    """What there is of a session."""
    return JSONResponse(service.sessions.get(key).info())


@router.delete("/session/{key}")
async def remove_session(key: str, service: Service) -> JSONResponse:
    """Forget a session."""
    return JSONResponse(service.sessions.remove(key).info())


@router.post("/infer/{model}")
async def infer(
    model: str,
    request: Request,
    service: Service,
    image: str = "",
    session_id: str = "",
    output: Literal["all", "image", "json", "dicom_seg"] = "all",
) -> Response:
    """Label every slice of an image."""
    async with received(request) as form:
        models = {one.name for one in await asyncio.to_thread(available_models, ())}
        if model not in models and model != PROPAGATE:
            raise Refusal(404, "no such model", f"one of {', '.join((PROPAGATE, *sorted(models)))}", "choose one")
        async with service.image(form, image, session_id) as found:
            service.log.add(f"infer {model} on {found.name}")
            if model == PROPAGATE:
                asked = await _key_slices(form, found)
                result = await service.inference.propagate(asked, request.is_disconnected)
            else:
                result = await service.inference.automatic(model, found.volume, request.is_disconnected)
            service.log.add(f"infer {model} on {found.name}: {result.seconds:.1f} s")
            if found.case is not None:
                service.suggestions[found.name] = _suggested(result)
            suffix = ".seg.dcm" if output == "dicom_seg" else form.params.result_extension
            content, numbers = await asyncio.to_thread(
                label_file, result.labels, found.volume, result.table, found.folder, suffix
            )
    said = _said(model, result, numbers)
    if output == "json":
        return JSONResponse(said)
    if output == "all":
        return await asyncio.to_thread(multipart, said, content, f"{found.name}{suffix}")  # it may be a GiB
    return attachment(content, f"{found.name}{suffix}", *(("application/dicom",) if output == "dicom_seg" else ()))


@router.post("/activelearning/{strategy}")
async def next_sample(strategy: str, request: Request, service: Service) -> JSONResponse:
    """The case, or the slice of a case, to work on next; nothing (`{}`) if all are done."""
    if strategy not in STRATEGIES:
        raise Refusal(404, "no such strategy", f"one of {', '.join(STRATEGIES)}", "choose one")
    rows = await service.cases.rows()
    if strategy == "slice":
        key: str | None = await _named_image(request) or service.cases.current(rows)
    else:
        key = datastore.next_case(rows)
    if key is None:
        return JSONResponse({})
    if strategy == "slice":
        await service.cases.get(key)
    row = next(row for row in rows if row["case"] == key)
    service.log.add(f"next by {strategy}: {key}")
    told = {"id": key, **datastore.image_info(service.cases.worklist.entries[key], row)}
    return JSONResponse({**told, "suggestion": _suggestion(service, key)})


@router.get("/logs")
@router.get("/logs/")
async def logs(service: Service, lines: int = Query(300, le=10_000)) -> PlainTextResponse:
    """What clients asked for lately."""
    return PlainTextResponse(service.log.last(lines))


def _model(labels: list[str], text: str) -> dict[str, Any]:
    return {"type": _SEGMENTATION, "labels": labels, "dimension": 3, "description": text, "config": {}}


async def _key_slices(form: Form, image: Image) -> inference.Request:
    """The label map that comes with the request; without one what is given in the case."""
    from volumes.labels import Label, LabelTable

    sent = form.file("label")
    if sent is not None:
        path = await keep(sent, image.folder / f"label{ending(sent, ALL_LABEL_SUFFIXES)}")
        given, table = await asyncio.to_thread(read_key_slices, path, image.volume, form.params)
        return inference.Request(image.volume, given, table, {})
    document = None if image.case is None else image.case.document
    if document is None or not any(one.mask.any() for one in document.slices.values()):
        raise invalid(
            "no key slice",
            "a label map in the field 'label', or a case with labels",
            "label a slice first, and save it",
        )
    table = LabelTable(Label(value, one.name, one.color) for value, one in document.labels.items())
    return inference.Request(image.volume, dict(document.slices), table, dict(document.extents))


def _said(model: str, result: inference.Inferred, numbers: dict[str, int]) -> dict[str, Any]:
    """What goes with the label map. Clients take `label_names` for the labels in it, in the order of their numbers."""
    names = {value: name for name, value in numbers.items()}
    confidence = {names[v]: [round(float(c), 4) for c in of] for v, of in result.confidence.items() if v in names}
    return {
        "model": model,
        "label_names": numbers,
        "key_slices": sorted(result.given),
        "confidence": confidence,
        "suggestion": _suggested(result),
        "latencies": {"total": round(result.seconds, 3)},
    }


def _suggestion(service: MonaiLabel, key: str) -> dict[str, Any] | None:
    """Of a case that is open, by the page's propagation or else by the last one of a client."""
    held = service.cases.held(key)
    if held is not None and held.suggestion is not None:
        return _with_names(held.suggestion, held.document.names)
    return service.suggestions.get(key)


def _suggested(result: inference.Inferred) -> dict[str, Any] | None:
    names = {value: label.name for value, label in result.table.items()}
    return None if result.suggestion is None else _with_names(result.suggestion, names)


def _with_names(suggestion: Suggestion, names: Mapping[int, str]) -> dict[str, Any]:
    """The slice to look at next; labels by name, since the client's numbers may be others."""
    row = describe.suggestion_row(suggestion)
    return {**row, "labels": [names.get(value, str(value)) for value in suggestion.labels]}


async def _named_image(request: Request) -> str | None:
    """The image that the parameters name, if they do."""
    try:
        params = await request.json() if await request.body() else {}
    except ValueError as error:
        raise Refusal(400, "parameters that cannot be read", "JSON", "correct the request") from error
    image = params.get("image") if isinstance(params, dict) else None
    return image if isinstance(image, str) and image else None


def _version() -> str:
    try:
        return version("keyslice")
    except PackageNotFoundError:  # run from its folder
        return "unknown"
