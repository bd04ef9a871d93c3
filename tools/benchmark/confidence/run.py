"""`python -m tools.benchmark confidence`: is the confidence worth its name? And its fit, with `--fit`.

Each structure has its own key slices, as in the propagation benchmark, with its first and last slice given and
without. The confidence of a slice and label is compared with the true Dice there; `cases` says which
slices count.

A killed run resumes: what `slices.jsonl` holds is not computed again. It holds the evidence that confidence is made
of, so that weights which differ in nothing but their calibration share it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.benchmark import model
from tools.benchmark.confidence.cases import Job, Measured, digest_of, measure_case
from tools.benchmark.confidence.results import print_summary, summarize, write_all
from tools.benchmark.datasets import FITTING_SETS, Case, CaseSet, find_sets
from tools.benchmark.lines import LineFile
from tools.benchmark.progress import case_progress
from volumes.errors import InputError

if TYPE_CHECKING:
    from propagation_module.confidence import Calibration

DEFAULT_COUNTS, FITTING_COUNTS = (1, 3), (1, 3, 5)


@dataclass(frozen=True)
class Plan:
    """What to measure: the same for every case."""

    counts: tuple[int, ...]
    model: model.ModelSpec
    digest: str

    def jobs(self) -> list[Job]:
        """Numbers of key slices, with marks and without."""
        return [(n, marks) for n in self.counts for marks in (True, False)]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to measure, and with what.

    Args:
        sets: by name or path, "train" for those of the fit; None: head-neck, sarcoma and liver_17, or those of the fit.
        counts: numbers of key slices for each structure.
        config: configuration of the propagation module.
        weights: weights file; None takes those that ship.
        device: torch device.
        every: only every so manieth case of a set.
        limit: at most so many cases of each set.
        jobs: cases at once, each in its own process.
        quiet: print no table and no progress.
        threshold: of `confidence.Ending`, for the fit; None: the best.
    """

    sets: Sequence[str] | None = None
    counts: Sequence[int] = DEFAULT_COUNTS
    config: str = "small"
    weights: Path | None = None
    device: str = "cpu"
    every: int = 1
    limit: int | None = None
    jobs: int = 1
    quiet: bool = False
    threshold: float | None = None

    @property
    def model(self) -> model.ModelSpec:
        return model.ModelSpec(self.config, self.weights, self.device)


def run(data: Path, out: Path, settings: Settings, *, evidence: Path | None = None) -> dict[str, Any]:
    """Run the benchmark, print the tables, save `results.json`, `results.md` and `reliability.png`.

    Args:
        data: the data folder or one set's folder (`datasets.find_sets`).
        out: folder of the results, made if missing.
        evidence: folder of what was measured, resumed from; None: `out`.

    Returns:
        The summary of `confidence_results.summarize`.

    Raises:
        InputError: data or settings that will not do.
    """
    calibration, called = _calibration(settings.model)
    case_sets = _case_sets(data, settings.sets, settings)
    out.mkdir(parents=True, exist_ok=True)
    measured = measure(case_sets, evidence or out, settings)
    summary = summarize(measured, calibration)
    about = {
        "notes": {one.name: one.note for one in case_sets},
        "config": settings.config,
        "weights": None if settings.weights is None else settings.weights.name,
        "model": digest_of(settings.model),
        "calibration": called,
        "cases": {one.name: len(one.cases) for one in case_sets},
    }
    write_all(out, summary, about)
    if not settings.quiet:
        print_summary(summary)
    return summary


