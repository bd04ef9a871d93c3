"""The YAML file of a cluster: which queue, how many workers, and the options of its Dask class.

cluster: slurm            # or pbs, sge, lsf, oar, moab, htcondor, kubernetes; shell: processes of this machine
workers: 8                # or {minimum: 0, maximum: 64}: as many as there is work for
gpus: 1                   # of each worker; such a worker takes one case at a time for each
threads: 4                # of each worker for its computations
options:                  # for dask_jobqueue.SLURMCluster, or dask_kubernetes.operator.KubeCluster, as they are
  interface: ib0
  queue: gpu
  ...
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volumes.errors import InputError

QUEUES = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "oar": "OARCluster",
    "moab": "MoabCluster",
    "htcondor": "HTCondorCluster",
}
"""Classes of dask_jobqueue by our names."""

SHELL, KUBERNETES = "shell", "kubernetes"
KINDS = (*QUEUES, SHELL, KUBERNETES)
_KEYS = ("cluster", "workers", "gpus", "threads", "options")


@dataclass(frozen=True, kw_only=True)
class Described:
    """What a cluster file says.

    Attributes:
        where: the file.
        kind: one of KINDS.
        minimum, maximum: workers; equal for a fixed number.
        gpus: of each worker, 0 for none.
        threads: of each worker for its computations; None leaves it to the worker's environment.
        options: of the Dask class.
    """

    where: Path
    kind: str
    minimum: int
    maximum: int
    gpus: int = 0
    threads: int | None = None
    options: dict[str, Any] = field(default_factory=dict)


def read_cluster_file(path: Path) -> Described:
    """Read a cluster file.

    Raises:
        InputError: no such file, or something in it that cannot be.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise _bad(path, f"no YAML ({' '.join(str(error).split())[:120]})", "a file as in docs/batch.md") from None
    if not isinstance(content, dict):
        raise _bad(path, "no mapping", f"the keys {', '.join(_KEYS)}")
    if unknown := [str(key) for key in content if key not in _KEYS]:
        raise _bad(path, f"the key '{unknown[0]}'", f"the keys {', '.join(_KEYS)}")
    kind = content.get("cluster")
    if kind not in KINDS:
        raise _bad(path, f"the cluster '{kind}'", f"one of {', '.join(KINDS)}")
    options = content.get("options") or {}
    if not isinstance(options, dict) or not all(isinstance(name, str) for name in options):
        raise _bad(path, "options that are no mapping", "names and values")
    minimum, maximum = _workers(path, content.get("workers"))
    gpus, threads = content.get("gpus", 0), content.get("threads")
    for name, value, low in (("gpus", gpus, 0), ("threads", threads, 1)):
        if value is not None and not (_is_count(value) and value >= low):
            raise _bad(path, f"{name}: {value}", f"a number from {low}")
    if kind in QUEUES:
        _check_interface(path, options)
    return Described(
        where=path, kind=kind, minimum=minimum, maximum=maximum, gpus=gpus, threads=threads, options=options
    )


def _workers(path: Path, value: Any) -> tuple[int, int]:
    if _is_count(value) and value >= 1:
        return value, value
    if isinstance(value, dict) and set(value) == {"minimum", "maximum"}:
        low, high = value["minimum"], value["maximum"]
        if _is_count(low) and _is_count(high) and 0 <= low <= high and high >= 1:
            return low, high
    raise _bad(path, f"workers: {value}", "a number from 1, or {minimum: 0, maximum: 64}")


def _check_interface(path: Path, options: dict[str, Any]) -> None:
    """A scheduler that other machines reach listens where the person says, and nowhere else."""
    scheduler = options.get("scheduler_options") or {}
    if not (options.get("interface") or scheduler.get("host") or scheduler.get("interface")):
        raise _bad(
            path,
            "no network interface for the scheduler",
            "options with interface (such as ib0), or scheduler_options with host: nothing listens beyond this "
            "machine unless you name where",
        )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _bad(path: Path, found: str, expected: str) -> InputError:
    return InputError(path, found=found, expected=expected, fix="correct the file")
