"""What a run leaves behind besides its label maps: times, memory, and how sure it is of each label."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tools.cases import Case
    from volumes.key_slices import KeySlices
    from volumes.label_map import LabelMap
    from volumes.volume import Volume


class Stopwatch:
    """Seconds per stage; a stage that is entered again adds up."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of the block as the stage `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start

    def seconds(self) -> dict[str, float]:
        """Seconds per stage and their sum as `total`, to the millisecond."""
        return {
            **{name: round(value, 3) for name, value in self._seconds.items()},
            "total": round(sum(self._seconds.values()), 3),
        }


def peak_memory(device: str) -> dict[str, int | None]:
    """Most memory in bytes that this process has held so far: resident, and on the device."""
    if sys.platform == "win32":
        import psutil

        resident = int(psutil.Process().memory_info().peak_wset)
    else:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        resident = int(peak if sys.platform == "darwin" else peak * 1024)  # macOS counts bytes, Linux KiB
    on_device = None
    if device.startswith("cuda"):
        import torch

        on_device = int(torch.cuda.max_memory_allocated(device))
    return {"resident_bytes": resident, "device_bytes": on_device}


def describe_case(case: Case, volume: Volume, shift: float) -> dict[str, Any]:
    """What the report says of a case's files and grid; `shift` is what `write_label_map` returned."""
    files: dict[str, Any] = {"case": case.name, "input": str(case.ct)}
    if case.keys is not None:
        files["keys"] = str(case.keys)
    return {
        **files,
        "output": str(case.output),
        "montage": None if case.montage is None else str(case.montage),
        "shape": list(volume.shape),
        "spacing_mm": list(volume.spacing),
        "grid_shift_mm": shift,
    }


def how_many(number: int, what: str) -> str:
    """`1 slice`, `2 slices`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def why_lines(key_slices: Sequence[Mapping[str, Any]], at_most: int = 12) -> list[str]:
    """A line for each key slice: what it was chosen for, and the structures for which it speaks besides.

    Args:
        key_slices: `{"slice", "structures", "reason"}` each, as `tools.automatic` reports them.
        at_most: lines; the last one says how many slices there are more.
    """
    lines = []
    for one in key_slices:
        parts = one["reason"].split("; ")
        told = [name for name in one["structures"] if parts[0].startswith((f"{name} (", f"{name}:"))]
        others = [name for name in one["structures"] if name not in told]
        besides = f"; also for {', '.join(others)}" if told and others else ""
        lines.append(f"key slice {one['slice']}: {parts[0]}{besides}")
    if len(lines) > at_most:
        left = len(lines) - at_most + 1
        lines[at_most - 1 :] = [
            f"and {how_many(left, 'more key slice')}: {', '.join(str(one['slice']) for one in key_slices[-left:])}"
        ]
    return lines


def describe_labels(
    labels: LabelMap, confidence: Mapping[int, npt.NDArray[np.float32]], keys: KeySlices
) -> dict[str, dict[str, Any]]:
    """Per label that was given or found: where it is, which key slices show it, and the confidence.

    Args:
        labels: the result.
        confidence: label -> float32 `(D,)` in [0, 1].
        keys: the key slices that were used.

    Returns:
        `{name: {"value", "voxels", "slices": [first, last] | None, "key_slices", "confidence": {"mean",
        "lowest", "lowest_slice", "per_slice"}}}`; mean and lowest are over the slices between the first and
        the last that are no key slices of this label, and None where there is no such slice.
    """
    counts = np.stack([np.bincount(plane.ravel(), minlength=256) for plane in labels.array])  # (D, 256)
    found: dict[str, dict[str, Any]] = {}
    for value in sorted({*keys.labels, *(int(one) for one in np.flatnonzero(counts[:, 1:].any(0)) + 1)}):
        on = np.flatnonzero(counts[:, value])
        given = keys.slices_with(value)
        found[labels.table.name_of(value)] = {
            "value": value,
            "voxels": int(counts[:, value].sum()),
            "slices": [int(on[0]), int(on[-1])] if on.size else None,
            "key_slices": given,
            "confidence": _summary(confidence.get(value), on, given),
        }
    return found


def _summary(
    per_slice: npt.NDArray[np.float32] | None, on: npt.NDArray[np.intp], given: list[int]
) -> dict[str, Any] | None:
    if per_slice is None:
        return None
    between = np.arange(on[0], on[-1] + 1) if on.size else on
    judged = np.setdiff1d(between, given)
    lowest = int(judged[np.argmin(per_slice[judged])]) if judged.size else None
    return {
        "mean": round(float(per_slice[judged].mean()), 4) if judged.size else None,
        "lowest": None if lowest is None else round(float(per_slice[lowest]), 4),
        "lowest_slice": lowest,
        "per_slice": [round(float(value), 4) for value in per_slice],
    }
