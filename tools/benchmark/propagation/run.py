"""`python -m tools.benchmark propagation`: Keyslice beside classical tools at the same key slices.

Every structure has its own key slices (`key_slices.choose_key_slices`); a key slice speaks only for the
structures that it was chosen for. All methods get the same key slices and the same start and stop marks
(the structure's true first and last slice). Dice is that of the whole volume, key slices included, mean
over structures. Structures with fewer than 5 slices or 100 voxels do not count.

A killed run resumes: what `structures.jsonl` in the output folder holds is not computed again. Results
of other weights or settings are told apart by a digest.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tools.benchmark import model
from tools.benchmark.classical import NEEDS_TWO, TOOLS, check_available
from tools.benchmark.datasets import Case, CaseSet, Structure, find_sets, structures_of
from tools.benchmark.key_slices import choose_key_slices, key_slices_for
from tools.benchmark.progress import case_progress
from tools.benchmark.propagation.plots import draw_curves
from tools.benchmark.propagation.results import (
    OURS,
    OURS_WITHOUT_MARKS,
    Record,
    RecordFile,
    print_summary,
    summarize,
    write_all,
)
from volumes.errors import InputError
from volumes.metrics import dice

if TYPE_CHECKING:
    from volumes.volume import Volume

DEFAULT_COUNTS = (1, 3, 5, 8)
DEFAULT_METHODS = (OURS, *TOOLS)
Job = tuple[str, int]
"""A method and a number of key slices."""
Done = tuple[int, str, int]
"""Label, method and number of key slices of a result that is there already."""


@dataclass(frozen=True)
class Plan:
    """What to compute: the same for every case."""

    methods: tuple[str, ...]
    counts: tuple[int, ...]
    model: model.ModelSpec

    def jobs(self) -> list[Job]:
        """All pairs that give a result, methods outside."""
        return [(method, n) for method in self.methods for n in self.counts if not (n == 1 and method in NEEDS_TWO)]


def run(
    data: Path,
    *,
    sets: Sequence[str] | None = None,
    counts: Sequence[int] = DEFAULT_COUNTS,
    methods: Sequence[str] = DEFAULT_METHODS,
    out: Path = Path("runs/benchmark/propagation"),
    config: str = "small",
    weights: Path | None = None,
    device: str = "cpu",
    limit: int | None = None,
    jobs: int = 1,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run the benchmark, print the tables, save `results.json`, `.md`, `structures.csv` and `curve.png`.

    Args:
        data: the data folder or one set's folder (`datasets.find_sets`).
        sets: sets by name or path; None: head-neck, sarcoma and liver_17, those that are there.
        counts: numbers of key slices for each structure.
        methods: of `DEFAULT_METHODS` and "keyslice-no-marks".
        out: folder of the results; made if missing, resumed from if not.
        config: configuration of the propagation module: paper, stcn, small.
        weights: weights file; None takes those that ship.
        device: torch device.
        limit: at most so many cases of each set.
        jobs: cases at once, each in its own process.
        quiet: print no table and no progress.

    Returns:
        The summary of `results.summarize`.

    Raises:
        InputError: data, options or a package missing.
    """
    plan = _plan(methods, counts, model.ModelSpec(config, weights, device))
    case_sets = find_sets(data, sets)
    if limit is not None:
        case_sets = [CaseSet(one.name, one.cases[:limit], one.note) for one in case_sets]
    cases = [case for one in case_sets for case in one.cases]
    digest = model.digest(plan.model) if any(method.startswith(OURS) for method in plan.methods) else ""
    out.mkdir(parents=True, exist_ok=True)
    store = RecordFile(out / "structures.jsonl")
    with case_progress(len(cases), quiet) as advance:
        _compute(cases, plan, digest, store, jobs, advance)
    records = _chosen(store, cases, plan, digest)
    summary = summarize(records)
    about = {
        "notes": {one.name: one.note for one in case_sets},
        "config": config,
        "weights": None if weights is None else weights.name,
        "model": digest,
        "cases": {one.name: len(one.cases) for one in case_sets},
    }
    write_all(out, records, summary, about)
    if summary:
        draw_curves(summary, out / "curve.png")
    if not quiet:
        print_summary(summary)
    return summary


def _compute(
    cases: Sequence[Case],
    plan: Plan,
    digest: str,
    store: RecordFile,
    jobs: int,
    advance: Callable[[str], None],
) -> None:
    """Compute what the store lacks, case by case."""
    done: dict[tuple[str, str], set[Done]] = {(case.set_name, case.name): set() for case in cases}
    for record in store.records.values():
        if record.model in ("", digest) and (record.set, record.case) in done:
            done[record.set, record.case].add((record.label, record.method, record.n))
    if jobs <= 1:
        for case in cases:
            for records in run_case(case, plan, digest, done[case.set_name, case.name]):
                store.append(records)
            advance(case.name)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = {
            pool.submit(_whole_case, case, plan, digest, done[case.set_name, case.name], jobs): case for case in cases
        }
        for future in as_completed(futures):
            store.append(future.result())
            advance(futures[future].name)


