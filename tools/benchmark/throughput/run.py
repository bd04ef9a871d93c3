"""Volumes per hour of a run over many: one after the other, by workers of this machine, and through Dask.

Every way is the real command in a process of its own, over the same phantoms, its results compared byte by byte with
those of the first way. What a run itself costs besides is measured with workers that do nothing, and all of it goes
into a model of runs too large to try (`model`).
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tools.batch.manifest import MANIFEST
from tools.benchmark.annotate.client import cores
from tools.benchmark.throughput.model import Terms, predicted
from tools.benchmark.throughput.overhead import cost_of_the_run
from tools.console import say
from tools.files import whole_file, write_json
from volumes.errors import InputError

STRUCTURES = (1, 2, 3)  # of the phantom, so that a volume takes about as long as one of a few organs
KEY_SLICES = 3
IDLE = 2000  # volumes of the workers that do nothing
ROOT = Path(__file__).resolve().parents[3]


def run(
    out: Path,
    *,
    volumes: int = 12,
    size: int = 192,
    depth: int = 60,
    jobs: int = 2,
    network_seconds: Sequence[float] = (2.0, 5.0, 10.0),
    quiet: bool = False,
) -> dict[str, Any]:
    """Run the benchmark; write `throughput.json` and `throughput.md` into `out`.

    Args:
        volumes: phantoms.
        size: pixels of a slice, each way.
        depth: slices.
        jobs: workers of the second and third way.
        network_seconds: of a volume on a GPU, which are assumed in the model.

    Returns:
        What is in `throughput.json`.
    """
    out.mkdir(parents=True, exist_ok=True)
    _make_volumes(out / "data", volumes, size, depth)
    many = ("--jobs", str(jobs))
    ways = {
        "one after the other": (),
        f"--jobs {jobs}": many,
        f"--cluster local --jobs {jobs}": (*many, "--cluster", "local"),
    }
    found: dict[str, Any] = {}
    if (out / "first").exists():
        shutil.rmtree(out / "first")
    for name, options in ways.items():
        if not quiet:
            say(f"{name} ...")
        found[name] = _measured(out, options, volumes)
    first = next(iter(found.values()))
    for one in found.values():
        one["gain"] = round(first["seconds"] / one["seconds"], 3)
    own = cost_of_the_run(out / "idle", IDLE)
    last = list(found.values())[-1]
    terms = Terms(
        start=last["start"],
        files=round(last["volume"] - last["network"], 3),
        gap=last["gap"],
        own=own["run"],
        report=own["report"],
    )
    result = {
        "measured": {"volumes": volumes, "shape": [depth, size, size], "ways": found, "run": own},
        "terms": terms.__dict__,
        "model": {str(seconds): predicted(terms, seconds) for seconds in network_seconds},
        "machine": {"cores": cores(), "platform": platform.platform(), "load": list(os.getloadavg())},
        "when": datetime.now().isoformat(timespec="seconds"),
    }
    write_json(out / "throughput.json", result)
    text = markdown(result)
    with whole_file(out / "throughput.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    if not quiet:
        say(text)
    return result


def markdown(result: dict[str, Any]) -> str:
    """The tables."""
    lines = [
        "| way | seconds | volumes/h | gain | to the first volume | a volume | between two on a worker | same bytes |",
        "|---" * 8 + "|",
    ]
    for name, one in result["measured"]["ways"].items():
        lines.append(
            f"| {name} | {one['seconds']:.1f} | {one['per_hour']:.0f} | {one['gain']:.2f} | {one['start']:.1f} s "
            f"| {one['volume']:.2f} s | {one['gap']:.2f} s | {one['identical']} of {result['measured']['volumes']} |"
        )
    lines += [
        "",
        "| network on a GPU (assumed) | workers | 10,000 volumes | volumes/h | workers' time used |",
    ]
    lines.append("|---" * 5 + "|")
    for seconds, rows in result["model"].items():
        for row in rows:
            lines.append(
                f"| {seconds} s | {row['workers']} | {row['hours']:.1f} h | {row['per_hour']:.0f} | {row['used']:.0%} |"
            )
    return "\n".join(lines) + "\n"


def _make_volumes(folder: Path, volumes: int, size: int, depth: int) -> None:
    """Phantoms and their key slices, as far as they are not there."""
    import SimpleITK as sitk

    from volumes.formats import write_label_map
    from volumes.image_files import image_in_file_order
    from volumes.label_map import LabelMap
    from volumes.phantom import make_phantom

    described = f"{volumes} {size} {depth}\n"
    note = folder / "described.txt"
    if note.exists() and note.read_text(encoding="utf-8") == described:
        return
    if folder.exists():
        shutil.rmtree(folder)
    for part in ("cts", "keys"):
        (folder / part).mkdir(parents=True)
    for seed in range(volumes):
        phantom = make_phantom(seed, shape=(depth, size, size), missing=())
        truth = np.where(np.isin(phantom.labels.array, STRUCTURES), phantom.labels.array, 0).astype(np.uint8)
        shown = np.flatnonzero(truth.any((1, 2)))
        keys = np.zeros_like(truth)
        for z in shown[np.linspace(0, len(shown) - 1, KEY_SLICES + 2).round().astype(int)[1:-1]]:
            keys[z] = truth[z]
        geometry = phantom.volume.geometry
        image = image_in_file_order(geometry.to_file(phantom.volume.array), geometry)
        sitk.WriteImage(image, str(folder / "cts" / f"P{seed:03d}.nii.gz"), True)
        write_label_map(LabelMap(keys, geometry, phantom.labels.table), folder / "keys" / f"P{seed:03d}.nii.gz")
    note.write_text(described, encoding="utf-8")


def _measured(out: Path, options: Sequence[str], volumes: int) -> dict[str, Any]:
    """One way: the seconds of the command, and where they went."""
    results = out / "results"
    if results.exists():
        shutil.rmtree(results)
    arguments = ["propagate", "-i", str(out / "data" / "cts"), "-k", str(out / "data" / "keys"), "-o", str(results)]
    begun = time.time()
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "tools.cli", *arguments, "--device", "cpu", "--quiet", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        raise InputError(
            "throughput",
            found=done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"status {done.returncode}",
            expected="a run without a failed volume",
            fix="see to that first",
        )
    return {**_where_it_went(results, begun, seconds, volumes), "identical": _identical(results, out / "first")}


def _identical(results: Path, first: Path) -> int:
    """Keep the results of the first way; how many of another's are the same, byte by byte."""
    names = sorted(path.name for path in results.glob("*.nii.gz"))
    if not first.exists():
        first.mkdir()
        for name in names:
            shutil.copy(results / name, first / name)
    return sum((results / name).read_bytes() == (first / name).read_bytes() for name in names)


