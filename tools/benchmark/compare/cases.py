"""One method on one case: labelled by the command that a person would run, measured, and scored against the truth.

OUT/cases.jsonl                a line for each method and case
OUT/labels/METHOD/CASE.nii.gz  what it made of it
OUT/keys/N/                    key slices of the truth, and the marks where structures begin and end
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tools.benchmark.compare.meter import measure
from tools.benchmark.compare.settings import MethodSettings
from tools.benchmark.compare.training import Made
from tools.files import write_json
from volumes.datasets import DataCase
from volumes.labels import LabelTable


@dataclass(frozen=True)
class CaseLine:
    """One case, one method.

    Attributes:
        labels: structures that the case contours.
        dsc, nsd: of each of them, by the rules of `volumes.metrics`; 0 where the case failed.
        seconds, peak_mb, memory_area, cpu_area, gpu_peak_mb, gpu_area, error: as in `meter.Cost`.
        made_with: digest of the weights, of the case's files and of what else decides.
    """

    method: str
    case: str
    labels: tuple[int, ...]
    dsc: tuple[float, ...]
    nsd: tuple[float, ...]
    seconds: float
    peak_mb: float
    memory_area: float
    cpu_area: float
    gpu_peak_mb: float
    gpu_area: float
    error: str | None
    made_with: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What has to be computed only once."""
        return self.method, self.case, self.made_with


@dataclass(frozen=True)
class Bench:
    """What all cases share.

    Attributes:
        out: folder of everything.
        table: the structures.
        device: as the commands take it.
        timeout: seconds for a case.
    """

    out: Path
    table: LabelTable
    device: str
    timeout: float

    def labels_of(self, method: str, case: str) -> Path:
        """Where a method's label map of a case is."""
        return self.out / "labels" / method / f"{case}.nii.gz"


def run_case(name: str, method: MethodSettings, made: Made, case: DataCase, bench: Bench, made_with: str) -> CaseLine:
    """Label a case and score what came of it.

    A command that fails is a result, not an error: all structures of the case then score 0.
    """
    output = bench.labels_of(name, case.name)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tools.cli", *_words(method, made, case, bench), "-o", str(output)]
    command += ["--device", bench.device, "--quiet", "--overwrite", *method.options]
    cost = measure(command, timeout=bench.timeout, gpu=bench.device.startswith("cuda"))
    labels = tuple(label for label in bench.table if case.contours(label))
    scores = (0.0,) * len(labels), (0.0,) * len(labels)
    if cost.error is None:
        scores = _scores(case, output, labels, bench.table)
    return CaseLine(name, case.name, labels, *scores, **asdict(cost), made_with=made_with)


def _words(method: MethodSettings, made: Made, case: DataCase, bench: Bench) -> list[str]:
    """The command that labels a case, but for its output."""
    if method.kind != "propagation":
        return ["segment", "-i", str(case.image), "--model", str(made.weights)]
    assert method.slices is not None
    keys, marks = _keys(case, method.slices, bench)
    words = ["propagate", "-i", str(case.image), "-k", str(keys), "--extents", str(marks), "--model", method.config]
    return words if made.weights is None else [*words, "--weights", str(made.weights)]


def _keys(case: DataCase, slices: int, bench: Bench) -> tuple[Path, Path]:
    """Key slices of the truth as a person gives them: `slices` of each structure, and where it begins and ends."""
    from tools.benchmark.datasets import Case, structures_of
    from tools.benchmark.key_slices import key_slices_for
    from volumes.formats import read_label_map, write_label_map
    from volumes.label_map import LabelMap

    folder = bench.out / "keys" / str(slices)
    keys, marks = folder / f"{case.name}.nii.gz", folder / f"{case.name}.json"
    if not marks.exists():
        import numpy as np

        assert case.label is not None
        folder.mkdir(parents=True, exist_ok=True)
        truth = read_label_map(case.label, table=bench.table)
        names = {value: label.name for value, label in bench.table.items()}
        contoured = frozenset(label for label in bench.table if case.contours(label))
        one = Case("", case.name, case.image, case.label, names, contoured)
        structures = structures_of(one, truth, least_slices=1, least_voxels=1)
        given = key_slices_for(truth.shape, structures, slices)
        array = np.zeros(truth.shape, np.uint8)
        for z in given.slices():
            array[z] = given.mask(z)
        write_label_map(LabelMap(array, truth.geometry, bench.table, case.name), keys, overwrite=True)
        write_json(marks, {one.name: list(one.extent) for one in structures})
    return keys, marks


def _scores(
    case: DataCase, output: Path, labels: tuple[int, ...], table: LabelTable
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    from volumes.formats import read_label_map, read_volume
    from volumes.metrics import case_scores

    assert case.label is not None
    volume = read_volume(case.image)
    truth, found = (read_label_map(path, like=volume, table=table) for path in (case.label, output))
    scores = case_scores(truth, found, table)
    of = [scores[table.name_of(label)] for label in labels]
    return tuple(one.dsc for one in of), tuple(one.nsd for one in of)


def digest_of(method: MethodSettings, made: Made, files: str, device: str) -> str:
    """12 hexadecimal digits that change with all that decides a method's results."""
    import hashlib

    from cps.rounds import identity

    decisive: dict[str, Any] = {
        "kind": method.kind,
        "slices": method.slices,
        "config": method.config,
        "options": method.options,
        "weights": None if made.weights is None else identity(made.weights).rpartition(" ")[2],
        "files": files,
        "device": device,
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:12]
