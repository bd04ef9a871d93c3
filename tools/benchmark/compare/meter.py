"""A command's time, memory and processor use, by the rules of FLARE22 (systems.md 7): sampled every 0.1 s, start-up
included, child processes too.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

INTERVAL = 0.1  # seconds between samples
GPU_ALLOWANCE_MB = 2048.0  # of GPU memory is free of charge
_MB = 2.0**20


@dataclass(frozen=True)
class Cost:
    """What a command cost.

    Attributes:
        seconds: from its start to its end.
        peak_mb: most memory at a time, all its processes together.
        memory_area: megabytes times seconds under the curve of memory.
        cpu_area: per cent of a core times seconds under the curve of processor use.
        gpu_peak_mb: most GPU memory at a time; 0 without a GPU.
        gpu_area: megabytes above `GPU_ALLOWANCE_MB` times seconds.
        error: why it failed, in a line; None: it did not.
    """

    seconds: float
    peak_mb: float
    memory_area: float
    cpu_area: float
    gpu_peak_mb: float
    gpu_area: float
    error: str | None = None


def measure(command: Sequence[str], *, timeout: float, gpu: bool = False) -> Cost:
    """Run a command to its end and say what it cost.

    Args:
        timeout: seconds after which it is killed, which counts as a failure.
        gpu: sample the GPU too, by nvidia-smi.
    """
    curve = Curve()
    with tempfile.TemporaryFile() as words, _gpu_samples(gpu) as samples:
        started = time.monotonic()
        process = psutil.Popen(list(command), stdout=subprocess.DEVNULL, stderr=words)
        family = {process.pid}
        while process.poll() is None:
            curve.add(process, family)
            if time.monotonic() - started > timeout:
                _kill(process)
                break
            with suppress(psutil.TimeoutExpired):
                process.wait(INTERVAL)
        seconds = time.monotonic() - started
        used = samples(family)
        words.seek(0)
        said = words.read().decode("utf-8", "replace").strip().splitlines()
    error = None
    if seconds > timeout:
        error = f"not done after {timeout:g} s"
    elif process.returncode:
        error = said[-1].removeprefix("error: ")[:300] if said else f"ended with {process.returncode}"
    return Cost(
        seconds=round(seconds, 2),
        peak_mb=round(curve.peak, 1),
        memory_area=round(curve.area, 1),
        cpu_area=round(100.0 * sum(curve.processor.values()), 1),
        gpu_peak_mb=max(used, default=0.0),
        gpu_area=round(sum(max(0.0, one - GPU_ALLOWANCE_MB) for one in used) * INTERVAL, 1),
        error=error,
    )


class Curve:
    """What the samples add up to; processor seconds by process: of one that has ended, as it was seen last.

    The memory of a child counts from its second sample on: between fork and exec it would be its parent's once more.
    """

    def __init__(self) -> None:
        self.peak = self.area = 0.0
        self.processor: dict[int, float] = {}
        self._last = time.monotonic()

    def add(self, process: psutil.Process, family: set[int]) -> None:
        """Take a sample of a process and its children; `family`: numbers of all that were seen, added to."""
        memory = 0.0
        with suppress(psutil.NoSuchProcess):
            for one in (process, *process.children(recursive=True)):
                with suppress(psutil.NoSuchProcess), one.oneshot():
                    memory += one.memory_info().rss / _MB if one.pid in family else 0.0
                    times = one.cpu_times()
                    self.processor[one.pid] = times.user + times.system
                    family.add(one.pid)
        now = time.monotonic()  # a sample takes time itself, more on a busy machine
        self.area += memory * (now - self._last)
        self.peak, self._last = max(self.peak, memory), now


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        for one in (*process.children(recursive=True), process):
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()


@contextmanager
def _gpu_samples(wanted: bool) -> Iterator[Callable[[set[int]], list[float]]]:
    """Gives a function: from process numbers to the megabytes of GPU memory that they had, sample by sample."""
    if not wanted:
        yield lambda family: []
        return
    with tempfile.TemporaryFile() as lines:
        watch = subprocess.Popen(
            [
                "nvidia-smi",
                "--query-compute-apps=pid,used_memory",
                "--format=csv,noheader,nounits",
                "-lms",
                str(round(1000 * INTERVAL)),
            ],
            stdout=lines,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )

        def samples(family: set[int]) -> list[float]:
            watch.terminate()
            watch.wait()
            lines.seek(0)
            return gpu_memory(lines.read().decode("utf-8", "replace"), family)

        try:
            yield samples
        finally:
            watch.kill()
            watch.wait()


def gpu_memory(listed: str, family: set[int]) -> list[float]:
    """Megabytes by sample, from lines of `pid, megabytes` of nvidia-smi, those of other processes left out.

    Each process has a line in each sample, so a process that comes again begins the next one.
    """
    found: list[float] = []
    seen: set[int] = set()
    for line in listed.splitlines():
        first, _, second = line.partition(",")
        with suppress(ValueError):
            process, megabytes = int(first), float(second)
            if process not in family:
                continue
            if not found or process in seen:
                found.append(0.0)
                seen = set()
            seen.add(process)
            found[-1] += megabytes
    return found
