"""`python -m tools.benchmark strategies`: which choice of key slices is best where no person is there to choose.

Automatic mode with each strategy of `reference_module.selection`, on labelled cases that neither network was trained
on. A case is scored three times on the way: once its key slices are carried on; after the pair has been asked again
where it missed a structure or propagation is in doubt; and averaged with what the pair says of every slice. Beside
them the pair alone.

A killed run goes on: what `cases.jsonl` in the output folder holds is not computed again. Results of other weights,
files or settings are told apart. A case that fails counts 0 and is named; the next start tries it again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from networks.locks import locked
from tools.benchmark import model as propagation_model
from tools.benchmark.ablation.settings import read_ablation
from tools.benchmark.lines import LineFile
from tools.benchmark.model import ModelSpec
from tools.benchmark.progress import case_progress
from tools.benchmark.stages import files_digest
from tools.benchmark.strategies.results import (
    ALONE,
    ASKED,
    BLENDED,
    EVERY_SLICE,
    WAYS,
    About,
    StrategyLine,
    print_summary,
    summarize,
    write_all,
)
from tools.errors import as_input_error, show
from volumes.datasets import DataCase, DataSet, read_dataset
from volumes.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from propagation_module.propagator import Propagator
    from reference_module.referencer import Referencer
    from tools.automatic import AutomaticSettings
    from volumes.volume import Volume

NONE = "none"
"""As `spare`: no case is left out. As the one of `strategies`: the pair alone."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to compare, and with what.

    Attributes:
        strategies: of `reference_module.selection.STRATEGIES`; None: all, "none": the pair alone.
        model: the pair: a name, or a `.safetensors` file.
        propagation: the propagation module.
        spare: a configuration of `configs/ablation` whose cases of the report are left out, so that nothing is chosen
            on them; "none" leaves none out.
        requery: slices that may be looked at again.
        limit: at most so many cases.
    """

    strategies: Sequence[str] | None = None
    model: str = "head-neck"
    propagation: ModelSpec = ModelSpec()
    spare: str = "head-neck"
    requery: int = 48
    limit: int | None = None


def run(data: Path, out: Path, options: Options, *, quiet: bool = False) -> dict[str, Any]:
    """Run the benchmark, print the tables, save `results.json`, `results.md` and `structures.csv`.

    Args:
        data: a data set with labelled validation cases.
        out: folder of the results, made if it is not there; one process at a time.

    Returns:
        The summary of `strategies_results.summarize`.

    Raises:
        InputError: data, options or weights that cannot be used.
    """
    from networks.allocator import keep_freed_memory
    from reference_module.referencer import Referencer

    keep_freed_memory()
    dataset, settings = read_dataset(data), _settings(options)
    cases = cases_to_choose_on(dataset, options.spare)[: options.limit]
    referencer = Referencer.load(options.model, device=options.propagation.device)
    _check_table(dataset, referencer, options.model)
    propagator = propagation_model.load(options.propagation)
    made_with = _made_with(options)
    failed: dict[str, str] = {}
    with locked(out, wait=False), case_progress(len(cases), quiet) as advance:
        store = LineFile(out / "cases.jsonl", StrategyLine)
        for case in cases:
            digest = _digest(made_with, case)
            try:
                for lines in _of_case(store, case, digest, referencer, propagator, settings):
                    store.append(lines)
            except (InputError, OSError, MemoryError, RuntimeError) as error:
                known = as_input_error(error, where=case.image)
                if known is None:
                    raise
                failed[case.name] = str(known)
                show(known)
            advance(case.name)
        wanted = [(ALONE, EVERY_SLICE), *((strategy, way) for strategy in settings for way in WAYS)]
        found = [
            store.records.get((strategy, way, case.name, _digest(made_with, case)))
            or _nothing(strategy, way, case, dataset)
            for strategy, way in wanted
            for case in cases
        ]
        about = About(dataset.table, _required(dataset, options.spare), options.requery, failed)
        summary = summarize(found, about)
        write_all(out, found, summary, about)
    if not quiet:
        print_summary(summary)
    return summary


def cases_to_choose_on(dataset: DataSet, spare: str) -> list[DataCase]:
    """Labelled validation cases, without those of the ablation's report.

    Raises:
        InputError: no such configuration, structures that the data set does not have, or no case left.
    """
    required = _required(dataset, spare)
    found = [case for case in dataset.validation if not required or not all(map(case.contours, required))]
    if not found:
        raise InputError(
            dataset.folder,
            found=f"no labelled validation case{' that the report of the ablation leaves' if required else ''}",
            expected="imagesVal and labelsVal with such cases",
            fix="add some, or give --spare none if nothing will be chosen by what comes of it",
        )
    return found


def _required(dataset: DataSet, spare: str) -> list[int]:
    """Structures that a case of the ablation's report contours, all of them."""
    if spare == NONE:
        return []
    return [dataset.table.resolve(name) for name in read_ablation(spare).data.require]


