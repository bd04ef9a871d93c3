"""Too little memory for a patch: one line that says which setting to lower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from volumes.errors import NotEnoughMemory


@contextmanager
def memory_for(what: str, setting: str) -> Iterator[None]:
    """Turn what the system and torch raise for want of memory into `NotEnoughMemory`.

    A recipe may go on with less, such as a coarser spacing (Gao 2.2).

    Args:
        what: is being computed, such as `a patch of 128 x 128 x 128 voxels`.
        setting: to lower, and how.
    """
    try:
        yield
    except Exception as error:
        if not _is_want_of_memory(error):
            raise
        _let_go()
        raise NotEnoughMemory(
            what, found="not enough memory", expected="a patch that fits", fix=f"lower {setting}"
        ) from None


def _is_want_of_memory(error: BaseException) -> bool:
    # On the CPU torch has no error class of its own for it; oneDNN and OpenCV have their own words.
    words = (
        "can't allocate memory",
        "not enough memory",
        "could not create a memory",
        "could not create a primitive",
        "Insufficient memory",
    )
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) or type(error).__module__ == "cv2")
        and any(one in str(error) for one in words)
    )


def _let_go() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
