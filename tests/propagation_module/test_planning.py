"""Planning: the same plan is the same work, and a change leaves all plans that it does not touch."""

from __future__ import annotations

import numpy as np

from propagation_module.annotations import Annotations
from propagation_module.planning import Agenda, Task, plans_for

SHAPE = (12, 10, 14)


def _said() -> Annotations:
    said = Annotations(SHAPE, "test")
    for z in (2, 8):
        said.annotate(z, _plane(3))
    said.annotate(5, _plane(5), labels=[5])
    return said


def _plane(label: int, left: int = 2) -> np.ndarray:
    plane = np.zeros(SHAPE[1:], np.uint8)
    plane[2:8, left : left + 4] = label
    return plane


def _work(tasks: list[Task]) -> list[tuple[int, list[int]]]:
    return [(task.plan.stretch.label, list(task.slices())) for task in tasks]


def test_each_label_is_walked_both_ways_between_its_key_slices_and_outward() -> None:
    agenda = Agenda()
    assert _work(agenda.renew(plans_for(_said(), with_others=False))) == [
        (3, [3, 4, 5, 6, 7]),
        (3, [9, 10, 11]),
        (3, [1, 0]),
        (3, [7, 6, 5, 4, 3]),
        (5, [6, 7, 8, 9, 10, 11]),
        (5, [4, 3, 2, 1, 0]),
    ]


def test_what_is_done_is_not_planned_again_and_what_was_left_goes_on() -> None:
    said, agenda = _said(), Agenda()
    agenda.renew(plans_for(said, with_others=False))
    first, *rest = agenda.tasks()
    agenda.finish(first)
    assert agenda.renew(plans_for(said, with_others=False)) == []
    assert agenda.tasks() == rest


def test_a_change_renews_the_stretches_that_touch_it() -> None:
    said, agenda = _said(), Agenda()
    agenda.renew(plans_for(said, with_others=False))
    for task in agenda.tasks():
        agenda.finish(task)
    said.annotate(8, _plane(3, left=5))
    assert _work(agenda.renew(plans_for(said, with_others=False))) == [
        (3, [3, 4, 5, 6, 7]),
        (3, [9, 10, 11]),
        (3, [7, 6, 5, 4, 3]),
    ]
    said.annotate(8, _plane(3))
    agenda.renew(plans_for(said, with_others=False))
    assert len(agenda.tasks()) == 3, "what was dropped is not remembered as done"
