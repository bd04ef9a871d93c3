"""Which slices a label is carried over, from which key slice, in which direction.

Between two neighbouring key slices a label is carried from both; beyond the last one outward. A key slice on
which a label is absent, and a start or stop mark, end it.
"""

from __future__ import annotations

from dataclasses import dataclass

from volumes.key_slices import Extents, KeySlices


@dataclass(frozen=True)
class Stretch:
    """Slices over which one label is carried in one direction.

    Args:
        start: the key slice it comes from; its label is present there.
        end: the last slice of the stretch, itself included.
        far: the slice beyond, where the label is known too: a key slice or a mark; None at the volume's end.
        far_present: whether the label is there on `far`.
        certain: the label is known to reach `end`, so the stretch does not stop where it seems to have ended.
    """

    label: int
    start: int
    end: int
    far: int | None
    far_present: bool
    certain: bool

    @property
    def direction(self) -> int:
        return 1 if self.end > self.start else -1

    @property
    def between(self) -> bool:
        """Whether it is met from the other side."""
        return self.far is not None and self.far_present

    def __contains__(self, z: int) -> bool:
        return 0 < (z - self.start) * self.direction <= (self.end - self.start) * self.direction


def stretches(key_slices: KeySlices, extents: Extents, label: int, depth: int) -> list[Stretch]:
    """All stretches of `label` in a volume of `depth` slices, upward ones first."""
    present = set(key_slices.slices_with(label))
    spoken = key_slices.slices_of(label)
    low, high = extents.get(label, (0, depth - 1))
    marked = label in extents
    found = []
    for direction in (1, -1):
        for start in sorted(present):
            beyond = [z for z in spoken if (z - start) * direction > 0]
            far = min(beyond, key=lambda z: abs(z - start)) if beyond else None
            edge = high if direction > 0 else low
            if far is not None and (far - edge) * direction <= 0:
                end, far_present, certain = far - direction, far in present, far in present
            else:
                outside = edge + direction
                end, far_present, certain = edge, False, marked
                far = outside if marked and 0 <= outside < depth else None
            if (end - start) * direction > 0:
                found.append(Stretch(label, start, end, far, far_present, certain))
    return found
