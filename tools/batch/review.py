"""`report.html`: a page to look through the results of a run with, the worst first.

One file that works from the disk. It loads nothing: its policy (CSP) forbids every source but pictures within it, and
scripts and styles other than its own two. All that comes from files is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import html
import shlex
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from tools.files import whole_file

if TYPE_CHECKING:
    from tools.batch.results import Row
    from tools.batch.run import Finished, Plan

PICTURES = 1000
"""Cases whose pictures are in the page, from the worst; more would make it slow to open (8 KB each)."""

_PICTURED = {
    "": "The pictures show the slice with the lowest confidence, or the fullest one, and a coronal cut; "
    "right is on the left.",
    "evaluate": "The pictures show truth and prediction on the slice on which they differ most; right is on the left.",
}
"""What the pictures of a command show."""

_PAGE = Path(__file__).with_name("page")


def write_page(path: Path, plan: Plan, finished: Finished, rows: Sequence[Row]) -> None:
    """Write the page, whole or not at all."""
    style, script = (_PAGE.joinpath(name).read_text(encoding="utf-8") for name in ("review.css", "review.js"))
    failed = [row for row in rows if row.error is not None]
    done = [row for row in rows if row.error is None]
    page = Template(_PAGE.joinpath("review.html").read_text(encoding="utf-8"))
    text = page.substitute(
        policy=f"default-src 'none'; img-src data:; style-src {_source(style)}; script-src {_source(script)}",
        style=style,
        script=script,
        title=_text(f"keyslice {plan.command}: {plan.folder.resolve().name}"),
        run=_text(str(plan.folder.resolve())),
        counts=_text(f"{len(done)} done, {len(failed)} failed"),
        note=_text(_note(plan, finished, len(done))),
        pictures=_text(_PICTURED.get(plan.command, _PICTURED[""])),
        failed="".join(_failed(row) for row in failed),
        failed_hidden="" if failed else " hidden",
        rows="".join(_row(row, with_picture=index < PICTURES) for index, row in enumerate(done)),
    )
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _note(plan: Plan, finished: Finished, done: int) -> str:
    device = finished.facts.get("device")
    version = (finished.facts.get("versions") or {}).get("keyslice")
    parts = [f"keyslice {version or ''} {plan.command}".replace("  ", " ")]
    if device:
        parts.append(f"on {device}")
    if done > PICTURES:
        parts.append(f"pictures of the first {PICTURES} cases only")
    return ", ".join(parts)


def _failed(row: Row) -> str:
    return f"<tr><th scope=row>{_text(row.name)}</th><td>{_text(row.error or '')}</td></tr>\n"


def _row(row: Row, *, with_picture: bool) -> str:
    brief, score = row.brief, row.score
    where = ", ".join(
        part
        for part in (
            str(brief.get("structure") or ""),
            f"slice {brief['slice']}" if brief.get("slice") is not None else "",
        )
        if part
    )
    facts = ", ".join(f"{value} {name}" for name, value in brief.get("facts", {}).items())
    warnings = "".join(f"<li>{_text(one)}</li>" for one in row.line.get("warnings", ()))
    command = shlex.join(["keyslice", "annotate", *row.annotate]) if row.annotate else ""
    open_it = (
        f"<button type=button data-copy='{_text(command)}' title='{_text(command)}'>Copy command</button>"
        f"<a data-case='{_text(row.name)}' target=_blank rel=noreferrer hidden>Open</a>"
        if command
        else ""
    )
    shown = "not judged" if score is None else f"{score:.2f}"
    meter = "" if score is None else f"<meter min=0 max=1 low=.5 high=.8 optimum=1 value={score:.3f}></meter>"
    return (
        f"<tr data-case='{_text(row.name)}'><td>{_picture(row) if with_picture else ''}</td>"
        f"<th scope=row>{_text(row.name)}<small>{_text(facts)}</small></th>"
        f"<td>{meter} {shown}<small>{_text(where)}</small></td>"
        f"<td>{f'<ul>{warnings}</ul>' if warnings else ''}</td>"
        f"<td>{open_it}</td>"
        "<td><select aria-label=Review><option value=''>not looked at<option>good<option>to correct"
        "<option>unusable</select></td></tr>\n"
    )


def _picture(row: Row) -> str:
    if row.thumbnail is None:
        return ""
    data = base64.b64encode(row.thumbnail.read_bytes()).decode("ascii")
    return f"<img alt='' loading=lazy src='data:image/jpeg;base64,{data}'>"


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def _text(value: str) -> str:
    return html.escape(value, quote=True)
