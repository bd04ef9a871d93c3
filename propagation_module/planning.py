"""Which stretches are to be walked: those that what holds now asks for, less those that were walked for the same.

A plan names all that decides a stretch's outcome. So a plan that comes back is the same work: done if it was done, and
gone on with where it was left if it was under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from propagation_module.annotations import Annotations
from propagation_module.passes import Stretch, stretches
from propagation_module.walks import Walk


class Plan(NamedTuple):
    """A stretch together with all that decides its outcome."""

    stretch: Stretch
    start: bytes  # digest of the label on `start`
    far: bytes  # and on `far`, empty where it is not there


class Task:
    """A plan and how far it has come."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.walk: Walk | None = None  # begun when its turn comes

    @property
    def next(self) -> int:
        """The slice that it comes to next."""
        stretch = self.plan.stretch
        return stretch.start + stretch.direction if self.walk is None else self.walk.next

    @property
    def done(self) -> bool:
        """Whether it has come to its end."""
        return self.walk is not None and self.walk.done

    def slices(self) -> range:
        """Those that it has still to come to."""
        stretch = self.plan.stretch
        return range(self.next, stretch.end + stretch.direction, stretch.direction)


def plans_for(said: Annotations, *, with_others: bool) -> list[Plan]:
    """A plan for each stretch of each label, labels in their order.

    Args:
        with_others: as in `Annotations.digest`.
    """
    depth = said.key_slices.shape_dhw[0]
    plans = []
    for label in said.key_slices.labels:
        for stretch in stretches(said.key_slices, said.extents, label, depth):
            far = b""
            if stretch.between and stretch.far is not None:
                far = said.digest(stretch.far, label, with_others=with_others)
            plans.append(Plan(stretch, said.digest(stretch.start, label, with_others=with_others), far))
    return plans


class Agenda:
    """Plans that were carried out, and tasks for those that were not."""

    def __init__(self) -> None:
        self._done: set[Plan] = set()
        self._tasks: dict[Plan, Task] = {}  # begun or not, but not done

    def tasks(self) -> list[Task]:
        """What is left to do, in the order of the plans."""
        return list(self._tasks.values())

    def renew(self, plans: Sequence[Plan]) -> list[Task]:
        """Only `plans` count from now on; what else was done or begun is dropped.

        Returns:
            The tasks that are new.
        """
        self._done &= set(plans)
        before, self._tasks = self._tasks, {}
        new = []
        for plan in plans:
            if plan in self._done:
                continue
            task = before.get(plan)
            if task is None:
                task = Task(plan)
                new.append(task)
            self._tasks[plan] = task
        return new

    def finish(self, task: Task) -> None:
        """`task` is done."""
        self._done.add(task.plan)
        del self._tasks[task.plan]

    def clear(self) -> None:
        """Drop everything."""
        self._done.clear()
        self._tasks.clear()
