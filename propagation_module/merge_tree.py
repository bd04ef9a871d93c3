"""A hierarchy of regions: watershed basins of a volume, merged pairwise from the weakest border up.

Every node of the tree is a possible region; ``cut`` picks disjoint ones that differ from their neighbours.
After Arbelaez et al. 2011 (contour hierarchies), with the sums that a merge needs kept per node and border.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


class MergeTree:
    """Watershed basins merged pairwise, weakest border first. Node 0 is the outside and never merges.

    ``borders[a][b]`` = (slope, area, side) of the faces between nodes a and b: slope x area in HU mm, mm^2 in
    all, and mm^2 of the faces that stand upright in the axial slices.
    """

    def __init__(
        self,
        basins: NDArray[np.int32],
        values: NDArray[np.float32],
        gradient: NDArray[np.float32],
        pitch: NDArray[np.float64],
        *,
        slope_share: float,
        volumes: tuple[float, float],
        slices: int,
    ) -> None:
        """Build and merge.

        Args:
            basins: (D,H,W), 1..n for the watershed's basins, 0 outside.
            values: (D,H,W) HU, clipped to what shall count.
            gradient: (D,H,W) its gradient magnitude, HU/mm.
            pitch: (dz,dy,dx) mm.
            slope_share: 0 merges by the difference of means alone, 1 by the slope on the border alone.
            volumes: smallest and largest region, mm^3; nothing merges beyond the largest.
            slices: the fewest slices of a region.
        """
        self.smallest, self.largest = volumes
        self.slices = slices
        self.leaves = int(basins.max()) + 1
        self.slope_share = slope_share
        self.reach = 2.0 * float(pitch[1])  # mm over which a step between two means shows as a slope
        flat, voxel = basins.ravel(), float(np.prod(pitch))
        self.volume: list[float] = (np.bincount(flat, minlength=self.leaves) * voxel).tolist()
        self.mass: list[float] = (np.bincount(flat, values.ravel(), self.leaves) * voxel).tolist()
        self.square: list[float] = (
            np.bincount(flat, np.square(values, dtype=np.float64).ravel()) * voxel
        ).tolist()
        boxes = ndimage.find_objects(basins)
        self.bottom: list[int] = [0] + [b[0].start if b else 0 for b in boxes]
        self.top: list[int] = [0] + [b[0].stop if b else 0 for b in boxes]
        self.rise = float(pitch[0])
        self.children: list[tuple[int, int] | None] = [None] * self.leaves
        self.parent = [0] * self.leaves
        self.score = [0.0] * self.leaves
        self.borders: list[dict[int, tuple[float, float, float]]] = [{} for _ in range(self.leaves)]
        self._find_borders(basins, gradient, pitch)
        self._merge_all()

    def _find_borders(
        self, basins: NDArray[np.int32], gradient: NDArray[np.float32], pitch: NDArray[np.float64]
    ) -> None:
        codes, slopes, areas, sides = [], [], [], []
        for axis in range(3):
            lower = tuple(slice(None, -1) if i == axis else slice(None) for i in range(3))
            upper = tuple(slice(1, None) if i == axis else slice(None) for i in range(3))
            at = np.nonzero(basins[lower] != basins[upper])
            one, other = basins[lower][at].astype(np.int64), basins[upper][at].astype(np.int64)
            codes.append(np.minimum(one, other) * self.leaves + np.maximum(one, other))
            slopes.append(np.maximum(gradient[lower][at], gradient[upper][at]))
            areas.append(np.full(len(one), np.prod(pitch) / pitch[axis]))
            sides.append(areas[-1] if axis > 0 else np.zeros(len(one)))
        pairs, inverse = np.unique(np.concatenate(codes), return_inverse=True)
        area = np.concatenate(areas)
        columns = (np.concatenate(slopes) * area, area, np.concatenate(sides))
        sums = np.stack([np.bincount(inverse, column) for column in columns], axis=1)
        for pair, row in zip(pairs.tolist(), sums.tolist(), strict=True):
            a, b = divmod(pair, self.leaves)
            self.borders[a][b] = self.borders[b][a] = (row[0], row[1], row[2])

    def _step(self, a: int, b: int) -> float:
        """Difference of the means, HU; against the outside as good as any border gets."""
        if a == 0 or b == 0:
            return 100.0
        return min(100.0, abs(self.mass[a] / self.volume[a] - self.mass[b] / self.volume[b]))

    def _dissimilarity(self, a: int, b: int) -> float:
        slope, area, _ = self.borders[a][b]
        # Crumbs merge early: they are noise more often than structures.
        crumb = min(1.0, (min(self.volume[a], self.volume[b]) / 3000.0)) ** 0.4
        return crumb * (
            self.slope_share * slope / area * self.reach + (1 - self.slope_share) * self._step(a, b)
        )

    def _merge_all(self) -> None:
        heap = [
            (self._dissimilarity(a, b), a, b) for a in range(1, self.leaves) for b in self.borders[a] if a < b
        ]
        heapq.heapify(heap)
        gone = [False] * self.leaves
        while heap:
            _, a, b = heapq.heappop(heap)
            if gone[a] or gone[b] or self.volume[a] + self.volume[b] > self.largest:
                continue
            new = len(self.volume)
            for node in (a, b):
                self.score[node] = self._contrast(node)  # now, when its neighbours are as large as they get
                self.parent[node] = new
                gone[node] = True
            gone.append(False)
            for series in (self.volume, self.mass, self.square):
                series.append(series[a] + series[b])
            self.bottom.append(min(self.bottom[a], self.bottom[b]))
            self.top.append(max(self.top[a], self.top[b]))
            self.children.append((a, b))
            self.parent.append(0)
            self.score.append(0.0)
            border: dict[int, tuple[float, float, float]] = {}
            for part in (a, b):
                for other, faces in self.borders[part].items():
                    if other != a and other != b:
                        known = border.get(other, (0.0, 0.0, 0.0))
                        border[other] = (known[0] + faces[0], known[1] + faces[1], known[2] + faces[2])
                        del self.borders[other][part]
                self.borders[part] = {}
            self.borders.append(border)
            for other, shared in border.items():
                self.borders[other][new] = shared
                if other:
                    heapq.heappush(heap, (self._dissimilarity(new, other), new, other))
        for node in range(1, len(gone)):
            if not gone[node]:
                self.score[node] = self._contrast(node)

    def _contrast(self, node: int) -> float:
        """How much it differs from its neighbours against its own spread, and how tidy its outlines are."""
        volume, border = self.volume[node], self.borders[node]
        span = self.top[node] - self.bottom[node]
        area = sum(faces[1] for faces in border.values())
        if area == 0 or volume < self.smallest or span < self.slices:
            return -np.inf
        step = sum(faces[1] * self._step(node, other) for other, faces in border.items()) / area
        mean = self.mass[node] / volume
        spread = max(0.0, self.square[node] / volume - mean * mean) ** 0.5
        side = sum(faces[2] for faces in border.values())
        # 1 for an upright cylinder of any length (a voxel outline is 4/pi too long).
        tidy = min(1.0, 4 * np.pi * volume * span * self.rise / max(side * np.pi / 4, 1e-6) ** 2)
        return float(np.log(step + 1.0) - np.log(spread + 10.0) + 0.7 * np.log(tidy + 0.02))

    def cut(self, *, picks: int, temperature: float, rng: np.random.Generator) -> NDArray[np.int32]:
        """Basin -> region, (leaves,) int32: up to ``picks`` disjoint nodes, each best near a drawn volume."""
        score, parent = np.asarray(self.score), np.asarray(self.parent)
        score[0] = -np.inf
        log_volume = np.log(np.maximum(np.asarray(self.volume), 1.0))
        score = score + temperature * rng.gumbel(size=len(score))
        lookup = np.zeros(self.leaves, dtype=np.int32)
        for count in range(1, picks + 1):
            wanted = rng.uniform(np.log(2 * self.smallest), np.log(0.5 * self.largest))
            node = int(np.argmax(score - 0.8 * np.abs(log_volume - wanted)))
            if score[node] == -np.inf:
                break
            up = node
            while up:
                score[up] = -np.inf
                up = int(parent[up])
            stack = [node]
            while stack:
                at = stack.pop()
                score[at] = -np.inf
                pair = self.children[at]
                if pair is None:
                    lookup[at] = count
                else:
                    stack.extend(pair)
        return lookup
