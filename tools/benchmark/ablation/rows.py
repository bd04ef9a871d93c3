"""The rows of the ablation, scored on the cases of the report; what is scored already is kept.

    OUT/rows/row-N/cases.jsonl    a line for each case
    OUT/rows/row-N/labels/        what the row makes of each case
    OUT/rows/row-N/reports/       row 4: which key slices, and why
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from networks.locks import locked
from tools.benchmark import model
from tools.benchmark.ablation.stages import Plan
from tools.benchmark.lines import LineFile
from tools.benchmark.stages import files_digest
from tools.files import write_json
from volumes.datasets import DataCase

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from volumes.volume import Volume

MASK_PROPAGATION = 4


@dataclass(frozen=True)
class CaseLine:
    """One case, one row.

    Attributes:
        labels: structures that the case contours.
        dsc, nsd: of each of them, by the rules of `volumes.metrics`.
        millilitres: of each of them in the truth.
        seconds: from the volume to the label map.
        model: digest of the weights, of the report's files and of what else decides.
    """

    row: int
    case: str
    labels: tuple[int, ...]
    dsc: tuple[float, ...]
    nsd: tuple[float, ...]
    millilitres: tuple[float, ...]
    seconds: float
    model: str

    @property
    def key(self) -> tuple[int, str, str]:
        """What has to be computed only once."""
        return self.row, self.case, self.model


Segment = Callable[["Volume", DataCase], "npt.NDArray[np.uint8]"]


def row_folder(plan: Plan, row: int) -> Path:
    """Where a row's results are."""
    return plan.out / "rows" / f"row-{row}"


def lines_of(plan: Plan, row: int) -> list[CaseLine] | None:
    """A row's scores, in the order of the report's cases; None if the row is not complete."""
    path = row_folder(plan, row) / "cases.jsonl"
    if not path.exists() or not _is_trained(plan, row):
        return None
    records, digest = LineFile(path, CaseLine).records, _digest(plan, row)
    found = [records.get((row, case.name, digest)) for case in plan.report_on]
    complete = [one for one in found if one is not None]
    return complete if len(complete) == len(found) else None


def score_row(plan: Plan, row: int, *, anew: bool = False) -> None:
    """Score the cases that are not scored yet.

    Args:
        anew: also those that are, as after a change of the code.

    Raises:
        InputError: the row is not trained, or a case cannot be read.
    """
    folder = row_folder(plan, row)
    with locked(folder, plan.tell):
        path = folder / "cases.jsonl"
        if anew:
            path.unlink(missing_ok=True)
        store, digest = LineFile(path, CaseLine), _digest(plan, row)
        due = [case for case in plan.report_on if (row, case.name, digest) not in store.records]
        plan.tell(f"row {row}: {len(due)} of {len(plan.report_on)} cases to score")
        if not due:
            return
        segment = _propagated(plan, folder) if row == MASK_PROPAGATION else _every_slice(plan, row)
        for case in due:
            store.append([_scored(plan, row, case, segment, digest, folder)])


def _scored(plan: Plan, row: int, case: DataCase, segment: Segment, digest: str, folder: Path) -> CaseLine:
    from volumes.formats import read_label_map, read_volume, write_label_map
    from volumes.label_map import LabelMap
    from volumes.metrics import case_scores

    assert case.label is not None
    table = plan.dataset.table
    volume = read_volume(case.image)
    started = time.perf_counter()
    found = LabelMap(segment(volume, case), volume.geometry, table, case.name)
    seconds = time.perf_counter() - started
    (folder / "labels").mkdir(exist_ok=True)
    write_label_map(found, folder / "labels" / f"{case.name}.nii.gz", overwrite=True)
    truth = read_label_map(case.label, like=volume, table=table)
    scores = case_scores(truth, found, table)
    labels = tuple(label for label in table if case.contours(label))
    dz, dy, dx = truth.spacing
    of = [scores[table.name_of(label)] for label in labels]
    millilitres = [float((truth.array == label).sum()) * dz * dy * dx / 1000 for label in labels]
    return CaseLine(
        row, case.name, labels, tuple(one.dsc for one in of), tuple(one.nsd for one in of),
        tuple(round(volume, 3) for volume in millilitres), round(seconds, 2), digest,
    )  # fmt: skip


def _every_slice(plan: Plan, row: int) -> Segment:
    """The pair alone, on every slice, nothing after it."""
    from reference_module.referencer import Referencer

    referencer = Referencer.load(plan.weights(plan.pair_of(row)), device=plan.device)
    return lambda volume, case: referencer.segment_all(volume)


def _propagated(plan: Plan, folder: Path) -> Segment:
    """The pair on key slices, the propagation module between them."""
    from reference_module.referencer import Referencer
    from tools.automatic import segment_volume

    referencer = Referencer.load(plan.weights(plan.pair_of(MASK_PROPAGATION)), device=plan.device)
    propagator, settings = model.load(_spec(plan)), plan.settings.automatic_settings()
    (folder / "reports").mkdir(exist_ok=True)

    def segment(volume: Volume, case: DataCase) -> npt.NDArray[np.uint8]:
        found = segment_volume(volume, referencer, propagator, settings)
        write_json(folder / "reports" / f"{case.name}.json", {**found.report, "warnings": list(found.warnings)})
        return found.labels

    return segment


def _spec(plan: Plan) -> model.ModelSpec:
    return model.ModelSpec(plan.settings.propagation.config, plan.settings.propagation.weights, plan.device)


def _is_trained(plan: Plan, row: int) -> bool:
    from tools.benchmark.ablation.stages import weights_in

    return weights_in(plan.folder(plan.pair_of(row))) is not None


def _digest(plan: Plan, row: int) -> str:
    from cps.rounds import identity

    made: dict[str, Any] = {
        "pair": identity(plan.weights(plan.pair_of(row))).rpartition(" ")[2],
        "files": files_digest(plan.report_on),
    }
    if row == MASK_PROPAGATION:
        made["propagation"] = model.digest(_spec(plan))
        made["automatic"] = asdict(plan.settings.automatic_settings())
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:12]
