"""From the options of a run to those who work for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.batch.cluster_file import read_cluster_file
from tools.batch.options import LOCAL, YAML
from tools.batch.tasks import STATE, Setup, plain
from tools.batch.workers import InThisProcess, OnThisMachine, Workers
from tools.devices import choose_device
from volumes.errors import InputError

if TYPE_CHECKING:
    from tools.case_runs import Work


def workers_for(job: Any, command: str, make_work: Callable[[Any], Work], folder: Path) -> Workers:
    """The workers that a job asks for; nothing is started yet.

    Args:
        job: the command's `Job`, with its `BatchOptions` as `batch`.
        command: its name, by which other processes find what works.
        make_work: what works in this process.
        folder: of the results.

    Raises:
        InputError: a cluster that cannot be had.
    """
    options, state = job.batch, folder.resolve() / STATE
    if options.in_this_process:
        return InThisProcess(lambda: make_work(job), state)
    if options.cluster is None or options.cluster == LOCAL:
        environments = environments_for(options.jobs, getattr(job, "device", "cpu"))
        setup = setup_for(job, command, state, threads=_threads(options.jobs))
        if options.cluster is None:
            return OnThisMachine(setup, environments)
    try:
        from tools.batch.clusters import connected, from_file, local_cluster
        from tools.batch.dask_workers import DaskWorkers
    except ModuleNotFoundError as error:
        raise missing(str(error.name)) from None
    if options.cluster == LOCAL:
        return DaskWorkers(setup, lambda: local_cluster(environments), quiet=job.quiet)
    if not options.cluster.lower().endswith(YAML):
        address = options.cluster
        return DaskWorkers(setup_for(job, command, state), lambda: connected(address), quiet=job.quiet)
    described = read_cluster_file(Path(options.cluster))
    setup = setup_for(job, command, state, threads=described.threads)
    return DaskWorkers(setup, lambda: from_file(described, state), quiet=job.quiet)


def setup_for(job: Any, command: str, state: Path, *, threads: int | None = None) -> Setup:
    """What the workers of a job share."""
    from tools.info import versions

    return Setup(
        command=command,
        job=plain(job),
        folder=str(state),
        cwd=os.getcwd(),
        version=str(versions()["keyslice"]),
        memory=job.batch.memory,
        seconds=job.batch.seconds,
        threads=threads,
    )


def environments_for(jobs: int, device: str) -> list[dict[str, str]]:
    """Variables for each of so many workers on this machine: where there are several GPUs, each sees one of them.

    Raises:
        InputError: a device that is not there.
    """
    if not choose_device(device).startswith("cuda") or ":" in device:
        return [{} for _ in range(jobs)]
    import torch

    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = seen.split(",") if seen else [str(index) for index in range(torch.cuda.device_count())]
    return [{"CUDA_VISIBLE_DEVICES": devices[index % len(devices)]} for index in range(jobs)]


def missing(module: str) -> InputError:
    """InputError for a module that only runs on a cluster need."""
    return InputError(
        "--cluster",
        found=f"no module '{module}' here",
        expected="what runs on a cluster need",
        fix="pip install 'keyslice[cluster]'",
    )


def _threads(jobs: int) -> int | None:
    """Threads of each of so many workers on this machine, unless the person has said how many."""
    if "OMP_NUM_THREADS" in os.environ:
        return None
    return max(
        1, len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)) // jobs
    )
