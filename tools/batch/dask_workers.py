"""The workers of a Dask cluster. Needs `keyslice[cluster]`.

Dask moves functions and their arguments by pickle between its own processes, and whoever reaches a scheduler can have
its workers run anything. So an address is only ever the one that the person has typed.
"""

from __future__ import annotations

import json
import queue
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distributed import Future
from distributed.scheduler import KilledWorker

from tools.batch import remote
from tools.batch.attempts import attempts
from tools.batch.clusters import GPU, Connection
from tools.batch.tasks import BatchCase, Outcome, Setup, outcome_from, plain, raise_refused
from tools.batch.workers import Workers
from tools.console import say
from volumes.errors import InputError


class DaskWorkers(Workers):
    """A cluster's workers, a case at a time for each of their threads, or for each of their GPUs.

    Args:
        setup: what they do.
        connect: starts or finds the cluster.
        quiet: say nothing.
    """

    def __init__(self, setup: Setup, connect: Callable[[], Connection], *, quiet: bool = False) -> None:
        self._setup, self._connect, self._quiet = setup, connect, quiet
        self._text = json.dumps(asdict(setup))
        self._connection: Connection | None = None
        self._on_gpus = False
        self._ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._at_work: dict[str, tuple[str, Future]] = {}  # by the key of the future
        self._submitted = 0

    def prepare(self) -> dict[str, Any]:
        connection = self._connection = self._connect()
        if not self._workers() and not self._quiet:
            say("waiting for the first worker of the cluster")
        connection.client.wait_for_workers(1)
        self._on_gpus = self._setup.job.get("device", "cpu") != "cpu" and any(map(_gpus, self._workers().values()))
        future = connection.client.submit(remote.prepare, self._text, pure=False, **self._placed())
        try:
            answer = json.loads(future.result())
        except Exception as error:  # whatever a worker or Dask says
            raise _unable(error) from None
        if "refused" in answer:
            raise_refused(outcome_from(answer["refused"]))
        facts: dict[str, Any] = answer["ready"]
        return facts

    def room(self) -> int:
        workers = self._workers().values()
        return sum(_gpus(worker) if self._on_gpus else worker["nthreads"] for worker in workers)

    def submit(self, case: BatchCase, avoid: str = "") -> None:
        assert self._connection is not None
        self._submitted += 1
        key = f"keyslice-{self._submitted}-{case.name}"
        task = json.dumps(plain(case))
        future = self._connection.client.submit(remote.run_case, self._text, task, key=key, **self._placed(avoid))
        self._at_work[key] = case.name, future
        future.add_done_callback(self._ended.put)

    def next(self, timeout: float) -> Outcome | None:
        assert self._connection is not None
        try:
            future = self._ended.get(timeout=timeout)
        except queue.Empty:
            if self._connection.client.status != "running":
                raise _lost() from None
            return None
        case, _ = self._at_work.pop(str(future.key))
        if future.status == "error":
            error = future.exception()
            if isinstance(error, KilledWorker):
                number = max(1, attempts(Path(self._setup.folder), case))
                return Outcome(case=case, kind="died", text="the cluster lost its worker", attempt=number)
            raise _unable(error)
        if future.status != "finished":
            raise _lost()
        outcome = outcome_from(json.loads(future.result()))
        raise_refused(outcome)
        return outcome

    def close(self) -> None:
        if self._connection is None:
            return
        client = self._connection.client
        try:
            if client.status == "running":
                client.cancel([future for _, future in self._at_work.values()], force=True)
                client.run(remote.close, self._text, on_error="ignore")
        finally:
            self._connection.close()

    def _workers(self) -> dict[str, dict[str, Any]]:
        assert self._connection is not None
        found: dict[str, dict[str, Any]] = dict(self._connection.client.scheduler_info(n_workers=-1)["workers"])
        return found

    def _placed(self, avoid: str = "") -> dict[str, Any]:
        """Where a task may run."""
        placed: dict[str, Any] = {"resources": {GPU: 1}} if self._on_gpus else {}
        if avoid and (others := [address for address in self._workers() if address != avoid]):
            placed |= {"workers": others, "allow_other_workers": True}
        return placed


def _gpus(worker: dict[str, Any]) -> int:
    return int(worker.get("resources", {}).get(GPU, 0))


def _lost() -> InputError:
    return InputError(
        "--cluster",
        found="a scheduler that is gone, or that gave the work up",
        expected="one that lasts as long as the run",
        fix="start the same command again: it goes on with what is left",
    )


def _unable(error: BaseException | None) -> InputError:
    """A worker that cannot even begin: most often one whose Python lacks Keyslice."""
    return InputError(
        "--cluster",
        found=f"a worker that cannot work ({type(error).__name__}: {' '.join(str(error).split())[:200]})",
        expected="workers whose Python has the same Keyslice",
        fix="install keyslice[cluster] where the workers run, and start again",
    )
