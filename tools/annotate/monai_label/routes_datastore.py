"""MONAI Label's routes to the datastore: list images, get them, save their labels and read them back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from tools.annotate.case import OpenCase
from tools.annotate.exports import shown_labels
from tools.annotate.monai_label import datastore
from tools.annotate.monai_label.answers import OCTETS, attachment, file_name, label_file
from tools.annotate.monai_label.datastore import FINAL, LABEL_SUFFIX, ORIGINAL
from tools.annotate.monai_label.door import PREFIX
from tools.annotate.monai_label.forms import ending, keep, received
from tools.annotate.monai_label.labels_in import save
from tools.annotate.monai_label.service import MonaiLabel, Service
from tools.annotate.refusals import Refusal, invalid
from tools.annotate.worklist import Entry
from tools.files import ALL_LABEL_SUFFIXES
from volumes.volume import Volume

router = APIRouter(prefix=f"{PREFIX}/datastore")

Tag = Literal["final", "original"]


async def _entry(image: str, service: Service) -> Entry:
    entry = service.cases.worklist.entries.get(image)
    if entry is None:
        raise Refusal(404, "an image that is not in the work list", "one of /datastore/?output=all", "choose another")
    return entry


Named = Annotated[Entry, Depends(_entry)]


@router.get("")
@router.get("/")
async def listed(service: Service, output: Literal["stats", "all"] = "stats") -> JSONResponse:
    """How many images there are, or all of them."""
    rows = await service.cases.rows()
    if output == "all":
        return JSONResponse(datastore.everything(service.cases.worklist, rows))
    return JSONResponse(datastore.stats(rows))


@router.get("/image")
async def image(entry: Named, service: Service) -> Response:
    """The CT: the file that it is, or made one."""
    name = file_name(f"{entry.key}{datastore.image_suffix(entry)}")
    if entry.ct.is_file() and entry.ct.name.lower().endswith(datastore.AS_THEY_ARE):
        return FileResponse(entry.ct, media_type=OCTETS, filename=name)
    case = await service.cases.get(entry.key)
    return attachment(await asyncio.to_thread(_converted, case.volume), name)


@router.head("/image")
async def has_image(entry: Named) -> Response:
    """Whether there is such an image."""
    return Response()


@router.get("/image/info")
async def image_info(entry: Named, service: Service) -> JSONResponse:
    """What is known of an image."""
    row = next(row for row in await service.cases.rows() if row["case"] == entry.key)
    return JSONResponse(datastore.image_info(entry, row))


@router.put("/label")
async def save_label(entry: Named, request: Request, service: Service, tag: str = FINAL) -> JSONResponse:
    """Make a label map key slices of a case: a step that can be undone, in its journal."""
    async with received(request) as form:
        if tag not in ("", FINAL):
            raise Refusal(501, "labels under another tag", f"the tag '{FINAL}'", "save them as finished labels")
        sent = form.file("label")
        if sent is None:
            raise invalid("no label map", "a file in the field 'label'", "send one")
        case = await service.cases.get(entry.key)
        with TemporaryDirectory(prefix="keyslice-") as folder:
            path = await keep(sent, Path(folder) / f"label{ending(sent, ALL_LABEL_SUFFIXES)}")
            saved = await save(case, path, form.params)
    service.suggestions.pop(entry.key, None)  # it was for what was there before
    service.log.add(f"label saved for {entry.key}: {len(saved.slices)} slices")
    return JSONResponse(
        {
            "image": entry.key,
            "label": entry.key,
            "tag": FINAL,
            "title": saved.title,
            "slices": saved.slices,
            "label_info": [{"name": name, "idx": value} for name, value in saved.numbers.items()],
        }
    )


@router.get("/label")
async def label(label: str, service: Service, tag: Tag = FINAL) -> Response:
    """The labels of a case: what was given, or all that is shown."""
    case = await _labelled(label, service, tag)
    return attachment(await asyncio.to_thread(_written, *_labels(case, tag)), f"{label}{LABEL_SUFFIX}")


@router.head("/label")
async def has_label(image: str, service: Service, tag: Tag = FINAL) -> Response:
    """Whether a case has labels."""
    await _labelled(image, service, tag)
    return Response()


@router.get("/label/info")
async def label_info(label: str, service: Service, tag: Tag = FINAL) -> JSONResponse:
    """The numbers and colours of the labels of a case, and its key slices."""
    document = (await _labelled(label, service, tag)).document
    rows = [{"name": one.name, "idx": value, "color": list(one.color)} for value, one in document.labels.items()]
    return JSONResponse({"label_info": rows, "key_slices": sorted(document.slices), "revision": document.revision})


async def _labelled(key: str, service: MonaiLabel, tag: str) -> OpenCase:
    case = await service.cases.get((await _entry(key, service)).key)
    if not case.document.slices and (tag == FINAL or not case.proposals.slices()):
        raise Refusal(404, "a case without labels", "one that has some", "label it first")
    return case


def _labels(case: OpenCase, tag: str) -> tuple[Any, ...]:
    """What `_written` needs, as it is now."""
    document, proposals = case.document, case.proposals
    masks = list(proposals.masks) if tag == ORIGINAL else None
    return case.volume, dict(document.slices), masks, proposals.rejected(document), document.labels, document.extents


def _written(volume: Volume, given: Any, masks: Any, hidden: Any, labels: Any, extents: Any) -> bytes:
    from volumes.labels import Label, LabelTable

    array = shown_labels(volume.shape, given, masks, hidden, labels, extents)
    table = LabelTable(Label(value, one.name, one.color) for value, one in labels.items())
    with TemporaryDirectory(prefix="keyslice-") as folder:
        return label_file(array, volume, table, Path(folder), LABEL_SUFFIX)[0]


def _converted(volume: Volume) -> bytes:
    import SimpleITK as sitk

    from volumes.image_files import image_in_file_order

    with TemporaryDirectory(prefix="keyslice-") as folder:
        path = Path(folder) / f"image{LABEL_SUFFIX}"
        sitk.WriteImage(image_in_file_order(volume.geometry.to_file(volume.array), volume.geometry), str(path), True)
        return path.read_bytes()
