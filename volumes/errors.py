"""The one error that a user of Keyslice may see for bad input."""

from __future__ import annotations

from pathlib import Path


class InputError(ValueError):
    """Bad input, told in one line: where, what was found, what was expected, what to do.

    Args:
        where: the file, folder, option or argument that is at fault.
        found: what is there.
        expected: what should be there.
        fix: what the user can do about it.
    """

    def __init__(self, where: str | Path, *, found: str, expected: str, fix: str) -> None:
        self.where = str(where)
        self.found = _one_line(found)
        self.expected = _one_line(expected)
        self.fix = _one_line(fix)
        message = f"{_one_line(self.where)}: found {self.found}; expected {self.expected}; {self.fix}"
        super().__init__(message)

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default copy between worker processes.
        return _rebuild, (type(self), self.where, self.found, self.expected, self.fix)


class NotEnoughMemory(InputError):
    """What was asked for does not fit into memory: no fault of the file, and the same with the next one."""


def not_finite(where: str | Path) -> InputError:
    """InputError for an image with NaN or infinite voxels."""
    return InputError(
        where,
        found="voxels that are NaN or infinite",
        expected="finite numbers",
        fix="replace them, for example with -1024 HU",
    )


def _rebuild(kind: type[InputError], where: str, found: str, expected: str, fix: str) -> InputError:
    return kind(where, found=found, expected=expected, fix=fix)


def _one_line(text: str) -> str:
    return " ".join(text.split())
