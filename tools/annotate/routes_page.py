"""The page's own files. Only those that were found in its folder at the start are served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse

from tools.annotate.refusals import Refusal

FOLDER = Path(__file__).with_name("page")
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}
"""What the page consists of; files of other kinds in its folder are not served."""

router = APIRouter()


def page_files(folder: Path = FOLDER) -> dict[str, Path]:
    """The files of the page by their path in its folder; links that lead out of it are left out."""
    top = folder.resolve()
    found = {}
    for path in sorted(top.rglob("*")):
        real = path.resolve()
        if real.is_file() and real.is_relative_to(top) and real.suffix in MEDIA_TYPES:
            found[path.relative_to(top).as_posix()] = real
    return found


def _files(request: Request) -> dict[str, Path]:
    files: dict[str, Path] = request.app.state.page
    return files


Files = Annotated[dict[str, Path], Depends(_files)]


@router.get("/")
async def page(files: Files) -> FileResponse:
    """The page itself."""
    return _file(files, "index.html")


@router.get("/page/{path:path}")
async def part(path: str, files: Files) -> FileResponse:
    """A script, a style sheet, a picture of the page."""
    return _file(files, path)


def _file(files: dict[str, Path], name: str) -> FileResponse:
    if name not in files:
        raise Refusal(404, "no such file of the page", "one that the page names", "check the address")
    return FileResponse(files[name], media_type=MEDIA_TYPES[files[name].suffix])
