"""`python -m tools.benchmark interaction`: how many slices have to be annotated until a case is right.

A simulated annotator paints one whole slice at a time: all scored structures of the case that are on it, and says of
the others that they are absent. Every method knows the structures' true first and last slices. Keyslice propagates
after each slice, which is the one that it suggests itself, or a random one; or it starts anew from equidistant ones,
as the interpolation tools do. The annotator paints the truth (`exact`) or as people draw (`noisy`); scored is always
against the truth, annotated slices included.

A killed run resumes: what `steps.jsonl` in the output folder holds is not computed again. Results of other weights,
settings or seeds are told apart.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tools.benchmark import model
from tools.benchmark.classical import TOOLS, check_available
from tools.benchmark.datasets import Case, CaseSet, find_sets
from tools.benchmark.interaction.annotator import EXACT, NOISY, Annotator, Counts, Scene
from tools.benchmark.interaction.plots import draw_interaction
from tools.benchmark.interaction.results import (
    EQUIDISTANT,
    INTERPOLATION,
    OURS,
    RANDOM,
    SUGGESTED,
    Step,
    print_summary,
    summarize,
    write_all,
)
from tools.benchmark.lines import LineFile
from tools.benchmark.progress import case_progress
from volumes.errors import InputError

if TYPE_CHECKING:
    from propagation_module.session import Session

DEFAULT_METHODS = (*OURS, *INTERPOLATION)
NOISES = {EXACT: (EXACT,), NOISY: (NOISY,), "both": (EXACT, NOISY)}
Done = Mapping[int, Step]
"""Steps of one case, annotator and method that are there already, by their number of slices."""


@dataclass(frozen=True)
class Plan:
    """What to compute: the same for every case."""

    methods: tuple[str, ...]
    noises: tuple[str, ...]
    budget: int
    seed: int
    model: model.ModelSpec
    digest: str = ""

    def digest_of(self, method: str) -> str:
        """What the method's results depend on besides the data."""
        return self.digest if method in OURS else ""


class Unit(NamedTuple):
    """What is computed in one go: one case, one kind of annotator, one method."""

    case: Case
    noise: str
    method: str


