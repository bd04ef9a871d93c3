"""How long a run would take that is too large to try: a model on paper of measured terms and one assumed.

    T(N, W) = start + max(ceil(N / W) (files + network + gap), N own) + N report

A worker takes one volume after the other: reading and writing (`files`), the network, and a `gap` until it has the
next. The run itself hands out and writes down one volume after the other, `own` seconds each, which bounds all workers
together. `network` on a GPU is assumed; the others are measured. What is not in it: disks and nets that many workers
share, queues that let workers wait, GPUs of different speed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

VOLUMES = 10_000
WORKERS = (1, 8, 64)


@dataclass(frozen=True)
class Terms:
    """Measured seconds.

    Attributes:
        start: until the first volume is begun.
        files: of a volume besides the network: reading, pictures, writing.
        gap: of a worker between two volumes.
        own: of the run itself for each volume.
        report: of the report for each volume.
    """

    start: float
    files: float
    gap: float
    own: float
    report: float


def predicted(terms: Terms, network: float, volumes: int = VOLUMES) -> list[dict[str, float]]:
    """For each number of workers: `workers`, `hours`, `per_hour`, and `used`, the share of their time that they work.

    Args:
        network: seconds of a volume on a worker's GPU.
    """
    rows = []
    for workers in WORKERS:
        at_work = math.ceil(volumes / workers) * (terms.files + network + terms.gap)
        seconds = terms.start + max(at_work, volumes * terms.own) + volumes * terms.report
        rows.append(
            {
                "workers": workers,
                "hours": round(seconds / 3600, 3),
                "per_hour": round(volumes / seconds * 3600, 1),
                "used": round(volumes * (terms.files + network) / (seconds * workers), 4),
            }
        )
    return rows
