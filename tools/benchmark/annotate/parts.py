"""What the annotation server's benchmark measures, each part on a server that runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.annotate.protocol import runs_of
from tools.benchmark.annotate.client import Client, Events, Server
from tools.benchmark.engine.cases import EngineCase

BRUSH_PIXELS = 6  # radius; the page's default
STROKE_PIXELS = 40
ASK_EVERY_SECONDS = 0.05
PAINT_EVERY_SECONDS = 0.2
LOADING_SECONDS, QUIET_SECONDS = 5.0, 2.0  # it begins some seconds after a page has come; it ends with quiet
LOADING_SHARE = 0.3  # of a core: more than the answers alone take
SLICES_PAINTED = 5  # while it propagates: a person is at work on a few
FIRST_SLAB, SLAB = 8, 16  # slices that the page asks for at once, see page/js/image.js


def spread(times: Sequence[float]) -> dict[str, float]:
    """Median, high percentiles and most, in seconds."""
    p50, p95, p99 = (float(value) for value in np.percentile(times, (50, 95, 99)))
    return {"count": len(times), "p50": p50, "p95": p95, "p99": p99, "max": float(max(times))}


def load_page(client: Client, shape: Sequence[int]) -> dict[str, float]:
    """What the page asks for before it is ready, without drawing it: as `annotate_browser.measure_page`."""
    begun, size, depth = time.perf_counter(), 0, shape[0]
    for path in ("/", "/api/worklist"):
        size += len(client.read(path))
    size += len(client.get())
    first, seconds = 0, 0.0
    while first < depth:
        count = min(SLAB if first else FIRST_SLAB, depth - first)
        size += len(client.get(f"image?first={first}&count={count}"))
        seconds = seconds or time.perf_counter() - begun
        first += count
    return {"first_seconds": seconds, "whole_seconds": time.perf_counter() - begun, "megabytes": size / 1e6}


def strokes(server: Server, client: Client, shape: Sequence[int], count: int) -> dict[str, float]:
    """Seconds until a stroke is acknowledged, and the server's processor seconds for one."""
    cpu, times = server.cpu(), []
    for number in range(count):
        runs = runs_of(stroke(shape, number))
        begun = time.perf_counter()
        client.edit("paint", z=number * shape[0] // count, label=1, runs=runs)
        times.append(time.perf_counter() - begun)
    return {**spread(times), "cpu_seconds": (server.cpu() - cpu) / count}


def answers(client: Client, count: int) -> dict[str, float]:
    """Seconds that the state takes while nothing else is asked for."""
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        client.get()
        times.append(time.perf_counter() - begun)
        time.sleep(ASK_EVERY_SECONDS)
    return spread(times)


def answers_while_loading(server: Server, client: Client) -> dict[str, float]:
    """Seconds that the state takes from when a page has come until torch, the network and the tools are loaded."""
    times, begun = [], time.perf_counter()
    busy_at, seen = begun, server.cpu()
    while (now := time.perf_counter()) < begun + LOADING_SECONDS or now < busy_at + QUIET_SECONDS:
        client.get()
        times.append(time.perf_counter() - now)
        time.sleep(ASK_EVERY_SECONDS)
        if server.cpu() - seen > LOADING_SHARE * (time.perf_counter() - now):
            busy_at = time.perf_counter()
        seen = server.cpu()
    return spread(times)


def stroke(shape: Sequence[int], number: int) -> NDArray[np.bool_]:
    """Pixels of a brush that was drawn across the slice; another place for another number."""
    _, height, width = shape
    reach = min(STROKE_PIXELS, width // 4)
    top = height // 4 + (7 * number) % (height // 2)
    left = width // 4 + (11 * number) % (width // 4)
    rows, columns = np.ogrid[:height, :width]
    along = np.clip(columns, left, left + reach)
    return np.asarray((rows - top) ** 2 + (columns - along) ** 2 <= BRUSH_PIXELS**2)


def undo_all(client: Client) -> None:
    """Back to the beginning."""
    while client.edit("undo")["title"] is not None:
        pass


def give_key_slices(client: Client, case: EngineCase, labels: Sequence[int]) -> None:
    """Paint the given slices of a case; its `labels` become 1, 2, ..."""
    for number in range(2, len(labels) + 1):
        client.edit("add_label", name=f"label_{number}")
    for z in case.given:
        for number, label in enumerate(labels, 1):
            if (case.truth[z] == label).any():
                client.edit("paint", z=z, label=number, runs=runs_of(case.truth[z] == label))


def propagate(server: Server, client: Client, events: Events, case: str, shape: Sequence[int]) -> dict[str, Any]:
    """Propagate all, and ask and paint meanwhile: seconds to the first proposal, of all, and of the answers."""
    ended, state_times, paint_times = threading.Event(), list[float](), list[float]()
    number = done = 0

    def ask(other: Client) -> None:
        other.get()

    def paint(other: Client) -> None:
        nonlocal number, done
        number += 1
        z = shape[0] // 2 + number % SLICES_PAINTED
        told = other.edit("paint", z=z, label=1, runs=runs_of(stroke(shape, number)))
        done += told["title"] is not None

    def go_on(work: Callable[[Client], None], times: list[float], pause: float) -> None:
        with closing(Client(server, case)) as other:
            while not ended.wait(pause):
                begun = time.perf_counter()
                work(other)
                times.append(time.perf_counter() - begun)

    jobs = ((ask, state_times, ASK_EVERY_SECONDS), (paint, paint_times, PAINT_EVERY_SECONDS))
    threads = [threading.Thread(target=go_on, args=job) for job in jobs]
    seen, cpu, begun = len(events), server.cpu(), time.perf_counter()
    client.post("propagate")
    for thread in threads:
        thread.start()
    try:
        first = events.wait("progress", seen, _proposes).time
        end = events.wait("progress", seen, lambda data: data["running"] is None).time
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    for _ in range(done):
        client.edit("undo")
    return {
        "first_seconds": first - begun,
        "seconds": end - begun,
        "cpu_seconds": server.cpu() - cpu,
        "state": spread(state_times),
        "strokes": spread(paint_times),
    }


def corrections(client: Client, events: Events, case: EngineCase, labels: Sequence[int], count: int) -> dict[str, Any]:
    """Paint what is missing of a label between two key slices and propagate: seconds from the stroke to the first
    proposal on another slice, then from cancelling to the end of the run."""
    middles = [(one + other) // 2 for one, other in zip(case.given, case.given[1:], strict=False)]
    firsts, cancels = [], []
    for turn in range(count):
        z, number = middles[turn % len(middles)], turn % len(labels) + 1
        pixels = case.truth[z] == labels[number - 1]
        begun, seen = time.perf_counter(), len(events)
        client.edit("paint", z=z, label=number, runs=runs_of(pixels | stroke(case.truth.shape, turn)))
        seen = len(events)
        client.post("propagate")
        firsts.append(events.wait("progress", seen, _proposes).time - begun)
        begun = time.perf_counter()
        client.post("cancel")
        ended = events.wait("progress", seen, lambda data: data["running"] is None).time
        cancels.append(max(0.0, ended - begun))
    return {"first": spread(firsts), "cancel": spread(cancels)}


def make_session(ct: Path, folder: Path, shape: Sequence[int], count: int) -> None:
    """A session folder with `count` strokes, as a server leaves it."""
    from tools.annotate.opening import open_case
    from tools.annotate.worklist import find_worklist

    entry = next(iter(find_worklist(ct, session=folder)))
    opened = open_case(entry, None)
    nothing = np.zeros(shape[1:], np.uint8)
    with opened.store as store:
        done = number = 0
        while done < count:
            change = opened.document.paint(number % shape[0], 1, stroke(shape, number), nothing)
            number += 1
            if change is not None:
                store.append(change)
                done += 1


def _proposes(progress: dict[str, Any]) -> bool:
    """Whether a slice was computed, or none had to be; its proposals are told just before."""
    return progress["done"] > 0 or progress["running"] is None