def _settings(options: Options) -> dict[str, AutomaticSettings]:
    """Of automatic mode, by strategy."""
    from reference_module.selection import STRATEGIES, strategy_named
    from tools.automatic import AutomaticSettings

    names = list(dict.fromkeys(STRATEGIES if options.strategies is None else options.strategies))
    names = [] if names == [NONE] else names
    for name in names:
        strategy_named(name)
    return {name: AutomaticSettings(strategy=name, requery=options.requery) for name in names}


def _check_table(dataset: DataSet, referencer: Referencer, name: str) -> None:
    if dict(enumerate(dataset.table.names())) != dict(enumerate(referencer.table.names())):
        raise InputError(
            f"--model {name}",
            found=f"a pair for {', '.join(referencer.table.names())}",
            expected=f"one for {', '.join(dataset.table.names())}",
            fix="give a pair that was trained for the structures of --data",
        )


def _of_case(
    store: LineFile[StrategyLine],
    case: DataCase,
    digest: str,
    referencer: Referencer,
    propagator: Propagator,
    settings: dict[str, AutomaticSettings],
) -> Iterator[list[StrategyLine]]:
    """What is not there yet of one case, in pieces that are worth keeping."""
    from volumes.formats import read_label_map, read_volume

    alone = (ALONE, EVERY_SLICE, case.name, digest) not in store.records
    due = [name for name in settings if (name, BLENDED, case.name, digest) not in store.records]
    if not alone and not due:
        return
    assert case.label is not None
    volume = read_volume(case.image)
    score = _Scorer(case, read_label_map(case.label, like=volume).array, digest)
    if alone:
        started = time.perf_counter()
        labels = referencer.segment_all(volume)
        yield [score(ALONE, EVERY_SLICE, labels, 0, volume.shape[0], time.perf_counter() - started)]
    for name in due:
        yield _three_ways(volume, referencer, propagator, settings[name], score)


def _three_ways(
    volume: Volume, referencer: Referencer, propagator: Propagator, settings: AutomaticSettings, score: _Scorer
) -> list[StrategyLine]:
    """One strategy on one case, scored on the way. Seconds are those since the volume was read."""
    from tools.automatic import Dialogue

    seconds, lines, started = 0.0, [], time.perf_counter()
    dialogue = Dialogue(volume, referencer, propagator, settings)
    for way in WAYS:
        if way == ASKED:
            dialogue.look_again()
        found = dialogue.result(settings.blend if way == BLENDED else 0.0)
        seconds += time.perf_counter() - started
        keys, seen = len(found.report["key_slices"]), len(found.report["segmented"])
        lines.append(
            score(settings.strategy, way, found.labels, keys, volume.shape[0] if way == BLENDED else seen, seconds)
        )
        started = time.perf_counter()
    return lines


@dataclass(frozen=True, eq=False)
class _Scorer:
    """Dice on one case, of the structures that it contours."""

    case: DataCase
    truth: npt.NDArray[np.uint8]
    digest: str

    def __call__(
        self, strategy: str, way: str, labels: npt.NDArray[np.uint8], keys: int, seen: int, seconds: float
    ) -> StrategyLine:
        from volumes.metrics import dice

        contoured = _contoured(self.case, self.truth)
        scores = tuple(round(dice(self.truth == label, labels == label), 4) for label in contoured)
        return StrategyLine(
            strategy, way, self.case.name, contoured, scores, keys, seen, round(seconds, 2), self.digest
        )


def _contoured(case: DataCase, truth: npt.NDArray[np.uint8]) -> tuple[int, ...]:
    import numpy as np

    if case.contoured is not None:
        return tuple(sorted(case.contoured))
    return tuple(int(value) for value in np.unique(truth) if value)


def _nothing(strategy: str, way: str, case: DataCase, dataset: DataSet) -> StrategyLine:
    """A case that failed."""
    contoured = tuple(sorted(dataset.table if case.contoured is None else case.contoured))
    return StrategyLine(strategy, way, case.name, contoured, (0.0,) * len(contoured), 0, 0, 0.0, "", failed=True)


def _made_with(options: Options) -> dict[str, Any]:
    """All but the case and the strategy that a result depends on."""
    from reference_module.models import shipped_weights
    from tools.automatic import AutomaticSettings

    weights = shipped_weights(options.model) or Path(options.model)
    automatic = asdict(AutomaticSettings(requery=options.requery))
    del automatic["strategy"]
    return {
        "pair": hashlib.sha256(weights.read_bytes()).hexdigest()[:16],
        "propagation": propagation_model.digest(options.propagation),
        "automatic": automatic,
    }


def _digest(made_with: dict[str, Any], case: DataCase) -> str:
    told = json.dumps({**made_with, "files": files_digest([case])}, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:12]
