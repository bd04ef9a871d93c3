"""Which slices the pair looks at first (systems.md 1.8)."""

from __future__ import annotations


def sample_slices(depth: int, every: int = 5, at_most: int = 64) -> list[int]:
    """Evenly spread slices of a volume of `depth`, rising, from its first to its last.

    Args:
        depth: slices of the volume, 1 or more.
        every: greatest distance between two of them, as long as `at_most` allows it.
        at_most: no more than so many; 1 takes the middle.
    """
    if depth < 1 or every < 1 or at_most < 1:
        raise ValueError(f"expected whole numbers from 1, got depth {depth}, every {every}, at_most {at_most}")
    count = min(1 + -(-(depth - 1) // every), at_most)
    if count == 1:
        return [(depth - 1) // 2]
    last, gaps = depth - 1, count - 1
    return [(2 * step * last + gaps) // (2 * gaps) for step in range(count)]  # rounded, in whole numbers