def _chosen(store: RecordFile, cases: Sequence[Case], plan: Plan, digest: str) -> list[Record]:
    """The store's records that belong to this run, in the order of cases, labels, methods and numbers."""
    order = {(case.set_name, case.name): place for place, case in enumerate(cases)}
    chosen = set(plan.jobs())
    records = [
        record
        for record in store.records.values()
        if (record.set, record.case) in order and (record.method, record.n) in chosen and record.model in ("", digest)
    ]
    return sorted(
        records,
        key=lambda one: (order[one.set, one.case], one.label, plan.methods.index(one.method), one.n),
    )


def run_case(case: Case, plan: Plan, digest: str = "", done: set[Done] | None = None) -> Iterator[list[Record]]:
    """Results of one case, one list per method and number of key slices, as soon as they are there.

    Args:
        case: the case.
        plan: what to compute.
        digest: of the model, for the records.
        done: what is not computed again.
    """
    from volumes.formats import read_label_map, read_volume

    done = done or set()
    label_map = read_label_map(case.labels)
    structures = structures_of(case, label_map)
    volume: Volume | None = None
    for method, n in plan.jobs():
        open_ones = [one for one in structures if (one.label, method, n) not in done]
        if not open_ones:
            continue
        if method in TOOLS:
            yield [_classical(case, one, method, n) for one in open_ones]
            continue
        if volume is None:
            volume = read_volume(case.image)
        # All structures of the case together, also those that are done: it is one call.
        yield _ours(case, volume, structures, method, n, plan, digest)


def _classical(case: Case, one: Structure, method: str, n: int) -> Record:
    started = time.perf_counter()
    slices = choose_key_slices(one.mask, n)
    given = np.zeros_like(one.mask)
    given[slices] = one.mask[slices]
    result = TOOLS[method](given, slices)
    seconds = time.perf_counter() - started
    return _record(case, one, method, slices, n, dice(one.mask, result), 0.0, seconds)


def _ours(
    case: Case, volume: Volume, structures: Sequence[Structure], method: str, n: int, plan: Plan, digest: str
) -> list[Record]:
    propagator = model.load(plan.model)
    keys = key_slices_for(volume.shape, structures, n)
    extents = None if method == OURS_WITHOUT_MARKS else {one.label: one.extent for one in structures}
    started = time.perf_counter()
    labels = propagator.propagate(volume, keys, extents=extents).labels
    seconds = (time.perf_counter() - started) / len(structures)
    records = []
    for one in structures:
        score, beyond = _against(labels, one)
        slices = choose_key_slices(one.mask, n)
        records.append(_record(case, one, method, slices, n, score, beyond, seconds, digest))
    return records


def _against(labels: npt.NDArray[np.uint8], one: Structure) -> tuple[float, float]:
    """Dice over the whole volume, and the share of labelled voxels beyond the structure's extent."""
    per_slice = np.array([np.count_nonzero(plane == one.label) for plane in labels])
    predicted, inside = int(per_slice.sum()), int(per_slice[one.box[0]].sum())
    overlap = np.count_nonzero((labels[one.box] == one.label) & one.mask)
    score = 2.0 * overlap / (predicted + np.count_nonzero(one.mask))
    return score, (predicted - inside) / predicted if predicted else 0.0


def _record(
    case: Case,
    one: Structure,
    method: str,
    slices: Sequence[int],
    n: int,
    score: float,
    beyond: float,
    seconds: float,
    digest: str = "",
) -> Record:
    return Record(
        case.set_name, case.name, one.label, one.name, method, n, round(score, 6), round(beyond, 6),
        round(seconds, 4), tuple(one.extent[0] + z for z in slices), digest,
    )  # fmt: skip


def _whole_case(case: Case, plan: Plan, digest: str, done: set[Done], jobs: int) -> list[Record]:
    if any(method.startswith(OURS) for method in plan.methods):
        import torch

        torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
    return [record for records in run_case(case, plan, digest, done) for record in records]


def _plan(methods: Sequence[str], counts: Sequence[int], spec: model.ModelSpec) -> Plan:
    known = (OURS, OURS_WITHOUT_MARKS, *TOOLS)
    for method in methods:
        if method not in known:
            raise InputError(
                "--methods", found=f"'{method}'", expected=f"of {', '.join(known)}", fix="correct the name"
            )
    if not counts or min(counts) < 1:
        raise InputError(
            "--slices", found=f"{list(counts)}", expected="numbers from 1, as in 1,3,5,8", fix="correct it"
        )
    check_available(methods)
    return Plan(tuple(dict.fromkeys(methods)), tuple(sorted(set(counts))), spec)
