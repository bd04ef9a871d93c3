"""What a Dask worker runs: it finds a free slot in its process, or makes one, and has the case worked on there.

Arguments and results are plain text, so nothing of ours needs more from Dask's own pickle than this module's name.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, replace

from tools.batch.slot import Slot
from tools.batch.tasks import Setup, refused
from volumes.errors import InputError

_free: dict[str, list[Slot]] = {}
"""Slots that nobody uses, with their networks loaded, by setup. A worker with n threads comes to hold n."""

_used: dict[str, list[Slot]] = {}
"""Slots that are at work, by setup."""

_lock = threading.Lock()


def run_case(setup: str, task: str) -> str:
    """Work on a case.

    Args:
        setup: a `Setup` as JSON.
        task: the case as JSON.

    Returns:
        An `Outcome` as JSON.
    """
    from distributed import get_worker

    slot = _take(setup)
    try:
        outcome = slot.run(json.loads(task))
    finally:
        _give_back(setup, slot)
    return json.dumps(asdict(replace(outcome, where=get_worker().address)))


def prepare(setup: str) -> str:
    """Have a slot ready: `ready` with what it says of itself, or `refused` with an `Outcome`."""
    slot = _take(setup)
    try:
        return json.dumps({"ready": slot.prepare()})
    except InputError as error:
        return json.dumps({"refused": asdict(refused(error))})
    finally:
        _give_back(setup, slot)


def close(setup: str) -> None:
    """End the slots of a run, whatever they are at."""
    with _lock:
        slots = _free.pop(setup, []) + _used.pop(setup, [])
    for slot in slots:
        slot.close()


def _take(setup: str) -> Slot:
    with _lock:
        free = _free.get(setup)
        slot = free.pop() if free else Slot(Setup(**json.loads(setup)))
        _used.setdefault(setup, []).append(slot)
    return slot


def _give_back(setup: str, slot: Slot) -> None:
    with _lock:
        if slot in _used.get(setup, []):  # else it was closed meanwhile
            _used[setup].remove(slot)
            _free.setdefault(setup, []).append(slot)
