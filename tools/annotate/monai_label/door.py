"""Where MONAI Label's clients come in: addresses below `/monai`.

These clients are given an address and nothing else, and send no token. So the token may stand in the address:
`http://127.0.0.1:8000/monai/TOKEN/info/` is `/monai/info/` with the token shown. A client that can send headers leaves
it out and sends `Authorization: Bearer`.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope

PREFIX = "/monai"
_WITH_FILES = ("infer", "session", "datastore")


def token_in_path(path: str) -> bytes:
    """What stands where the token may stand; empty in an address of another kind."""
    return _first_part(path)[0].encode("utf-8", "replace")


def without_token(scope: Scope, token: bytes) -> Scope:
    """The request as the routes know it, without the token in its address."""
    first, rest = _first_part(scope["path"])
    if not first or not hmac.compare_digest(first.encode("utf-8", "replace"), token):
        return scope
    path = f"{PREFIX}/{rest}"
    return {**scope, "path": path, "raw_path": path.encode("utf-8", "replace")}


def takes_files(path: str) -> bool:
    """Whether label maps and images are sent to this address, which has no token in it any more."""
    return _first_part(path)[0] in _WITH_FILES


def _first_part(path: str) -> tuple[str, str]:
    """`/monai/a/b/c` as `a` and `b/c`."""
    if not path.startswith(f"{PREFIX}/"):
        return "", ""
    first, _, rest = path.removeprefix(f"{PREFIX}/").partition("/")
    return first, rest