def run(
    data: Path,
    *,
    sets: Sequence[str] | None = None,
    methods: Sequence[str] = DEFAULT_METHODS,
    noise: str = "both",
    budget: int = 12,
    seed: int = 0,
    out: Path = Path("runs/benchmark/interaction"),
    config: str = "small",
    weights: Path | None = None,
    device: str = "cpu",
    every: int = 1,
    limit: int | None = None,
    jobs: int = 1,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run the benchmark, print the tables, save `results.json`, `.md`, `steps.csv` and `curve-NOISE.png`.

    Args:
        data: the data folder or one set's folder (`datasets.find_sets`).
        sets: sets by name or path; None: head-neck, sarcoma and liver_17, those that are there.
        methods: of `DEFAULT_METHODS`; "morphological" will do as well.
        noise: "exact", "noisy" or "both".
        budget: slices annotated in each case.
        seed: of random slices and of noise.
        out: folder of the results; made if missing, resumed from if not.
        config: configuration of the propagation module: paper, stcn, small.
        weights: weights file; None takes those that ship.
        device: torch device.
        every: only every so manieth case of a set.
        limit: at most so many cases of each set.
        jobs: cases at once, each in its own process.
        quiet: print no table and no progress.

    Returns:
        The summary of `interaction_results.summarize`.

    Raises:
        InputError: data, options or a package missing.
    """
    plan = _plan(methods, noise, budget, seed, model.ModelSpec(config, weights, device))
    case_sets = [CaseSet(one.name, one.cases[::every][:limit], one.note) for one in find_sets(data, sets)]
    cases = [case for one in case_sets for case in one.cases]
    out.mkdir(parents=True, exist_ok=True)
    store = LineFile(out / "steps.jsonl", Step)
    with case_progress(len(cases) * len(plan.noises) * len(plan.methods), quiet) as advance:
        _compute(cases, plan, store, jobs, advance)
    steps = [step for case in cases for step in _of_case(store, case, plan)]
    summary = summarize(steps, budget)
    about = {
        "notes": {one.name: one.note for one in case_sets},
        "config": config,
        "weights": None if weights is None else weights.name,
        "model": plan.digest,
        "cases": {one.name: len(one.cases) for one in case_sets},
        "budget": budget,
        "seed": seed,
    }
    write_all(out, steps, summary, about)
    for kind in plan.noises:
        chosen = {name: by_noise[kind] for name, by_noise in summary.items() if kind in by_noise}
        if chosen:
            draw_interaction(chosen, out / f"curve-{kind}.png")
    if not quiet:
        print_summary(summary, budget)
    return summary


def steps_of(scene: Scene, noise: str, method: str, plan: Plan, done: Done | None = None) -> Iterator[Step]:
    """The steps of one unit that are not done yet, as soon as they are there."""
    annotator = Annotator(scene, noise, plan.seed)
    done = done or {}
    if method in (SUGGESTED, RANDOM):
        return _one_by_one(annotator, method, plan, done)
    return _anew(annotator, method, plan, done)


def _one_by_one(annotator: Annotator, method: str, plan: Plan, done: Done) -> Iterator[Step]:
    """One session; a run that resumes paints in it what had been painted, and goes on."""
    scene = annotator.scene
    start = max((n for n in range(1, plan.budget + 1) if all(k in done for k in range(1, n + 1))), default=0)
    if start == plan.budget:
        return
    session = _opened(annotator, plan)
    painted = list(done[start].slices) if start else []
    _paint(session, annotator, painted)
    order = scene.shuffled(plan.seed)
    for n in range(start + 1, plan.budget + 1):
        started = time.perf_counter()
        z = _suggested(session) if method == SUGGESTED else order[n - 1] if n <= len(order) else None
        if z is not None:
            _paint(session, annotator, [z])
            painted.append(z)
        seconds = time.perf_counter() - started
        yield _step(annotator, method, plan, n, painted, scene.counts_in(session.labels), seconds)


def _anew(annotator: Annotator, method: str, plan: Plan, done: Done) -> Iterator[Step]:
    """Equidistant slices, other ones for each number of them."""
    scene = annotator.scene
    if method == EQUIDISTANT and len(done) < plan.budget:
        _opened(annotator, plan)  # reads network and CT, which are kept: not what is timed
    for n in range(1, plan.budget + 1):
        if n in done:
            continue
        slices = scene.equidistant(n)
        for z in slices:
            annotator.paint(z)  # not what is timed
        started = time.perf_counter()
        if method == EQUIDISTANT:
            session = _opened(annotator, plan)
            _paint(session, annotator, slices)
            seconds = time.perf_counter() - started
            counts = scene.counts_in(session.labels)
        else:
            counts = _interpolated(annotator, method, slices)
            seconds = time.perf_counter() - started
        yield _step(annotator, method, plan, n, slices, counts, seconds)


def _opened(annotator: Annotator, plan: Plan) -> Session:
    session = model.load(plan.model).open(annotator.scene.volume)
    for label, extent in annotator.scene.extents.items():
        session.set_extent(label, extent)
    return session


def _suggested(session: Session) -> int | None:
    suggestion = session.suggest()
    return None if suggestion is None else suggestion.z


def _paint(session: Session, annotator: Annotator, slices: Sequence[int]) -> None:
    """Annotate `slices`, then propagate."""
    for z in slices:
        session.annotate(z, annotator.paint(z), annotator.scene.labels)
    if session.key_slices.labels:
        for _ in session.propagate(live=False):
            pass


def _interpolated(annotator: Annotator, method: str, slices: Sequence[int]) -> dict[int, Counts]:
    """Each structure between its marks, from those slices that it is on; it is absent where it was not painted."""
    counts = {}
    for one in annotator.scene.structures:
        given, there, known = annotator.given(one, slices)
        mask = TOOLS[method](given, there) if there else given.copy()
        mask[known] = given[known]
        counts[one.label] = annotator.scene.counts_of(one, mask)
    return counts


def _step(
    annotator: Annotator,
    method: str,
    plan: Plan,
    n: int,
    slices: Sequence[int],
    counts: Mapping[int, Counts],
    seconds: float,
) -> Step:
    scene = annotator.scene
    dice, acceptable = scene.score(counts)
    return Step(
        scene.case.set_name, scene.case.name, annotator.noise, plan.seed, method, n, len(scene.structures),
        round(dice, 6), round(acceptable, 6), round(seconds, 4), tuple(slices), plan.digest_of(method),
    )  # fmt: skip


def _compute(
    cases: Sequence[Case], plan: Plan, store: LineFile[Step], jobs: int, advance: Callable[[str], None]
) -> None:
    """Compute what the store lacks: in one process step by step, in several unit by unit."""
    if jobs <= 1:
        for case in cases:
            scene: Scene | None = None
            for unit, done in _units(store, case, plan):
                if len(done) < plan.budget:
                    scene = scene or Scene(case)
                    for step in _steps_if_any(scene, unit, plan, done):
                        store.append([step])
                advance(case.name)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = {
            pool.submit(_whole_unit, unit, plan, done, jobs): unit
            for case in cases
            for unit, done in _units(store, case, plan)
        }
        for future in as_completed(futures):
            store.append(future.result())
            advance(futures[future].case.name)


def _units(store: LineFile[Step], case: Case, plan: Plan) -> Iterator[tuple[Unit, dict[int, Step]]]:
    """What there is to do in a case, and what of it is done."""
    for noise in plan.noises:
        for method in plan.methods:
            keys = {
                n: (case.set_name, case.name, noise, plan.seed, method, n, plan.digest_of(method))
                for n in range(1, plan.budget + 1)
            }
            done = {n: store.records[key] for n, key in keys.items() if key in store.records}
            yield Unit(case, noise, method), done


def _of_case(store: LineFile[Step], case: Case, plan: Plan) -> list[Step]:
    return [step for _, done in _units(store, case, plan) for _, step in sorted(done.items())]


def _steps_if_any(scene: Scene, unit: Unit, plan: Plan, done: Done) -> Iterator[Step]:
    """Nothing in a case without a structure that counts."""
    if scene.structures:
        yield from steps_of(scene, unit.noise, unit.method, plan, done)


def _whole_unit(unit: Unit, plan: Plan, done: Done, jobs: int) -> list[Step]:
    if len(done) == plan.budget:
        return []
    if unit.method in OURS:
        import torch

        torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
    return list(_steps_if_any(Scene(unit.case), unit, plan, done))


def _plan(methods: Sequence[str], noise: str, budget: int, seed: int, spec: model.ModelSpec) -> Plan:
    known = (*OURS, *TOOLS)
    for method in methods:
        if method not in known:
            raise InputError(
                "--methods", found=f"'{method}'", expected=f"of {', '.join(known)}", fix="correct the name"
            )
    if noise not in NOISES:
        raise InputError("--noise", found=f"'{noise}'", expected=f"one of {', '.join(NOISES)}", fix="correct it")
    check_available(methods)
    digest = model.digest(spec) if any(method in OURS for method in methods) else ""
    return Plan(tuple(dict.fromkeys(methods)), NOISES[noise], budget, seed, spec, digest)