def _where_it_went(results: Path, begun: float, seconds: float, volumes: int) -> dict[str, Any]:
    lines = [json.loads(line) for line in (results / MANIFEST).read_text(encoding="utf-8").splitlines()]
    ended = [line for line in lines if line["event"] == "done"]
    by_worker: dict[str, list[dict[str, Any]]] = {}
    for line in ended:
        by_worker.setdefault(line["where"], []).append(line)
    gaps = [
        _begun(later) - _clock(line["time"])
        for lines_of in by_worker.values()
        for line, later in pairwise(sorted(lines_of, key=lambda one: _clock(one["time"])))
    ]
    network = []
    for line in ended:
        entry = json.loads((results / ".keyslice-run" / "cases" / f"{line['case']}.json").read_text(encoding="utf-8"))
        network.append(entry["seconds"]["propagate"])
    busy = sum(line["seconds"] for line in ended)
    return {
        "seconds": round(seconds, 2),
        "per_hour": round(volumes / seconds * 3600, 1),
        "start": round(min(map(_begun, ended)) - begun, 2),
        "volume": round(busy / volumes, 3),
        "network": round(sum(network) / volumes, 3),
        "gap": round(max(0.0, sum(gaps) / len(gaps)), 3) if gaps else 0.0,
        "workers": len(by_worker),
    }


def _begun(line: dict[str, Any]) -> float:
    """When a worker began what it was done with."""
    return _clock(line["time"]) - float(line["seconds"])


def _clock(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
