"""Who imports whom: arrows between the rooms point down only, and what a module keeps to itself stays there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "volumes": set(),
    "networks": {"volumes"},
    "propagation_module": {"networks", "volumes"},
    "reference_module": {"networks", "volumes"},
    "cps": {"reference_module", "networks", "volumes"},
    "baseline3d": {"cps", "networks", "volumes"},
    "tools": {"baseline3d", "cps", "reference_module", "propagation_module", "networks", "volumes"},
    "keyslice": {"tools", "baseline3d", "cps", "reference_module", "propagation_module", "networks", "volumes"},
}


def _imports(source: Path) -> Iterator[tuple[int, str, str | None]]:
    """Line, module, and what is taken from it (None: itself) of every import, within functions too."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, one.name, None) for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}:{node.lineno}: a relative import"
            yield from ((node.lineno, node.module or "", one.name) for one in node.names)


def _ours(room: str) -> Iterator[tuple[str, str, str | None]]:
    """Where, module and name of every import of one of our rooms."""
    sources = sorted((ROOT / room).rglob("*.py"))
    assert sources
    for source in sources:
        for line, module, name in _imports(source):
            if module.split(".")[0] in MAY_IMPORT:
                yield f"{source.relative_to(ROOT)}:{line}", module, name


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_arrows_point_down(room: str) -> None:
    allowed = MAY_IMPORT[room] | {room}
    wrong = [f"{where}: {module}" for where, module, _ in _ours(room) if module.split(".")[0] not in allowed]
    assert not wrong


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_nothing_private_is_imported(room: str) -> None:
    wrong = [
        f"{where}: {name} of {module}"
        for where, module, name in _ours(room)
        if any(_is_private(one) for one in [*module.split("."), name or ""])
    ]
    assert not wrong


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")
