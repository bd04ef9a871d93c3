"""Commands in the docs: each one exists and knows the options that the docs give it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tools.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/weights/README.md")])
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _commands(text: str) -> Iterator[list[str]]:
    """The words of every `keyslice ...` in blocks of shell."""
    for block in _BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip().startswith("keyslice "):
                yield shlex.split(line, comments=True)[1:]


def _unknown(words: list[str]) -> list[str]:
    """What of a command line Keyslice does not know."""
    command: Any = get_command(app)
    while hasattr(command, "commands"):
        if not words or words[0] not in command.commands:
            return words[:1] or ["no command"]
        command, words = command.commands[words[0]], words[1:]
    known = {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]}
    return [word for word in words if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known | {"--help"}]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_documented_commands_are_known(page: Path) -> None:
    wrong = {" ".join(words): bad for words in _commands(page.read_text(encoding="utf-8")) if (bad := _unknown(words))}
    assert not wrong


def test_unknown_ones_are_noticed() -> None:
    text = "```sh\nkeyslice propagate -i a --colour\nkeyslice paint x   # no such\n```\n"
    assert [_unknown(words) for words in _commands(text)] == [["--colour"], ["paint"]]
