"""What half precision is worth to a 3D network on this device: seconds, memory, and whether it says the same.

The device's own kind is float16 on a GPU, bfloat16 on a processor that computes in it (`baseline3d.segmenter`).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tools.files import write_json
from volumes.errors import InputError

if TYPE_CHECKING:
    import torch

    from volumes.volume import Volume

_PRECISIONS = ("float32", "auto")


def run(ct: Path, model: str, out: Path, *, device: str, repeats: int, quiet: bool) -> None:
    """Segment `ct` both ways, write `precision.json` into `out`, and print a table.

    Raises:
        InputError: a CT or a model that cannot be used, or a device that has no half precision.
    """
    import torch

    from baseline3d.segmenter import VolumeSegmenter
    from cps.uncertainty import member_scores
    from networks.inference import computes_bfloat16
    from volumes.formats import read_volume

    where = torch.device(device)
    if where.type != "cuda" and not computes_bfloat16(where):
        raise InputError(
            device, found="no instructions for half precision", expected="a device that has them", fix="use another"
        )
    volume, rows, maps = read_volume(ct), [], []
    for precision in _PRECISIONS:
        segmenter = VolumeSegmenter.load(model, device=device, precision=precision)
        row, labels = _measured(segmenter, volume, where, repeats)
        rows.append({"precision": precision, **row})
        maps.append(labels)
    dice = {label: round(scores[0], 4) for label, scores in member_scores(maps[1:], maps[0]).items()}
    content = {"model": model, "ct": ct.name, "device": str(where), "rows": rows, "dice_between": dice}
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "precision.json", content)
    if not quiet:
        print("| precision | seconds | processor seconds | peak GPU MB |\n|---|---|---|---|")
        for row in rows:
            print(f"| {row['precision']} | {row['seconds']} | {row['processor_seconds']} | {row['gpu_mb'] or '–'} |")
        same = f"Dice between them: lowest {min(dice.values()):.4f}" if dice else "Neither finds a structure"
        print(f"\n{same}.")


def _measured(segmenter: Any, volume: Volume, device: torch.device, repeats: int) -> tuple[dict[str, Any], np.ndarray]:
    """The least seconds of some repeats after one to warm up, and the labels (D, H, W)."""
    import torch

    labels = segmenter.segment_all(volume)
    taken, busy = [], []
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    for _ in range(repeats):
        start, start_busy = time.perf_counter(), time.process_time()
        segmenter.segment_all(volume)
        taken.append(time.perf_counter() - start)
        busy.append(time.process_time() - start_busy)
    memory = round(torch.cuda.max_memory_allocated(device) / 2**20) if device.type == "cuda" else None
    return {"seconds": round(min(taken), 2), "processor_seconds": round(min(busy), 2), "gpu_mb": memory}, labels
