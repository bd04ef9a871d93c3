"""What MONAI Label's clients are answered: a label map and what is to be said of it, in one multipart body.

Written with care for clients that search the text instead of parsing it (MITK): the parameters come first, the last
header of each part is its content type, and the boundary stands in the header without quotes.
"""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi.responses import Response

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from volumes.labels import LabelTable
    from volumes.volume import Volume

OCTETS = "application/octet-stream"


def multipart(params: dict[str, Any], content: bytes, name: str) -> Response:
    """`params` and a file as one answer."""
    boundary = f"keyslice-{secrets.token_hex(16)}"
    parts = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\nContent-Type: application/json\r\n\r\n',
        json.dumps(params, allow_nan=False),
        f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{file_name(name)}"\r\n',
        f"Content-Type: {OCTETS}\r\n\r\n",
    )
    body = "".join(parts).encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return Response(body, media_type=f"multipart/form-data; boundary={boundary}")


def attachment(content: bytes, name: str, media_type: str = OCTETS) -> Response:
    """A file as an answer."""
    return Response(
        content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{file_name(name)}"'}
    )


def file_name(text: str) -> str:
    """The text as a file name that no client trips over: clients put it behind the path of a folder."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip(".") or "file"


def label_file(
    array: npt.NDArray[np.uint8], volume: Volume, table: LabelTable, folder: Path, suffix: str
) -> tuple[bytes, dict[str, int]]:
    """Labels (D, H, W) as a file on the volume's grid, and the numbers of those that are in it, by name.

    Args:
        folder: where it may be written.

    Raises:
        InputError: the format cannot hold it.
    """
    from volumes.formats import write_label_map
    from volumes.label_map import LabelMap, labels_in

    present = labels_in(array)
    path = folder / f"labels{suffix}"
    table = table.covering(present)
    write_label_map(LabelMap(array, volume.geometry, table, volume.name, volume.source), path)
    return path.read_bytes(), {table.name_of(value): value for value in present}
