"""The whole comparison: train every method with the same cases, label the same others, one table.

    OUT/trained/METHOD/   trainings (`training`); OUT/cases.jsonl, labels/  cases (`cases`)
    OUT/results.md, results.json, methods.csv, cases.csv
    OUT/cost.png, structures.png, worst/METHOD.png

A killed run goes on where it stopped. Cases on which a method failed are tried again by the next run.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from networks.locks import locked
from tools.benchmark.compare.cases import Bench, CaseLine, digest_of, run_case
from tools.benchmark.compare.pictures import draw_case, draw_cost, draw_structures
from tools.benchmark.compare.results import About, Contestant, print_summary, summarize, write_all
from tools.benchmark.compare.settings import CompareSettings, MethodSettings, read_compare
from tools.benchmark.compare.training import Made, Training, parameters_of, train
from tools.benchmark.few_labels import Drawn, data_or_phantoms, draw
from tools.benchmark.lines import LineFile
from tools.benchmark.stages import files_digest
from tools.console import say
from volumes.datasets import DataCase
from volumes.errors import InputError


def run(
    data: Path | None,
    *,
    config: str,
    out: Path,
    methods: Sequence[str] | None = None,
    weights: Mapping[str, Path] | None = None,
    device: str = "cpu",
    limit: int | None = None,
    only_train: bool = False,
    only_score: bool = False,
    quiet: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Train and score the methods, print the tables, save them and the pictures.

    Args:
        data: a data set in nnU-Net raw or FLARE22 layout; None makes the configuration's phantoms in `out`.
        config: of `configs/compare`, by name, or a YAML file.
        out: the folder of everything.
        methods: of the configuration; None: all. The tables show those of other runs in `out` too.
        weights: by method, weights that are trained already.
        device: a torch device.
        limit: at most so many cases of the report.
        only_train: score nothing.
        only_score: train nothing; methods that are not trained are left out.
        quiet: say nothing.
        progress: show a bar for each training.

    Returns:
        The summary of `results.summarize`; of nothing with `only_train`.

    Raises:
        InputError: data or settings that will not do, or trainings in `out` that were begun with others.
    """
    read_compare(config, methods, weights)  # methods that are not asked for need no weights
    whole = read_compare(config, None, weights)
    out.mkdir(parents=True, exist_ok=True)
    drawn = draw(data_or_phantoms(data, whole.phantom, out / "phantom", whole.name), whole.data, out)
    report_on = drawn.report_on[:limit]

    def tell(line: str) -> None:
        if not quiet:
            say(f"{time.strftime('%H:%M:%S')} {line}")

    training = Training(
        drawn.dataset, files_digest([*drawn.dataset.training, *drawn.dataset.unlabelled]), out, device, progress, tell
    )
    bench = Bench(out, drawn.dataset.table, device, whole.timeout)
    files = files_digest(report_on)
    asked = list(whole.methods) if methods is None else methods
    found: dict[str, tuple[Made, Sequence[CaseLine]]] = {}
    with locked(out / "lock.d", tell):
        store = LineFile(out / "cases.jsonl", CaseLine)
        for name, method in whole.methods.items():
            made = _made(name, method, training, train_it=name in asked and not only_score)
            if made is None or only_train:
                continue
            digest = digest_of(method, made, files, device)
            if name in asked:
                _label(name, method, made, report_on, bench, store, digest, tell)
            lines = [store.records.get((name, case.name, digest)) for case in report_on]
            complete = [line for line in lines if line is not None]
            if len(complete) == len(report_on):
                found[name] = made, complete
            else:
                tell(f"{name}: {len(complete)} of {len(report_on)} cases are there; left out")
    if only_train or not found:
        return {}
    return _report(whole, drawn, report_on, found, bench, quiet)


def _made(name: str, method: MethodSettings, training: Training, *, train_it: bool) -> Made | None:
    """What there is to label with; None: not trained."""
    ready = method.kind == "propagation" or method.weights is not None
    if ready or train_it or (training.folder(name) / f"{name}.safetensors").exists():
        return train(name, method, training)
    training.tell(f"{name}: not trained; left out")
    return None


def _label(
    name: str,
    method: MethodSettings,
    made: Made,
    cases: Sequence[DataCase],
    bench: Bench,
    store: LineFile[CaseLine],
    digest: str,
    tell: Any,
) -> None:
    """Label and score the cases that are not scored yet, or that failed."""
    for case in cases:
        before = store.records.get((name, case.name, digest))
        if before is not None and before.error is None:
            continue
        line = run_case(name, method, made, case, bench, digest)
        store.append([line])
        said = f"{sum(line.dsc) / len(line.dsc):.3f}" if line.error is None else f"failed: {line.error}"
        tell(f"{name}, {case.name}: {said}, {line.seconds:.1f} s")


def _report(
    settings: CompareSettings,
    drawn: Drawn,
    report_on: Sequence[DataCase],
    found: Mapping[str, tuple[Made, Sequence[CaseLine]]],
    bench: Bench,
    quiet: bool,
) -> dict[str, Any]:
    table = bench.table
    contestants = {
        name: Contestant(
            settings.methods[name].title or name, _parameters(settings.methods[name], made), made.seconds, made.gain
        )
        for name, (made, _) in found.items()
    }
    required = [table.resolve(name) for name in settings.data.require] or list(table)
    about = About(
        settings.name,
        table,
        required,
        len(drawn.dataset.training),
        len(drawn.dataset.unlabelled),
        f"{os.cpu_count()} cores, {platform.machine()}, device {bench.device}.",
        settings.notes,
    )
    lines = {name: of for name, (_, of) in found.items()}
    summary = summarize(lines, contestants, about)
    write_all(bench.out, lines, summary, table)
    draw_cost(summary, bench.out / "cost.png")
    draw_structures(summary, bench.out / "structures.png")
    by_name = {case.name: case for case in report_on}
    for name, one in summary["methods"].items():
        _draw_worst(name, one, by_name[one["worst"]], bench)
    if not quiet:
        print_summary(summary)
    return summary


def _draw_worst(name: str, one: Mapping[str, Any], case: DataCase, bench: Bench) -> None:
    from volumes.formats import read_label_map, read_volume

    assert case.label is not None
    volume = read_volume(case.image)
    truth = read_label_map(case.label, like=volume, table=bench.table)
    path = bench.labels_of(name, case.name)
    found = read_label_map(path, like=volume, table=bench.table) if case.name not in one["failed"] else None
    (bench.out / "worst").mkdir(exist_ok=True)
    draw_case(f"{one['title']}, {case.name}", volume, truth, found, bench.out / "worst" / f"{name}.png")


def _parameters(method: MethodSettings, made: Made) -> int:
    """Of all networks that label a case."""
    from propagation_module.checkpoints import shipped_weights

    count = 0 if made.weights is None else parameters_of(made.weights)
    if method.kind == "3d" or (method.kind == "propagation" and made.weights is not None):
        return count
    name = method.config if method.kind == "propagation" else "small"  # what `keyslice segment` propagates with
    shipped = shipped_weights(name)
    if shipped is None:
        raise InputError(f"propagation {name}", found="no weights", expected="those that ship", fix="give weights")
    return count + parameters_of(shipped)
