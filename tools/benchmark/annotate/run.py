"""How long a person waits for the annotation tool: the real server in a process of its own, a real browser.

Times are as a person has them, on a machine that may do other things; its load is told with them.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil

from tools.annotate.store import COMPACT_RECORDS
from tools.benchmark.annotate import browser as browsers
from tools.benchmark.annotate import parts
from tools.benchmark.annotate.client import Client, Events, Server, cores
from tools.benchmark.engine.cases import EngineCase, mirrored, slab_of_phantom
from tools.console import say
from tools.files import whole_file, write_json

SLAB_SLICES = 40  # of the phantom; up and down again until the volume is full
KEYS = 6
CORRECTIONS = 6
_CASE = "ct"
_MB = 1e6
Say = Callable[[str], None]
Row = tuple[str, str]


def run(
    out: Path,
    *,
    size: int = 512,
    depth: int = 300,
    labels: int = 5,
    strokes: int = 50,
    session_strokes: int = COMPACT_RECORDS,
    browser: bool = True,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run the benchmark; write `annotate.json` and `annotate.md` into `out`.

    Args:
        size: pixels of a slice, each way.
        depth: slices.
        labels: how many are propagated.
        strokes: for how long one takes.
        session_strokes: of the session that is reopened. `COMPACT_RECORDS` have just become a snapshot, one less is
            the longest journal.
        browser: use Chromium, if it is there.

    Returns:
        What is in `annotate.json`.
    """
    report: Say = (lambda _: None) if quiet else say
    out.mkdir(parents=True, exist_ok=True)
    missing = browsers.missing_browser() if browser else "not asked for"
    results: dict[str, Any] = {"about": {"shape": [depth, size, size], "labels": labels, **_machine()}}
    results["about"]["browser"] = missing is None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report(f"Making a CT of {depth} slices of {size} x {size} ...")
        case, ct = _make(folder, size, depth)
        with Server(ct, folder / "session") as server:
            report(f"The server is there after {server.seconds:.1f} s.")
            for part, figures in _one_server(server, case, labels, strokes, missing):
                results[part] = figures
                write_json(out / "annotate.json", results)
                report(f"{part} ...")
        report("Reopening ...")
        results["reopened"] = _reopened(ct, folder, case.truth.shape, session_strokes)
    results["about"]["load_at_end"] = _load()
    results["rows"] = [list(row) for row in rows(results, missing)]
    write_json(out / "annotate.json", results)
    text = to_markdown(results, missing)
    with whole_file(out / "annotate.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    report(text)
    return results


def _make(folder: Path, size: int, depth: int) -> tuple[EngineCase, Path]:
    from tools.demo import save_volume

    slab = slab_of_phantom(size, min(SLAB_SLICES, depth))
    case = mirrored(slab, depth, max(1, depth // KEYS))
    ct = folder / f"{_CASE}.nii.gz"
    save_volume(case.volume, ct)
    return case, ct


def _one_server(
    server: Server, case: EngineCase, labels: int, strokes: int, missing: str | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """All that is asked of one server from its start on, a part at a time."""
    shape, values = case.truth.shape, case.largest(labels)
    memory = {"volume": case.volume.array.nbytes, "open": server.memory()}
    yield "start", {"seconds": server.seconds, "cpu_seconds": server.cpu_seconds}
    if missing is None:
        with browsers.chromium() as browser:
            page, ready = browsers.measure_page(browser, server.link)
            yield "page", ready
            yield "page_strokes", parts.spread(browsers.measure_strokes(page, strokes))
    with closing(Client(server, _CASE)) as client, closing(Events(server, _CASE)) as events:
        client.post("editor", take=True)
        if missing is not None:
            yield "page", parts.load_page(client, shape)
        parts.undo_all(client)
        yield "strokes", parts.strokes(server, client, shape, strokes)
        parts.undo_all(client)
        memory["strokes"] = server.memory()
        yield "answers", parts.answers(client, 2 * strokes)
        parts.give_key_slices(client, case, values)
        yield "propagation", parts.propagate(server, client, events, _CASE, shape)
        memory["propagated"] = server.memory()
        yield "corrections", parts.corrections(client, events, case, values, CORRECTIONS)
    yield "memory", {**memory, "peak": server.peak()}


def _reopened(ct: Path, folder: Path, shape: Sequence[int], count: int) -> list[dict[str, Any]]:
    """Starts with sessions of one stroke less than asked for, and of all; and answers while networks are loaded."""
    found: list[dict[str, Any]] = []
    for strokes in (count - 1, count):
        session = folder / f"session-{strokes}"
        parts.make_session(ct, session, shape, strokes)
        with Server(ct, session) as server, closing(Client(server, _CASE)) as client:
            client.get()
            found.append({"strokes": strokes, "seconds": server.seconds, "cpu_seconds": server.cpu_seconds})
            if strokes == count:
                with closing(Events(server, _CASE)):  # a page has come
                    found[-1]["loading"] = parts.answers_while_loading(server, client)
    return found


def rows(results: dict[str, Any], missing: str | None) -> list[Row]:
    """The table: what was measured, and what came out."""
    page, one, run_ = results["page"], results["strokes"], results["propagation"]
    first, cancel = results["corrections"]["first"], results["corrections"]["cancel"]
    memory = results["memory"]
    beyond = {name: (memory[name] - memory["volume"]) / _MB for name in ("open", "strokes", "propagated", "peak")}
    by = "" if missing is None else f", asked for without a browser ({missing})"
    found = [
        ("start of the command to printed address, new session", _start(results["start"])),
        *((f"the same, session of {one['strokes']:,} strokes", _start(one)) for one in results["reopened"]),
        (f"page ready{by}: first slices", f"{page['first_seconds']:.2f} s"),
        (f"page ready{by}: whole volume", f"{page['whole_seconds']:.1f} s, {page['megabytes']:.0f} MB"),
        (f"stroke to acknowledged, {one['count']} strokes", f"{_spread(one)}; {_ms(one['cpu_seconds'])} of processor"),
    ]
    if "page_strokes" in results:
        found.append(("the same, as the page has it", _spread(results["page_strokes"])))
    rest, loading = results["answers"], results["reopened"][-1]["loading"]
    found += [
        (f"answers at rest: state, {rest['count']} times", _tail(rest)),
        (f"answers while the network is loaded: state, {loading['count']} times", _tail(loading)),
        ("first propagation to first proposal (the network is loaded)", f"{run_['first_seconds']:.1f} s"),
        (
            f"propagation of all slices, labels: {results['about']['labels']}",
            f"{run_['seconds']:.0f} s, {run_['cpu_seconds']:.0f} s of processor",
        ),
        (f"answers while it propagates: state, {run_['state']['count']} times", _tail(run_["state"])),
        (f"answers while it propagates: strokes, {run_['strokes']['count']} times", _tail(run_["strokes"])),
        (
            f"correction to first new proposal, {first['count']} corrections",
            f"median {first['p50']:.2f} s, most {first['max']:.2f} s",
        ),
        ("cancel to end of the run", f"median {cancel['p50']:.2f} s, most {cancel['max']:.2f} s"),
        (
            f"server memory beyond the volume ({memory['volume'] / _MB:.0f} MB): open, after strokes, propagated, peak",
            ", ".join(f"{value:.0f}" for value in beyond.values()) + " MB",
        ),
    ]
    return found


def to_markdown(results: dict[str, Any], missing: str | None) -> str:
    """The table, and what machine it is from."""
    about = results["about"]
    depth, height, width = about["shape"]
    load = " to ".join(f"{value:.1f}" for value in (about["load"], about["load_at_end"]))
    return "\n".join(
        [
            f"# Annotation, {height} x {width} x {depth}",
            "",
            f"{about['machine']}; {about['cores']} cores, load {load} (programs that wanted a core).",
            "",
            "| what | figure |",
            "|---|---|",
            *(f"| {what} | {figure} |" for what, figure in rows(results, missing)),
            "",
        ]
    )


def _machine() -> dict[str, Any]:
    return {"machine": f"{platform.system()} {platform.machine()}", "cores": cores(), "load": _load()}


def _load() -> float:
    return round(psutil.getloadavg()[0], 1)


def _start(found: dict[str, float]) -> str:
    return f"{found['seconds']:.1f} s, {found['cpu_seconds']:.1f} s of processor"


def _spread(found: dict[str, float]) -> str:
    return f"median {_ms(found['p50'])}, p95 {_ms(found['p95'])}"


def _tail(found: dict[str, float]) -> str:
    return f"p50 {_ms(found['p50'])}, p99 {_ms(found['p99'])}, most {_ms(found['max'])}"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"