def fit_weights(data: Path, out: Path, settings: Settings, *, evidence: Path | None = None) -> Calibration:
    """Fit the calibration, save the weights with it, and report what it reaches on cases left out.

    Args:
        data: as in `run`.
        out: `.safetensors`; may be the weights themselves.
        evidence: folder of what was measured, resumed from, and of the report, `fit.json` and `fit.md`; None: a
            folder beside `out`, named after it.

    Raises:
        InputError: data or settings that will not do, or nothing to fit to.
    """
    from propagation_module.calibration import Examples, fit
    from tools.benchmark.confidence.ends import fit_ending
    from tools.benchmark.confidence.fit import report, write_report
    from tools.files import check_output_file

    out.parent.mkdir(parents=True, exist_ok=True)
    check_output_file(out, suffixes=(".safetensors",), overwrite=True)
    folder = evidence or out.with_name(f"{out.stem}-confidence")
    case_sets = _case_sets(data, settings.sets or FITTING_SETS, settings)
    cases = [case for one in case_sets for case in one.cases]
    ending, outcomes = fit_ending(cases, settings.model, settings.counts, threshold=settings.threshold)
    _save(settings.model, out, ending=ending.to_json())
    settings = replace(settings, weights=out)  # the confidence is in what is left when structures end there
    measured = measure(case_sets, folder, settings)
    rows = [
        ((f"{one.set}/{one.case}", pair.seen, pair.dice), (one.n, one.marks))
        for one in measured
        for pair in one.pairs()
        if pair.seen is not None
    ]
    examples = Examples.of(row for row, _ in rows)
    number = len(set(examples.cases))
    if number < 2:
        raise InputError(
            data, found=f"{number} cases with slices to fit to", expected="two or more", fix="name other --sets"
        )
    calibration = fit(examples)
    _save(settings.model, out, calibration=calibration.to_json())
    found = report(calibration, examples, [job for _, job in rows])
    found["ending"] = {"chosen": ending.threshold, "outcomes": [outcome._asdict() for outcome in outcomes]}
    write_report(folder, found, quiet=settings.quiet)
    return calibration


def measure(case_sets: Sequence[CaseSet], folder: Path, settings: Settings) -> list[Measured]:
    """What `folder/slices.jsonl` holds of the sets, in their order, after what it lacked has been computed."""
    counts = settings.counts
    if not counts or min(counts) < 1:
        raise InputError("--slices", found=f"{list(counts)}", expected="numbers from 1, as in 1,3", fix="correct it")
    plan = Plan(tuple(sorted(set(counts))), settings.model, digest_of(settings.model))
    cases = [case for one in case_sets for case in one.cases]
    folder.mkdir(parents=True, exist_ok=True)
    store = LineFile(folder / "slices.jsonl", Measured)
    with case_progress(len(cases), settings.quiet) as advance:
        _compute(cases, plan, store, settings.jobs, advance)
    return [store.records[_key(case, job, plan)] for case in cases for job in plan.jobs()]


def _save(spec: model.ModelSpec, out: Path, **said: str) -> None:
    """The weights as they are, and all that was said of them, with more."""
    from propagation_module.checkpoints import load_network, read_metadata, save_weights, shipped_weights

    source = spec.weights or shipped_weights(spec.config)
    metadata = read_metadata(source) if source is not None and source.suffix == ".safetensors" else {}
    save_weights(load_network(spec.config, spec.weights), out, {**metadata, **said})


def _calibration(spec: model.ModelSpec) -> tuple[Calibration, str]:
    from propagation_module.checkpoints import load_calibration
    from propagation_module.confidence import UNCALIBRATED

    found, _ = load_calibration(spec.config, spec.weights)
    return found, "not calibrated" if found == UNCALIBRATED else "calibrated"


def _case_sets(data: Path, sets: Sequence[str] | None, settings: Settings) -> list[CaseSet]:
    names = None if sets is None else [name for one in sets for name in (FITTING_SETS if one == "train" else (one,))]
    found = find_sets(data, names)
    return [CaseSet(one.name, one.cases[:: settings.every][: settings.limit], one.note) for one in found]


def _key(case: Case, job: Job, plan: Plan) -> tuple[str, str, int, bool, str]:
    return case.set_name, case.name, *job, plan.digest


def _open_jobs(cases: Sequence[Case], plan: Plan, store: LineFile[Measured]) -> Iterator[tuple[Case, list[Job]]]:
    for case in cases:
        yield case, [job for job in plan.jobs() if _key(case, job, plan) not in store.records]


def _compute(
    cases: Sequence[Case], plan: Plan, store: LineFile[Measured], jobs: int, advance: Callable[[str], None]
) -> None:
    """Compute what the store lacks: in one process job by job, in several case by case."""
    if jobs <= 1:
        for case, left in _open_jobs(cases, plan, store):
            for one in measure_case(case, left, plan.model, plan.digest):
                store.append([one])
            advance(case.name)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = {
            pool.submit(_whole_case, case, left, plan, jobs): case for case, left in _open_jobs(cases, plan, store)
        }
        for future in as_completed(futures):
            store.append(future.result())
            advance(futures[future].name)


def _whole_case(case: Case, left: Sequence[Job], plan: Plan, jobs: int) -> list[Measured]:
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
    return list(measure_case(case, left, plan.model, plan.digest))
