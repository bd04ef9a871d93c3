"""What the engine's benchmark measures, each in a process of its own, so that memory peaks do not mix."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from networks.allocator import keep_freed_memory
from tools.benchmark.engine.cases import SEED, EngineCase, mirrored
from tools.benchmark.model import ModelSpec
from volumes.metrics import dice

ENGINE, COARSE, COMPAT, GATHERED = "engine", "engine-coarse", "compat", "compat-gathered"
WAYS = {"small": (ENGINE, COMPAT), "paper": (ENGINE, COARSE, COMPAT, GATHERED)}

Answer = TypeVar("Answer")
Arguments = ParamSpec("Arguments")


def in_own_process(job: Callable[Arguments, Answer], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
    """What `job` returns, run in a new process that ends with it; memory is handled as in `keyslice propagate`."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=keep_freed_memory) as pool:
        return pool.submit(job, *args, **kwargs).result()


def speed(folder: Path, spec: ModelSpec, way: str) -> dict[str, Any]:
    """Label the case in `folder` one of the `WAYS`."""
    import torch

    from propagation_module.checkpoints import read_settings
    from propagation_module.compat import propagate_volume_compat
    from propagation_module.inference import dtype_of
    from propagation_module.stcn import STCN
    from tools.benchmark.engine import published
    from tools.benchmark.engine.truth import Aside, TruthFedNetwork, truth_fed

    case = EngineCase.load(folder)
    keys, fed, settings, aside = case.key_slices, untrained(spec), read_settings(spec.config), Aside()
    computed = torch.float32
    if way in (ENGINE, COARSE):
        propagator = propagator_of(spec, **({"pixel": 1.5} if way == COARSE else {}))
        computed = dtype_of(propagator.network)

        def work() -> NDArray[np.uint8]:
            nonlocal aside
            if not fed:
                return propagator.propagate(case.volume, keys).labels
            with truth_fed(case.truth, case.given) as aside:
                return propagator.propagate(case.volume, keys).labels

    elif isinstance(network := network_of(spec), STCN):
        subject = network
        if fed:
            stand_in = TruthFedNetwork(network, case.volume, case.truth, keys.labels)
            subject, aside = cast(STCN, stand_in), stand_in.aside

        def work() -> NDArray[np.uint8]:
            with nullcontext() if way == GATHERED else published.dense_memory():
                return propagate_volume_compat(subject, case.volume, keys, top_k=settings.get("top_k", 20))

    else:

        def work() -> NDArray[np.uint8]:
            return published.propagate_local(network, case.volume, keys, pixel=settings.get("pixel", 1.5))

    labels, measured = _measured(work)
    measured["seconds"] = round(measured["seconds"] - aside.wall, 3)
    measured["cpu_seconds"] = round(measured["cpu_seconds"] - aside.cpu, 3)
    return {
        **measured,
        "dice": _mean_dice(case, labels),
        "truth_fed": fed,
        "precision": str(computed).removeprefix("torch."),
    }


def equality(spec: ModelSpec, size: int = 192, depth: int = 9) -> dict[str, Any]:
    """The engine against the published arithmetic: STCN, one label, whole slices (no boxes), float32.

    Untrained weights call everything alike, so the last layer is scaled until about half of a slice is labelled.
    """
    from unittest import mock

    from propagation_module import session, trackers
    from propagation_module.compat import propagate_volume_compat
    from tools.benchmark.engine.published import PublishedTracker, dense_memory

    case = _moving_disc(size, depth, (0, depth - 1))
    plain = _wakened(network_of(spec), case)
    propagator = propagator_of(spec, plain, pixel=None, precision="float32")

    def make_published(_: Any, *args: Any, **kwargs: Any) -> PublishedTracker:
        return PublishedTracker(plain, *args, **kwargs)

    made: dict[str, tuple[NDArray[np.uint8], list[Any]]] = {}
    for name, make in (("engine", session.make_tracker), ("published", make_published)):
        seen: list[Any] = []
        # In use boxes are smaller than a slice, and what lies outside is not seen: another rule, not other arithmetic.
        whole = mock.patch.object(trackers.STCNTracker, "LEAST", size)
        with whole, mock.patch.object(session, "make_tracker", _recording(make, seen)):
            made[name] = propagator.propagate(case.volume, case.key_slices).labels, seen
    (ours, seen), (theirs, expected) = made["engine"], made["published"]
    pairs = [(one.patch, other.patch) for one, other in zip(seen, expected, strict=True)]
    away = [float(np.abs(one.probability - other.probability).max()) for one, other in pairs]
    near = _moving_disc(size, 3, (1,))  # next to a key slice compat's rules of memory and ours are the same
    with dense_memory():
        compat = propagate_volume_compat(plain, near.volume, near.key_slices, top_k=propagator.top_k)
    with mock.patch.object(trackers.STCNTracker, "LEAST", size):
        beside = propagator.propagate(near.volume, near.key_slices).labels
    return {
        "steps": len(away),
        "largest_difference": max(away),
        "first_step_difference": away[0],
        "labelled_share": float((theirs[1:-1] > 0).mean()),
        "differing_share": float((ours[1:-1] != theirs[1:-1]).mean()),
        "compat_differing_share": float((beside != compat).mean()),
        "compat_labelled_share": float((compat[[0, 2]] > 0).mean()),
    }


