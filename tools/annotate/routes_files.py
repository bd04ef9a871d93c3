"""Routes for files: exports of a case into its session folder, from where the page takes them, and imports."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import FileResponse, JSONResponse
from pydantic import ValidationError

from tools.annotate import exports, imports
from tools.annotate.bodies import Client, Export, ImportPath
from tools.annotate.case import OpenCase
from tools.annotate.changes import Change
from tools.annotate.document import Document
from tools.annotate.merging import merge_again
from tools.annotate.protocol import CASE
from tools.annotate.refusals import Refusal, invalid
from tools.annotate.routes import Case, Registry
from tools.annotate.taking_in import renumbered
from tools.annotate.uploads import check_self_contained
from tools.files import ALL_LABEL_SUFFIXES, suffix_of
from volumes.errors import InputError

ENDINGS = {
    "nifti": ".nii.gz",
    "seg_nrrd": ".seg.nrrd",
    "sparse": "_key_slices.nii.gz",
    "dicom_seg": ".seg.dcm",
    "rtstruct": ".rtstruct.dcm",
}
"""What an export of each kind adds to the name of the case."""

router = APIRouter()


@router.post(CASE + "/export")
async def export(body: Export, case: Case) -> JSONResponse:
    """Write the labels that are shown into the session folder."""
    given, labels, volume = dict(case.document.slices), dict(case.document.labels), case.volume
    path = case.store.exports / f"{case.entry.key}{ENDINGS[body.kind]}"
    if body.kind == "sparse":
        written = await asyncio.to_thread(exports.export_sparse, volume, given, labels, path)
    else:
        proposals = None if body.given_only else case.proposals.masks.copy()
        hidden, extents = case.proposals.rejected(case.document), dict(case.document.extents)
        array = await asyncio.to_thread(exports.shown_labels, volume.shape, given, proposals, hidden, labels, extents)
        written = await asyncio.to_thread(exports.export_labels, array, volume, labels, path)
    files = [{"name": one.name, "url": _url(case, one)} for one in (written.path, *written.others)]
    answer = {**files[0], "bytes": written.bytes, "files": files, "notes": list(written.notes)}
    return JSONResponse(answer)


@router.get(CASE + "/exports/{name}")
async def exported(name: str, case: Case) -> FileResponse:
    """A file that was exported from this case."""
    folder = case.store.exports.resolve()
    path = next((path for path in folder.iterdir() if path.name == name), None)
    if path is None or path.name.startswith(".") or not path.is_file() or path.resolve().parent != folder:
        raise Refusal(404, "no such export of this case", "a file that was exported", "export it first")
    return FileResponse(path, media_type="application/octet-stream", filename=name)


@router.post(CASE + "/import")
async def take_in(
    request: Request,
    case: Case,
    cases: Registry,
    client: Annotated[Client, Query()],
    kind: Annotated[Literal["proposals", "key_slices"], Query(alias="as")],
    slices: Annotated[str | None, Query(pattern=r"^[0-9]{1,7}(,[0-9]{1,7})*$", max_length=65536)] = None,
    content_type: Annotated[str, Header()] = "",
    x_filename: Annotated[str, Header(max_length=1024)] = "",
) -> JSONResponse:
    """A label map as proposals or as key slices: a file that is sent, or one in the opened folder."""
    case.check_editor(client)
    wanted = None if slices is None else sorted({int(z) for z in slices.split(",")})
    if content_type.partition(";")[0].strip().lower() == "application/json":
        path = cases.worklist.file_in_root(await _named(request))
        return JSONResponse(await _take(case, path, kind, wanted, client))
    async with _received(request, case, unquote(x_filename)) as path:
        return JSONResponse(await _take(case, path, kind, wanted, client))


async def _take(case: OpenCase, path: Path, kind: str, slices: list[int] | None, client: str) -> dict[str, Any]:
    names = case.document.names
    await asyncio.to_thread(check_self_contained, path)
    imported = await asyncio.to_thread(imports.read_import, path, case.volume, names)
    for note in imported.notes:
        case.notice(f"import: {note}", "info")
    if kind == "key_slices":
        found = await asyncio.to_thread(imports.as_key_slices, imported, slices)

        def act(document: Document) -> Change | None:
            merge = merge_again(imported.merge, names, document.names, path)
            return document.put_slices(renumbered(found, merge), f"import {len(found)} key slices", merge.colors)

        return await case.commit(lambda _: act, client=client)
    depth = case.volume.shape[0]
    chosen = range(depth) if slices is None else [z for z in slices if z < depth]
    return await case.take_proposals(imported, names, chosen, client)


async def _named(request: Request) -> str:
    try:
        return ImportPath.model_validate_json(await request.body()).path
    except ValidationError as error:
        raise invalid("an import without a path", '{"path": "labels.nii.gz"}', "correct the request") from error


@asynccontextmanager
async def _received(request: Request, case: OpenCase, name: str) -> AsyncIterator[Path]:
    """The file that is sent, in the session folder for as long as it is read."""
    suffix = suffix_of(Path(name), ALL_LABEL_SUFFIXES)
    if suffix is None:
        expected = f"one of {', '.join(ALL_LABEL_SUFFIXES)}"
        raise invalid("a file name with another ending", expected, "choose a label map")
    with tempfile.TemporaryDirectory(prefix=".import-", dir=case.store.folder) as folder:
        path = Path(folder) / f"import{suffix}"
        with path.open("wb") as file:
            async for chunk in request.stream():
                file.write(chunk)
        try:
            yield path
        except InputError as error:
            if error.where != str(path):
                raise
            # The person knows the file by the name that it has there.
            raise InputError(Path(name).name, found=error.found, expected=error.expected, fix=error.fix) from error


def _url(case: OpenCase, path: Path) -> str:
    return f"{CASE.format(case=quote(case.entry.key, safe=''))}/exports/{quote(path.name, safe='')}"
