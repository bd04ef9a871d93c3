"""The engine: whatever happened before, its proposals are those of one fresh propagation; it can always be stopped.

With an untrained network, as in the session's tests, and once with the weights that ship.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from propagation_module.checkpoints import build_network
from propagation_module.propagator import Propagator
from reference_module.models import InputSettings
from reference_module.referencer import Referencer
from tests.tools.pairs import HounsfieldPair, ellipsoids
from tools.annotate.engine import Engine
from tools.annotate.engine_updates import Cancelled, EngineUpdate, Failed, Finished, KeySlicesFound, Proposed, Working
from tools.annotate.given import GivenSlice
from tools.annotate.proposer import bring_to
from volumes.errors import InputError
from volumes.key_slices import Extents, KeySlices
from volumes.labels import Label, LabelTable
from volumes.volume import Geometry, Volume

SHAPE = (16, 40, 56)
Given = dict[int, GivenSlice]


@pytest.fixture(scope="module")
def propagator() -> Propagator:
    torch.manual_seed(3)
    return Propagator(build_network("small"), pixel=1.5)


@pytest.fixture(scope="module")
def volume() -> Volume:
    array = np.random.default_rng(0).normal(40, 20, SHAPE).astype(np.int16)
    return Volume(array, Geometry.axial(SHAPE, (3.0, 1.5, 2.0)), "test")


class Server:
    """What the server keeps of the updates."""

    def __init__(self) -> None:
        self.labels = np.zeros(SHAPE, np.uint8)
        self.updates: list[EngineUpdate] = []
        self.ends: queue.Queue[EngineUpdate] = queue.Queue()
        self.on_slice: Callable[[Proposed], None] = lambda _: None

    def __call__(self, update: EngineUpdate) -> None:
        self.updates.append(update)
        if isinstance(update, Proposed):
            self.labels[update.z] = update.mask
            self.on_slice(update)
        elif not isinstance(update, Working):
            self.ends.put(update)

    def end(self) -> EngineUpdate:
        return self.ends.get(timeout=60)

    def seen(self, given: Given) -> np.ndarray:
        """Proposals with what is given over them."""
        seen = self.labels.copy()
        for z, one in given.items():
            seen[z] = np.where(one.mask > 0, one.mask, seen[z])
        return seen


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def engine(propagator: Propagator, volume: Volume, server: Server) -> Iterator[Engine]:
    engine = Engine(volume, lambda: propagator, server)
    yield engine
    assert engine.close()


def _given(complete: bool = False, absent: tuple[int, ...] = (), **boxes: tuple[int, int, int, int]) -> GivenSlice:
    """`l3=(top, bottom, left, right)` paints label 3."""
    mask = np.zeros(SHAPE[1:], np.uint8)
    for name, (top, bottom, left, right) in boxes.items():
        mask[top:bottom, left:right] = int(name[1:])
    return GivenSlice(mask, frozenset(int(name[1:]) for name in boxes) | frozenset(absent), complete)


BOTH = _given(l3=(10, 22, 16, 30), l5=(26, 36, 34, 48))
MOVED = _given(l3=(14, 26, 20, 34), l5=(24, 34, 30, 44))


def _fresh(propagator: Propagator, volume: Volume, given: Given, extents: Extents) -> np.ndarray:
    keys = KeySlices(SHAPE)
    for z, one in given.items():
        keys.add(z, one.mask, one.speaks, one.complete)
    return propagator.propagate(volume, keys, extents=extents).labels


def test_any_change_ends_where_a_fresh_propagation_does(
    engine: Engine, server: Server, propagator: Propagator, volume: Volume
) -> None:
    only5 = _given(l5=(20, 30, 8, 20))
    states: list[tuple[Given, Extents]] = [
        ({2: BOTH}, {}),
        ({2: BOTH, 9: MOVED}, {3: (1, 12)}),
        ({2: BOTH, 9: GivenSlice(_given(l3=(14, 26, 20, 34)).mask, frozenset({3}), True)}, {3: (2, 14)}),  # no label 5
        ({2: BOTH, 9: MOVED, 13: only5}, {}),  # not complete any more, no marks
        ({2: only5, 13: only5}, {}),  # label 3 deleted
    ]
    for revision, (given, extents) in enumerate(states):
        server.updates.clear()
        run = engine.start(given, extents, revision)
        end = server.end()
        assert isinstance(end, Finished) and (end.run, end.revision) == (run, revision)
        assert np.array_equal(server.seen(given), _fresh(propagator, volume, given, extents)), revision
        labels = {label for one in given.values() for label in one.labels}
        assert set(end.confidence) == labels and all(one.shape == SHAPE[:1] for one in end.confidence.values())
        for z, one in given.items():
            assert not server.labels[z][one.mask > 0].any(), "what is given is no proposal"
            assert not set(np.unique(server.labels[z])) & one.speaks
    assert engine.running is None


def test_only_what_a_change_touches_is_computed_and_told(engine: Engine, server: Server) -> None:
    given = {1: BOTH, 6: BOTH, 11: BOTH}
    engine.start(given, {}, 1)
    first = server.end()
    assert isinstance(first, Finished) and first.suggestion is not None
    told = {one.z for one in server.updates if isinstance(one, Proposed)}
    assert told == set(range(16)), "the first run tells every slice: what was kept from earlier is replaced"
    server.updates.clear()
    engine.start({**given, 8: _given(l3=(12, 24, 18, 32))}, {}, 2)
    server.end()
    assert {one.z for one in server.updates if isinstance(one, Proposed)} <= {7, 8, 9, 10}
    server.updates.clear()
    engine.start({**given, 8: _given(l3=(12, 24, 18, 32))}, {}, 3)
    assert isinstance(server.end(), Finished) and len(server.updates) == 1, "nothing has changed"


def test_a_newer_run_takes_over_and_nothing_of_the_old_one_follows(
    engine: Engine, server: Server, propagator: Propagator, volume: Volume
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold(_: Proposed) -> None:
        begun.set()
        assert go_on.wait(60)

    server.on_slice = hold
    runs = [engine.start({2: BOTH}, {}, 1)]
    assert begun.wait(60)
    runs += [engine.start({2: MOVED}, {}, 2), engine.start({2: BOTH, 9: MOVED}, {}, 3)]  # the middle one never begins
    assert engine.running == runs[-1]
    go_on.set()
    ends = [server.end() for _ in runs]
    assert sorted(end.run for end in ends) == runs and ends[-1].run == runs[-1]
    assert {type(end) for end in ends[:-1]} == {Cancelled} and isinstance(ends[-1], Finished)
    order = [update.run for update in server.updates]
    first = order.index(runs[-1])
    assert set(order[first:]) == {runs[-1]}
    given = {2: BOTH, 9: MOVED}
    assert np.array_equal(server.seen(given), _fresh(propagator, volume, given, {}))


def test_cancelled_between_slices_and_gone_on_with_later(
    engine: Engine, server: Server, propagator: Propagator, volume: Volume
) -> None:
    given = {2: BOTH, 13: MOVED}
    asked: list[Proposed] = []

    def cancel(update: Proposed) -> None:
        if update.done > 4 and not asked:
            asked.append(update)
            engine.cancel()

    server.on_slice = cancel
    engine.start(given, {}, 1)
    end = server.end()
    assert isinstance(end, Cancelled) and server.updates[-2:] == [asked[0], end], "at once, not some slices later"
    assert engine.running is None
    assert max(one.done for one in server.updates if isinstance(one, Proposed)) < 20
    engine.cancel()  # nothing runs: nothing to cancel, neither now nor later
    engine.start(given, {}, 2)
    assert isinstance(server.end(), Finished)
    assert np.array_equal(server.seen(given), _fresh(propagator, volume, given, {}))


def test_with_nothing_painted_proposals_go_and_the_reason_is_told(engine: Engine, server: Server) -> None:
    nothing = _given(absent=(3,))
    engine.start({4: nothing}, {}, 1)
    end = server.end()
    assert isinstance(end, Failed) and "paint a label" in end.message
    assert not any(isinstance(one, Proposed) for one in server.updates), "nothing was proposed yet"
    engine.start({2: BOTH}, {}, 2)
    server.end()
    assert server.labels.any()
    engine.start({}, {}, 3)
    assert isinstance(server.end(), Failed) and not server.labels.any()
    engine.start({2: BOTH}, {}, 4)
    assert isinstance(server.end(), Finished) and server.labels.any()


def test_a_label_that_is_not_carried_is_told_apart_from_one_that_never_was(engine: Engine, server: Server) -> None:
    engine.start({2: BOTH}, {}, 1)
    server.end()
    server.updates.clear()
    engine.start({2: _given(l5=(26, 36, 34, 48))}, {}, 2)
    server.end()
    last = {one.z: one for one in server.updates if isinstance(one, Proposed)}
    assert last[4].confidence.keys() == {3, 5} and last[4].confidence[3] == 0 and not (last[4].mask == 3).any()


def test_errors_are_told_and_the_next_run_is_sound(propagator: Propagator, volume: Volume, server: Server) -> None:
    broken = [RuntimeError("out of\nmemory"), None]

    def make() -> Propagator:
        error = broken.pop(0)
        if error is not None:
            raise error
        return propagator

    engine = Engine(volume, make, server)
    engine.start({2: BOTH}, {}, 1)
    end = server.end()
    assert isinstance(end, Failed) and end.message == "RuntimeError: out of memory"
    engine.start({2: BOTH, 5: BOTH}, {3: (4, 9)}, 2)
    end = server.end()
    assert isinstance(end, Failed) and "between its marks 4 and 9" in end.message

    def fail(_: Proposed) -> None:
        server.on_slice = lambda _: None
        raise RuntimeError("the loop is closed")

    server.on_slice = fail
    engine.start({2: BOTH}, {3: (1, 9)}, 3)
    assert isinstance(server.end(), Finished), "an update that nobody takes does not end the work"
    assert engine.close() and engine.close()


def test_closing_ends_what_runs(propagator: Propagator, volume: Volume, server: Server) -> None:
    engine = Engine(volume, lambda: propagator, server)
    begun = threading.Event()
    server.on_slice = lambda _: begun.set()
    engine.warm_up()
    engine.start({2: BOTH}, {}, 1)
    assert begun.wait(60) and engine.close()
    assert isinstance(server.end(), Cancelled)
    count = len(server.updates)
    time.sleep(0.05)
    assert len(server.updates) == count


def test_a_session_is_told_only_what_differs(propagator: Propagator, volume: Volume) -> None:
    session = propagator.open(volume)
    assert bring_to(session, {2: BOTH, 9: MOVED, 11: GivenSlice.empty(SHAPE[1:])}, {}) == {2, 9}
    assert bring_to(session, {2: BOTH, 9: GivenSlice(MOVED.mask.copy(), MOVED.speaks)}, {}) == set()
    assert bring_to(session, {2: BOTH, 9: MOVED}, {3: (1, 10)}) == set() and session.extents == {3: (1, 10)}
    assert bring_to(session, {2: BOTH}, {3: (1, 10)}) == {9} and session.key_slices.slices() == [2]


def test_the_weights_that_ship(server: Server, volume: Volume) -> None:
    given = {2: BOTH, 13: MOVED}
    engine = Engine(volume, Propagator.load, server)
    engine.start(given, {}, 1, {3: "liver", 5: "spleen"})
    end = server.end()
    assert isinstance(end, Finished)
    assert np.array_equal(server.seen(given), _fresh(Propagator.load(), volume, given, {}))
    assert end.suggestion is None or any(name in end.suggestion.reason for name in ("liver", "spleen"))
    assert engine.close()


def test_key_slices_from_a_reference_model(propagator: Propagator, volume: Volume, server: Server) -> None:
    from tools.annotate.automatic_start import available_models

    (model,) = [one for one in available_models(["Left Parotid", "liver"]) if one.name == "head-neck"]
    assert model.shared == ("left_parotid",) and "mandible" in model.structures
    assert available_models(["liver"]) == [] and available_models([]) != []
    scan, labels = ellipsoids(SHAPE[0], (4, 11))
    table = LabelTable([Label(1, "ball", (1, 2, 3)), Label(2, "cube", (4, 5, 6))])

    def load(name: str) -> Referencer:
        if name != "balls":
            raise InputError(name, found="no such model", expected="balls", fix="choose it")
        return Referencer(HounsfieldPair(SHAPE[0]), table, InputSettings(None, "three"), precision="float32")

    server.labels = np.zeros(scan.shape, np.uint8)
    engine = Engine(scan, lambda: propagator, server, load)
    engine.automatic("cubes", {})
    end = server.end()
    assert isinstance(end, Failed) and "no such model" in end.message
    run = engine.automatic("balls", {1: "spleen", 4: "Ball"})
    end = server.end()
    assert isinstance(end, KeySlicesFound) and end.run == run
    assert any(isinstance(update, Working) for update in server.updates)
    assert end.merge.values[1] == 4 and {value: one.name for value, one in end.merge.new.items()} == {2: "cube"}
    painted = {z: one for z, one in end.key_slices.items() if one.mask.any()}
    assert painted and all(one.kind == "automatic" and not one.complete for one in painted.values())
    for z, one in painted.items():
        truth = np.where(labels[z] == 1, 4, labels[z])
        assert (one.mask == truth)[one.mask > 0].all() and one.labels
    assert any(2 in one.absent for one in end.key_slices.values()), "where it ends is marked"
    engine.start(end.key_slices, {}, 1)
    assert isinstance(server.end(), Finished)
    assert (server.seen(end.key_slices) == np.where(labels == 1, 4, labels)).mean() > 0.9
    assert engine.close()
