"""A request that is turned away: its status and what the page is told."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from tools.errors import as_input_error
from volumes.errors import InputError


class Refusal(Exception):
    """A request that is not done.

    Args:
        status: of the answer.
        found, expected, fix: as in `InputError`.
        reason: for what the page does about it by itself; `watching`: another page edits.
    """

    def __init__(self, status: int, found: str, expected: str, fix: str, reason: str | None = None) -> None:
        super().__init__(found)
        self.status, self.parts = int(status), {"found": found, "expected": expected, "fix": fix}
        if reason is not None:
            self.parts["reason"] = reason

    @classmethod
    def of(cls, error: InputError, status: int) -> Refusal:
        """The same as an InputError says."""
        return cls(status, f"{error.where}: {error.found}", error.expected, error.fix)

    @classmethod
    def of_machine(cls, error: OSError | MemoryError) -> Refusal:
        """The disk or the memory does not allow it."""
        told = as_input_error(error)
        assert told is not None
        full = isinstance(error, OSError)
        return cls.of(told, HTTPStatus.INSUFFICIENT_STORAGE if full else HTTPStatus.SERVICE_UNAVAILABLE)

    def body(self) -> dict[str, Any]:
        """The answer. Text that is no Unicode (half a surrogate pair) is made so."""
        return {"error": {key: text.encode("utf-8", "replace").decode("utf-8") for key, text in self.parts.items()}}


def invalid(found: str, expected: str, fix: str) -> Refusal:
    """A request that can be read but makes no sense for this case."""
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, found, expected, fix)


def closed_just_now() -> Refusal:
    """A request that came while its case was being closed."""
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "a case that was closed just now", "it open", "try again")
