"""Dask clusters: started on this machine or through a queue, or one that runs already. Needs `keyslice[cluster]`."""

from __future__ import annotations

import logging
import queue
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.security import Security

from tools.batch.cluster_file import KUBERNETES, QUEUES, SHELL, Described
from tools.batch.start import missing
from volumes.errors import InputError

GPU = "GPU"
"""The worker resource that stands for a GPU; a case takes one."""

LOOPBACK = "127.0.0.1"
PATIENCE = 20
"""Seconds in which a scheduler has to answer."""

_TRIES = 100
"""Deaths of workers that Dask allows a task of ours: we count for ourselves (`attempts`)."""


@dataclass(frozen=True)
class Connection:
    """A client, and what ends what was started for it.

    Attributes:
        client: of the scheduler.
        close: ends the client, and the cluster if it is ours.
    """

    client: Client
    close: Callable[[], None]


def local_cluster(environments: Sequence[dict[str, str]]) -> Connection:
    """Workers on this machine, one for each environment, that nobody else can talk to.

    All that listens does so on the loopback interface, and wants certificates that are made for this run alone: other
    people who are logged in here cannot have the workers run anything.
    """
    _silent()
    security = _own_certificates()
    own = {"host": LOOPBACK, "protocol": "tls://", "security": security, "dashboard_address": f"{LOOPBACK}:0"}
    workers = {
        number: {
            "cls": Nanny,
            "options": {
                **own,
                "nthreads": 1,
                "memory_limit": 0,  # a slot looks after its engine
                "silence_logs": logging.CRITICAL,
                "resources": {GPU: 1} if "CUDA_VISIBLE_DEVICES" in environment else None,
                "env": environment,
            },
        }
        for number, environment in enumerate(environments)
    }
    with dask.config.set({"distributed.scheduler.allowed-failures": _TRIES}):
        cluster = SpecCluster(
            workers=workers,
            scheduler={"cls": Scheduler, "options": {**own, "port": 0}},
            security=security,
            silence_logs=logging.CRITICAL,
        )
    return _with_client(cluster)


def connected(address: str) -> Connection:
    """A scheduler that runs already, at the address that the person has typed.

    Raises:
        InputError: nobody answers there.
    """
    _silent()
    # In a thread: a client waits for ever at a port behind which something else listens.
    answers: queue.SimpleQueue[Client | Exception] = queue.SimpleQueue()
    threading.Thread(target=_connect, args=(address, answers), daemon=True).start()
    try:
        client = answers.get(timeout=PATIENCE)
    except queue.Empty:
        client = TimeoutError(f"none within {PATIENCE} s")
    if isinstance(client, Exception):
        raise InputError(
            f"--cluster {address}",
            found=f"no scheduler that answers ({_short(client)})",
            expected="a Dask scheduler that runs",
            fix="start it, check the address; tls:// needs certificates in Dask's configuration",
        )
    return Connection(client, client.close)


def _connect(address: str, answers: queue.SimpleQueue[Client | Exception]) -> None:
    try:
        answers.put(Client(address, timeout=PATIENCE, set_as_default=False))
    except Exception as error:  # told by the thread that waits for the answer
        answers.put(error)


def from_file(described: Described, state: Path) -> Connection:
    """A cluster as its file describes it.

    Args:
        state: the run's own folder, on a disk that the workers share.

    Raises:
        InputError: a package that is not installed, or options that its class does not take.
    """
    _silent()
    kind = described.kind
    try:
        if kind == KUBERNETES:
            build = import_module("dask_kubernetes.operator").KubeCluster
        elif kind == SHELL:
            build = import_module("dask_jobqueue.local").LocalCluster
        else:
            build = getattr(import_module("dask_jobqueue"), QUEUES[kind])
    except ModuleNotFoundError as error:
        raise missing(str(error.name)) from None
    options = dict(described.options) if kind == KUBERNETES else queue_options(described, state)
    try:
        with dask.config.set({"distributed.scheduler.allowed-failures": _TRIES}), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cluster = build(**options)
            if described.minimum == described.maximum:
                cluster.scale(described.maximum)
            else:
                cluster.adapt(minimum=described.minimum, maximum=described.maximum)
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        raise InputError(
            described.where,
            found=f"a {kind} cluster that does not start ({_short(error)})",
            expected=f"options that {build.__name__} takes",
            fix="correct the options",
        ) from None
    return _with_client(cluster)


def queue_options(described: Described, state: Path) -> dict[str, Any]:
    """The options of a class of dask_jobqueue: the person's, and ours where the person's say nothing.

    A worker takes one case at a time, or one for each of its GPUs. Scheduler and workers talk by TLS with certificates
    that are made for this run, which lie in the run's folder for the workers alone to read.
    """
    options = dict(described.options)
    options.setdefault("processes", 1)
    extra = list(options.get("worker_extra_args") or [])
    if "--nthreads" not in extra:
        extra += ["--nthreads", str(max(1, described.gpus))]
    if "--dashboard-address" not in extra:
        extra += ["--dashboard-address", f"{LOOPBACK}:0"]
    if described.gpus and "--resources" not in extra:
        extra += ["--resources", f"{GPU}={described.gpus}"]
    options["worker_extra_args"] = extra
    scheduler = dict(options.get("scheduler_options") or {})
    scheduler.setdefault("dashboard_address", f"{LOOPBACK}:0")
    if described.kind == SHELL and not (options.get("interface") or scheduler.get("interface")):
        scheduler.setdefault("host", LOOPBACK)
    options["scheduler_options"] = scheduler
    if "security" not in options and "protocol" not in options:
        secrets = state / "tls"
        secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
        options |= {"security": _own_certificates(), "protocol": "tls://", "shared_temp_directory": str(secrets)}
    return options


def _with_client(cluster: SpecCluster) -> Connection:
    client = Client(cluster, set_as_default=False)

    def close() -> None:
        client.close()
        cluster.close()

    return Connection(client, close)


def _own_certificates() -> Security:
    try:
        return Security.temporary()
    except ImportError as error:
        raise missing(error.name or "cryptography") from None


def _silent() -> None:
    """Deaths of workers are told by the run, in one line each."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
