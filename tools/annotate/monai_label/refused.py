"""What MONAI Label's server does and this one does not: refused with the reason."""

from __future__ import annotations

from typing import NoReturn

from fastapi import APIRouter, Request

from tools.annotate.monai_label.door import PREFIX
from tools.annotate.refusals import Refusal

_NOT_HERE = {
    "train": ("training from a client", "`keyslice train` on the command line"),
    "scoring": ("scoring from a client", "`keyslice evaluate` on the command line"),
    "batch": ("inference on many images at once", "`keyslice propagate` or `keyslice segment` over a folder"),
    "infer/wsi": ("inference on images of pathology", "CT volumes and /infer/MODEL"),
    "infer/wsi_v2": ("inference on images of pathology", "CT volumes and /infer/MODEL"),
    "model": ("weights to or from a client", "the models of /info/"),
    "datastore": ("a change of the work list", "the cases of the folder that was opened; /session/ for other images"),
    "datastore/dataset": ("all cases in one archive", "/datastore/image and /datastore/label for each"),
    "auth/token": ("names and passwords", "the token in the address, or as a Bearer token"),
    "logs/gpu": ("what the graphics card does", "/logs/"),
    "ohif": ("a viewer of its own", "the page at /, or a viewer that you install"),
    "proxy": ("a way to DICOMweb", "files of the folder that was opened"),
}

router = APIRouter(prefix=PREFIX)


@router.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], response_model=None)
async def refuse(path: str, request: Request) -> NoReturn:
    """No address of this server; comes after all that are."""
    async for _ in request.stream():  # read to its end: a client that still sends does not see the answer
        pass
    parts = path.strip("/").split("/")
    for count in range(len(parts), 0, -1):
        if known := _NOT_HERE.get("/".join(parts[:count])):
            raise Refusal(501, f"{known[0]}, which this server has not", known[1], "use that instead")
    raise Refusal(404, "nothing at this address", "an address of MONAI Label's interface", "check the address")
