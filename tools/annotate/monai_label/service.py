"""What MONAI Label's interface keeps between requests, and how its routes find images."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request

from tools.annotate.monai_label.forms import Form, ending, keep
from tools.annotate.monai_label.inference import Inference
from tools.annotate.monai_label.log import Log
from tools.annotate.monai_label.sessions import Sessions, read_image_file
from tools.annotate.refusals import invalid
from tools.files import LABEL_SUFFIXES

if TYPE_CHECKING:
    from tools.annotate.case import OpenCase
    from tools.annotate.cases import Cases
    from tools.annotate.runs import Networks
    from volumes.volume import Volume


@dataclass(frozen=True, eq=False)
class Image:
    """An image to work on.

    Attributes:
        name: what its results are called.
        case: the case that it is of; None for one that a client sent.
        folder: for files of the request, gone when it ends.
    """

    name: str
    volume: Volume
    case: OpenCase | None
    folder: Path


class MonaiLabel:
    """The interface of one server.

    Args:
        cases: the work list.
        networks: how they are loaded.

    Attributes:
        suggestions: by case, the slice to look at next after the last inference of a client.
    """

    def __init__(self, cases: Cases, networks: Networks) -> None:
        self.cases, self.sessions, self.log = cases, Sessions(), Log()
        self.inference = Inference(networks)
        self.suggestions: dict[str, dict[str, Any] | None] = {}

    @asynccontextmanager
    async def image(self, form: Form, image: str, session: str) -> AsyncIterator[Image]:
        """The image that a request is about: one that comes with it, that of a session, or a case's.

        Raises:
            Refusal, InputError: there is none, or it cannot be read.
        """
        with TemporaryDirectory(prefix="keyslice-") as name:
            folder = Path(name)
            sent = form.file("file")
            if sent is not None:
                path = await keep(sent, folder / f"image{ending(sent, LABEL_SUFFIXES)}")
                yield Image(image or "image", await asyncio.to_thread(read_image_file, path), None, folder)
            elif session:
                found = self.sessions.get(session)
                yield Image(found.name, await asyncio.to_thread(read_image_file, found.path), None, folder)
            elif image:
                case = await self.cases.get(image)
                yield Image(image, case.volume, case, folder)
            else:
                raise invalid("no image", "?image=ID, ?session_id=ID or a file", "name one")

    async def close(self) -> None:
        """End what runs, and let go of what clients sent."""
        await self.inference.close()
        self.sessions.close()


def _service(request: Request) -> MonaiLabel:
    service: MonaiLabel = request.app.state.monai_label
    return service


Service = Annotated[MonaiLabel, Depends(_service)]
