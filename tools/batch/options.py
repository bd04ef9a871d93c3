"""How a run over many cases is spread, and what a single case may take: the options that its commands share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from volumes.errors import InputError

_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", re.IGNORECASE)
_SECONDS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(min|[smhd])", re.IGNORECASE)
LOCAL = "local"
YAML = (".yaml", ".yml")
SCHEMES = ("tcp", "tls")
LEAST_MEMORY = 50_000_000


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """What the person asked for.

    Attributes:
        jobs: cases at once on this machine.
        cluster: `local`, the address of a Dask scheduler, or a YAML file (`tools.batch.cluster_file`); None: without
            Dask.
        memory: bytes that the process which works on a case may hold, the network included; None: no limit.
        seconds: that a case may take; None: no limit.
        retry: run cases again that have failed in the run that goes on.
    """

    jobs: int = 1
    cluster: str | None = None
    memory: int | None = None
    seconds: float | None = None
    retry: bool = False

    @property
    def in_this_process(self) -> bool:
        """Whether the cases are worked on one after the other, here."""
        return self.jobs == 1 and self.cluster is None and self.memory is None and self.seconds is None


def read_options(
    *,
    jobs: int = 1,
    cluster: str | None = None,
    memory_limit: str | None = None,
    time_limit: str | None = None,
    retry: bool = False,
) -> BatchOptions:
    """The options as they were typed.

    Raises:
        InputError: one that cannot be.
    """
    if jobs < 1:
        raise InputError("--jobs", found=str(jobs), expected="1 or more", fix="use 1 for one case after the other")
    if cluster is not None:
        _check_cluster(cluster, jobs)
    memory = None if memory_limit is None else _bytes(memory_limit)
    seconds = None if time_limit is None else _duration(time_limit)
    return BatchOptions(jobs=jobs, cluster=cluster, memory=memory, seconds=seconds, retry=retry)


def _check_cluster(cluster: str, jobs: int) -> None:
    """Raise InputError unless it is one of the three kinds; the address is nobody's but the one that was typed."""
    if cluster == LOCAL:
        return
    if cluster.lower().endswith(YAML):
        if not Path(cluster).is_file():
            raise InputError(cluster, found="no such file", expected="the YAML of a cluster", fix="check --cluster")
    else:
        _check_address(cluster)
    if jobs != 1:
        raise InputError(
            f"--jobs {jobs}",
            found="--cluster with workers of its own",
            expected="one of the two",
            fix="leave --jobs out: the cluster says how many workers there are",
        )


def _check_address(cluster: str) -> None:
    try:
        parts = urlsplit(cluster)
        complete = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port is not None
    except ValueError:  # a port that is none
        complete = False
    if not complete or parts.username or parts.path or parts.query or parts.fragment:
        raise InputError(
            f"--cluster {cluster}",
            found="neither a kind, an address nor a YAML file",
            expected="local, tcp://HOST:PORT or tls://HOST:PORT of your own Dask scheduler, or FILE.yaml",
            fix="choose one of these",
        )


def _bytes(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    size = round(float(found[1]) * _BYTES[found[2].lower()]) if found and found[2].lower() in _BYTES else 0
    if size < LEAST_MEMORY:
        raise InputError(
            f"--memory-limit {text}",
            found="no size, or less than any volume takes" if found else "no size",
            expected="a size such as 8GB or 1500MiB",
            fix="correct it; docs/batch.md says how to find one",
        )
    return size


def _duration(text: str) -> float:
    plain = text.strip().replace(" ", "")
    parts = _TIME.findall(plain)
    seconds = sum(float(value) * _SECONDS[unit.lower()] for value, unit in parts)
    if "".join(value + unit for value, unit in parts) != plain or not seconds > 0:
        raise InputError(
            f"--time-limit {text}",
            found="no time",
            expected="a time with its unit, such as 90s, 15min or 1h30min",
            fix="correct it",
        )
    return seconds