def precision(folder: Path, spec: ModelSpec, name: str, save: Path) -> dict[str, Any]:
    """The engine in one precision; its labels go to `save`."""
    case = EngineCase.load(folder)
    propagator = propagator_of(spec, precision=name)
    labels, measured = _measured(lambda: propagator.propagate(case.volume, case.key_slices).labels)
    np.save(save, labels)
    return {**measured, "dice": _mean_dice(case, labels)}


def compare(folder: Path, first: Path, second: Path) -> dict[str, float]:
    """How two label maps of the case in `folder` differ outside the key slices."""
    case, one, other = EngineCase.load(folder), np.load(first), np.load(second)
    free = np.setdiff1d(np.arange(len(one)), case.given)
    one, other = one[free], other[free]
    scores = [dice(one == label, other == label) for label in case.key_slices.labels]
    labelled = np.count_nonzero((one > 0) | (other > 0))
    return {
        "dice": float(np.mean(scores)),
        "lowest_dice": float(np.min(scores)),
        "differing_share": np.count_nonzero(one != other) / one.size,
        "differing_share_of_labelled": np.count_nonzero(one != other) / max(1, int(labelled)),
    }


def memory(folder: Path, spec: ModelSpec, depth: int, labels: int, every: int) -> dict[str, Any]:
    """Peak memory of the engine on the case in `folder`, made `depth` slices deep by mirroring."""
    source = EngineCase.load(folder)
    case = mirrored(source.only(source.largest(labels)), depth, every)
    propagator = propagator_of(spec)
    own = case.volume.array.nbytes + case.truth.nbytes
    found, measured = _measured(lambda: propagator.propagate(case.volume, case.key_slices).labels)
    # The true masks were there from the start: they stand for the label map, which is of the same size.
    return {
        **measured,
        "slices": depth,
        "labels": len(case.key_slices.labels),
        "key_slices": len(case.given),
        "labelled_slices": int(found.any((1, 2)).sum()),
        "volume_and_labels_bytes": own,
        "beyond_bytes": measured["peak_bytes"] - own - found.nbytes,
        "working_bytes": measured["peak_bytes"] - measured["start_bytes"] - found.nbytes,
    }


def correction(folder: Path, spec: ModelSpec, labels: int, count: int, reach: int = 10) -> dict[str, Any]:
    """Time from a corrected slice to the slices that follow from it, with all features cached."""
    case = EngineCase.load(folder)
    case = case.only(case.largest(labels))
    session = propagator_of(spec).open(case.volume)
    keys = case.key_slices
    for z in keys.slices():
        session.annotate(z, keys.mask(z), complete=True)
    start = time.perf_counter()
    for _ in session.propagate(live=True):
        pass
    whole = time.perf_counter() - start
    found: list[dict[str, Any]] = []
    for z, label in _places_to_correct(case, count):
        start = time.perf_counter()
        session.annotate(z, np.where(case.truth[z] == label, label, 0), [label])
        updates = [(time.perf_counter() - start, update) for update in session.propagate(live=True) if update.z != z]
        session.forget(z, [label])
        for _ in session.propagate(live=True):
            pass
        if not updates:
            continue
        near = [(at, update) for at, update in updates if abs(update.z - z) <= reach]
        last = {update.z: at for at, update in near}  # a slice's last update settles it
        shown: dict[int, float] = {}
        for at, update in near:
            shown.setdefault(update.z, at)
        found.append(
            {
                "z": z,
                "label": label,
                "first": updates[0][0],
                "shown": max(shown.values(), default=0.0),
                "settled": max(last.values(), default=0.0),
                "slices": len(last),
                "all": updates[-1][0],
            }
        )
    assert found, "no slice to correct"
    medians = {name: statistics.median(one[name] for one in found) for name in ("first", "shown", "settled", "all")}
    return {"labels": len(keys.labels), "whole_volume": whole, "reach": reach, **medians, "corrections": found}


def untrained(spec: ModelSpec) -> bool:
    """Whether a spec has no weights: the truth is handed on then."""
    from propagation_module.checkpoints import shipped_weights

    return spec.weights is None and shipped_weights(spec.config) is None


