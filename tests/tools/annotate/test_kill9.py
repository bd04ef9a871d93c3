"""The command is killed in the middle of work, again and again: every acknowledged action is there afterwards.

A document in this process is told every action that was acknowledged; what the killed one left must be the same to the
last byte, undo history included. One action may be on the disk although nobody heard so: the one that was under way.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.tools.annotate.serving import SHAPE, TABLE, Page, command, write_ct
from tools.annotate.document import Document
from tools.annotate.protocol import pixels_of
from tools.annotate.store import Store, fingerprint
from volumes.formats import read_volume

KILLS = 20
NOTHING = np.zeros(SHAPE[1:], np.uint8)  # is proposed


def some_action(rng: random.Random, values: list[int]) -> dict[str, Any]:
    """What a person may do next."""
    z, value = rng.randrange(SHAPE[0]), rng.choice(values or [1])
    stroke = [rng.randrange(SHAPE[1] * SHAPE[2] - 40), rng.randint(1, 40)]
    actions: list[dict[str, Any]] = [
        {"action": "paint", "z": z, "label": value, "runs": stroke},
        {"action": "erase", "z": z, "label": None, "runs": stroke},
        {"action": "accept", "z": z},
        {"action": "absent", "z": z, "label": value},
        {"action": "clear", "z": z},
        {"action": "extent", "label": value, "range": [0, SHAPE[0] - 1]},
        {"action": "add_label", "name": f"label {rng.randrange(10**6)}"},
        {"action": "rename_label", "value": value, "name": f"name {rng.randrange(10**6)}"},
        {"action": "recolor_label", "value": value, "color": [rng.randrange(256) for _ in range(3)]},
        {"action": "delete_label", "value": value},
        {"action": "undo"},
        {"action": "redo"},
    ]
    return rng.choices(actions, weights=[8, 4, 1, 1, 1, 1, 2, 1, 1, 1, 4, 2])[0]


def do(document: Document, body: dict[str, Any]) -> None:
    """The same action in this process."""
    z, label, value = body.get("z", 0), body.get("label"), body.get("value", 0)
    pixels = pixels_of(body.get("runs", []), SHAPE[1:])
    match body["action"]:
        case "paint":
            document.paint(z, body["label"], pixels, NOTHING)
        case "erase":
            document.erase(z, label, pixels, NOTHING)
        case "accept":
            document.accept(z, NOTHING)
        case "absent":
            document.mark_absent(z, body["label"])
        case "clear":
            document.clear(z)
        case "extent":
            document.set_extent(body["label"], tuple(body["range"]))
        case "add_label":
            document.add_label(body["name"])
        case "rename_label":
            document.rename_label(value, body["name"])
        case "recolor_label":
            document.recolor_label(value, tuple(body["color"]))
        case "delete_label":
            document.delete_label(value)
        case "undo":
            document.undo()
        case "redo":
            document.redo()


class Person:
    """Acts until the server is gone, and knows what was acknowledged."""

    def __init__(self, rng: random.Random, document: Document) -> None:
        self.rng, self.document = rng, document
        self.acknowledged = threading.Semaphore(0)  # counts
        self.under_way: dict[str, Any] | None = None

    def work(self, page: Page) -> None:
        try:
            while True:
                body = self.under_way = some_action(self.rng, list(self.document.labels))
                answer = page.post("edit", **body)
                assert answer.status_code in (200, 409), answer.text
                if answer.status_code == 200 and answer.json()["title"] is not None:
                    do(self.document, body)
                    assert answer.json()["revision"] == self.document.revision
                    self.acknowledged.release()
                self.under_way = None
        except httpx.TransportError:
            return

    def check(self, found: Document) -> None:
        """What the killed process left is what was acknowledged, or that and the action that was under way."""
        assert found.revision - self.document.revision in (0, 1)
        if found.revision > self.document.revision:
            assert self.under_way is not None
            do(self.document, self.under_way)
        assert found.to_state() == self.document.to_state()


def test_every_acknowledged_action_outlives_the_process(tmp_path: Path) -> None:
    ct = write_ct(tmp_path / "ct.nii.gz")
    volume = read_volume(ct)
    labels = {value: (label.name, label.color) for value, label in TABLE.items()}
    table = tmp_path / "table.yaml"
    table.write_text("".join(f"{value}: {{name: {name}, color: {list(c)}}}\n" for value, (name, c) in labels.items()))
    rng = random.Random(9)
    person = Person(rng, Document(SHAPE, labels))
    for _ in range(KILLS):
        with command(ct, "--labels", table) as (process, page):
            assert page.watch()["revision"] == person.document.revision
            worker = threading.Thread(target=person.work, args=(page,))
            worker.start()
            for _ in range(rng.randrange(12)):
                assert person.acknowledged.acquire(timeout=20)
            time.sleep(rng.uniform(0, 0.02))  # anywhere in an action
            process.send_signal(signal.SIGKILL)
            worker.join()
        with Store(tmp_path / "ct.keyslice", SHAPE, fingerprint(volume), name="ct") as store:
            person.check(store.open())
    assert person.document.revision > KILLS

    with command(ct, "--labels", table) as (_, page):
        page.watch()
        for step in ("undo", "redo"):  # all the way to the start, and all the way back
            while True:
                told = page.edit(step)["title"]
                done = person.document.undo() if step == "undo" else person.document.redo()
                assert (told is None) == (done is None)
                if done is None:
                    break
            given = np.zeros(SHAPE, np.uint8)
            for z, one in person.document.slices.items():
                given[z] = one.mask
            assert np.array_equal(page.masks()[0], given)
            assert [row["name"] for row in page.state()["labels"]] == [
                label.name for label in person.document.labels.values()
            ]
