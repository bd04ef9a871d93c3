"""A case that is closed is left alone, whatever still runs for it."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tools.annotate.serving import SHAPE, runs, serving, write_ct
from tools.annotate.engine import Engine
from tools.annotate.proposals_file import SavedProposals
from tools.annotate.store import NotSaved, Store

BOX = runs(8, 10, 12, 14)


def on_loop(page: Any, work: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(work, page.loop).result(30)


def test_an_engine_that_outlives_its_case_does_not_write_over_the_reopened_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = Engine.close
    monkeypatch.setattr(Engine, "close", lambda engine: close(engine, timeout=0.1))
    go = threading.Semaphore(0)
    engines: list[threading.Thread] = []

    def step() -> None:
        if threading.current_thread() not in engines:
            engines.append(threading.current_thread())
        if threading.current_thread() is engines[0]:
            go.acquire(timeout=20)

    with serving(write_ct(tmp_path / "case.nii.gz"), step=step) as page:
        page.watch()
        page.edit("paint", z=2, label=1, runs=BOX)
        begun = len(page.events)
        page.post("propagate")
        go.release(3)
        page.event("progress", begun, such=lambda data: data["done"] == 3)
        cases = page.app.state.cases
        old = cases._open["case"]

        async def close_it() -> None:
            await cases._open.pop("case").close()

        on_loop(page, close_it())
        assert engines[0].is_alive(), "it is at a slice"
        kept = (tmp_path / "case.keyslice" / "proposals.bin").read_bytes()

        page.watch()  # opened again; what was proposed until then is there
        assert set(page.state()["proposals"]) == {"0", "1"}
        page.edit("paint", z=9, label=2, runs=BOX)
        page.propagate()
        on_loop(page, cases._open["case"].keep_proposals())
        proposals = (tmp_path / "case.keyslice" / "proposals.bin").read_bytes()
        assert proposals != kept
        masks = page.masks()[1]
        go.release(100)  # the old one goes on to its end
        engines[0].join(20)
        assert not engines[0].is_alive()
        on_loop(page, asyncio.sleep(0.2))
        assert (tmp_path / "case.keyslice" / "proposals.bin").read_bytes() == proposals
        assert np.array_equal(page.masks()[1], masks)
        assert old.proposals.slices() == [0, 1], "nobody listens to it any more"

        on_loop(page, old.keep_proposals())
        assert (tmp_path / "case.keyslice" / "proposals.bin").read_bytes() == proposals
        assert "closed" in old.notices[-1]


def test_a_closed_folder_is_not_written_to(tmp_path: Path) -> None:
    store = Store(tmp_path, SHAPE, "ab", name="ct")
    store.open()
    store.close()
    masks = [np.zeros(SHAPE[1:], np.uint8)] * SHAPE[0]
    with pytest.raises(NotSaved, match="closed"):
        store.save_proposals(SavedProposals(masks, {}, {}, 1))
    assert not (tmp_path / "proposals.bin").exists()


def test_a_closed_case_is_gone_without_a_garbage_collection(tmp_path: Path) -> None:
    """Collections do not look at what was there when networks were loaded; a work list must not pile CTs up there."""
    for number, key in enumerate("abc"):
        write_ct(tmp_path / f"{key}.nii.gz", seed=number)
    with serving(tmp_path) as page:
        page.watch("a")
        page.edit("paint", z=2, label=1, runs=BOX)
        page.propagate()
        assert page.post("export", kind="nifti").status_code == 200
        cases = page.app.state.cases
        case = cases._open["a"]
        gone = [weakref.ref(one) for one in (case, case.volume, case.document, case.proposals, case.runs._engine)]
        del case
        gc.disable()
        try:
            page.leave()
            for key in "bc":
                while any(len(one.audience) for one in cases._open.values()):
                    time.sleep(0.02)
                page.watch(key)
                page.leave()
            assert "a" not in cases._open
            end = time.monotonic() + 10
            while any(one() is not None for one in gone) and time.monotonic() < end:
                page.state()
            assert [one() for one in gone] == [None] * len(gone)
        finally:
            gc.enable()