def network_of(spec: ModelSpec) -> Any:
    """A spec's network: with its weights, or, where none ship, untrained from a seed."""
    import torch

    from propagation_module.checkpoints import build_network, load_network

    if not untrained(spec):
        return load_network(spec.config, weights=spec.weights)
    torch.manual_seed(SEED)
    return build_network(spec.config).eval()


def propagator_of(spec: ModelSpec, network: Any = None, **settings: Any) -> Any:
    """The engine as the configuration has it, but for `settings`.

    Args:
        network: of the spec, if not as `network_of` makes it.
    """
    from propagation_module.checkpoints import read_settings
    from propagation_module.propagator import SETTINGS, Propagator

    own = {name: value for name, value in read_settings(spec.config).items() if name in SETTINGS}
    network = network_of(spec) if network is None else network
    return Propagator(network, **{"precision": spec.precision, **own, **settings})


def about(small: ModelSpec) -> dict[str, Any]:
    """The machine, and the weights by their digests."""
    import os
    import platform

    import torch

    from tools.benchmark.model import digest

    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    return {
        "machine": f"{_processor()}, {cores} cores, {torch.get_num_threads()} threads, {platform.system()}",
        "torch": torch.__version__,
        "small": digest(small),
        "seed": SEED,
    }


def _measured(work: Callable[[], NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    import psutil

    _forget_peak()
    start_bytes = psutil.Process().memory_info().rss
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return found, {"seconds": wall, "cpu_seconds": cpu, "start_bytes": start_bytes, "peak_bytes": peak_bytes()}


def _forget_peak() -> None:
    """Let `peak_bytes` start from now, where the system can: what loading took is not of interest."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_bytes() -> int:
    """The most memory that this process has had."""
    import resource

    try:
        # ru_maxrss would count what the process that started this one had: Linux hands it on through exec.
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _mean_dice(case: EngineCase, labels: NDArray[np.uint8]) -> float:
    return float(np.mean([dice(case.truth == label, labels == label) for label in case.key_slices.labels]))


def _moving_disc(size: int, depth: int, given: tuple[int, ...]) -> EngineCase:
    """A bright disc that wanders through noise without air, so that nothing is cropped."""
    from volumes.volume import Geometry, Volume

    z, y, x = np.indices((depth, size, size))
    disc = (y - 0.45 * size - z) ** 2 + (x - 0.5 * size + z) ** 2 < (0.2 * size) ** 2
    noise = np.random.default_rng(SEED).normal(0, 30, disc.shape)
    array = (noise + 90 * disc).astype(np.int16)
    volume = Volume(array, Geometry.axial(array.shape, (2.0, 1.0, 1.0)), name="disc")
    return EngineCase(volume, disc.astype(np.uint8), given)


def _wakened(network: Any, case: EngineCase) -> Any:
    """The network with its last layer so scaled that logits of a first slice have mean 0 and spread 2."""
    import torch

    from propagation_module.memory import MemoryBank
    from volumes.windows import windowed

    with torch.inference_mode(False), torch.no_grad():
        frames = [torch.from_numpy(windowed(case.volume.array[z : z + 1])) for z in (0, 1)]
        mask = torch.from_numpy(case.truth[0]).float()[None, None]
        start, features = (network.encode_key(frame) for frame in frames)
        bank = MemoryBank()
        bank.keep(start.key[0], network.encode_values(frames[0], start.f16, mask))
        logits = torch.logit(network.segment_with_memory(bank, features).double())
        layer = network.decoder.predict
        scale = 2.0 / float(logits.std())
        layer.weight.mul_(scale)
        layer.bias.sub_(float(logits.mean())).mul_(scale)
    return network


def _recording(make: Any, seen: list[Any]) -> Any:
    def make_recording(*args: Any, **kwargs: Any) -> Any:
        tracker = make(*args, **kwargs)
        look = tracker.look

        def record(looks: Any) -> Any:
            found = look(looks)
            seen.extend(found)
            return found

        tracker.look = record
        return tracker

    return make_recording


def _places_to_correct(case: EngineCase, count: int) -> list[tuple[int, int]]:
    """Slices in the middle third of gaps, each with a label that is on both key slices and on it."""
    places = []
    for low, high in zip(case.given, case.given[1:], strict=False):
        for z in range(low + (high - low) // 3, high - (high - low) // 3 + 1):
            there = [
                label
                for label in np.unique(case.truth[z])[1:].tolist()
                if (case.truth[low] == label).any() and (case.truth[high] == label).any()
            ]
            if there and z not in case.given:
                places.append((z, there[z % len(there)]))
    step = max(1, len(places) // count)
    return places[::step][:count]


def _processor() -> str:
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
