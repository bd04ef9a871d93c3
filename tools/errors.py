"""How a command ends when something is wrong: one line on stderr and an exit status, never a traceback.

Status 2: the input, an option or the machine does not allow the job. Status 1: some cases of a folder run
failed. Status 130: the person pressed Ctrl-C.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from rich.console import Console
from rich.text import Text

from volumes.errors import InputError

BAD_INPUT = 2
SOME_CASES_FAILED = 1
INTERRUPTED = 130

_FIXES = {
    errno.ENOSPC: ("a full disk", "room for the file", "free some space or write elsewhere"),
    errno.EDQUOT: ("a full disk quota", "room for the file", "free some space or write elsewhere"),
    errno.EACCES: ("no permission", "a file or folder that you may use", "change its permissions"),
    errno.EPERM: ("no permission", "a file or folder that you may use", "change its permissions"),
    errno.EROFS: ("a read-only file system", "a folder that can be written to", "write elsewhere"),
    errno.ENOENT: ("nothing there", "an existing file or folder", "check the path"),
    errno.EISDIR: ("a folder", "a file", "name a file"),
    errno.ENOTDIR: ("a file", "a folder", "name a folder"),
    errno.ENAMETOOLONG: ("a name that is too long", "a name the file system takes", "choose a shorter name"),
}


def as_input_error(error: BaseException, where: str | Path | None = None) -> InputError | None:
    """The one-line form of an error that is the input's or the machine's; None for a bug of ours.

    Args:
        error: what was raised.
        where: the file or case that was being worked on, for errors that do not name one.
    """
    if isinstance(error, InputError):
        return error
    if _is_out_of_memory(error):
        return InputError(
            where or "memory",
            found="not enough memory for this volume",
            expected="memory for the volume, its label map and the network",
            fix="close other programs, use a machine with more memory or --device cpu",
        )
    if isinstance(error, OSError):
        place = error.filename or where or "the system"
        found, expected, fix = _FIXES.get(
            error.errno or 0,
            (
                error.strerror or str(error) or type(error).__name__,
                "a file that can be read or written",
                "check the path and the disk",
            ),
        )
        return InputError(os.fsdecode(place), found=found, expected=expected, fix=fix)
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    # torch has its own class on an accelerator and a plain RuntimeError on the CPU; looked at by name so that
    # a command without torch does not import it here.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def show(error: InputError | str) -> None:
    """Print the one line on stderr, whatever the width of the terminal."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(Text.assemble(("error: ", "bold red"), " ".join(str(error).split())))
