"""The examples of docs/python.md and of the README's section on Python, run one after the other as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import demo

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: str) -> list[tuple[int, str]]:
    """First line and code of every example of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [(text[: found.start()].count("\n") + 2, found[1]) for found in BLOCK.finditer(text)]


@pytest.mark.parametrize(("page", "least"), [("docs/python.md", 11), ("README.md", 2)])
def test_the_examples_run(page: str, least: int, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "SHAPE", (12, 24, 24))  # the example case, smaller
    monkeypatch.setattr(demo, "SPACING", (20.0, 16.0, 16.0))
    examples, names = blocks(page), {}  # type: ignore[var-annotated]
    assert len(examples) >= least
    for line, code in examples:
        # Lines are counted as in the page, for whoever reads the traceback.
        exec(compile("\n" * (line - 1) + code, page, "exec"), names)
    for left in ("labels.nii.gz", *(("found.nii.gz", "labels.seg.nrrd", "example/truth.nii.gz") if least > 2 else ())):
        assert (files / left).is_file()
