"""Where training samples come from: labelled volumes, and regions grown from volumes without labels.

Batch `b` of a run is a function of the seed, the rank and `b` alone, so a run that was killed goes on with the
very samples that it would have seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from propagation_module.augmentation import Augmenter
from propagation_module.regions import grow_regions
from propagation_module.triplets import Case, SampleSettings, Structure, draw_sample
from volumes.errors import InputError
from volumes.fingerprints import fingerprint
from volumes.formats import case_name, read_label_map, read_volume
from volumes.image_files import suffix_of


@dataclass(frozen=True)
class Source:
    """Volumes to draw samples from.

    Args:
        images: glob below the data folder.
        labels: path below the data folder, `{case}` standing for the image's case name; None without labels.
        weight: how often the labelled structures are drawn, against the other sources.
        regions: the same for regions grown from the images (self-supervision).
        exclude: case names to leave out, or patterns of them (`HN_19*`).
    """

    images: str
    labels: str | None = None
    weight: float = 1.0
    regions: float = 0.0
    exclude: Sequence[str] = field(default_factory=tuple)


NNUNET_RAW = Source(images="imagesTr/*_0000.*", labels="labelsTr/{case}{suffix}", weight=0.8, regions=0.2)


def training_name(path: Path) -> str:
    """`HN_001_0000.nii.gz` -> `HN_001`; an image named `ct` takes its folder's name."""
    name = case_name(path).removesuffix("_0000")
    return path.parent.name if name == "ct" else name


def _excluded(name: str, source: Source) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in source.exclude)


@dataclass(frozen=True)
class Pool:
    """Cases drawn from with one weight."""

    weight: float
    cases: list[Case]


def load_pools(root: Path, sources: Sequence[Source], cache: Path, seed: int) -> list[Pool]:
    """Every source's volumes, in memory (3 bytes a voxel). Regions are grown once and kept in `cache`.

    Raises:
        InputError: a source matches no file, a label file is missing or does not fit its image.
    """
    pools = []
    for source in sources:
        paths = volumes_of(root, source)
        labelled, grown = [], []
        for path in paths:
            volume = read_volume(path)
            name = training_name(path)
            if source.labels is not None and source.weight > 0:
                label_path = labels_of(root, source, path)
                labels = read_label_map(label_path, like=volume).array
                labelled.append(Case(name, volume.array, labels, volume.spacing))
            if source.regions > 0:
                regions = _regions(volume.array, volume.spacing, path, cache, seed)
                grown.append(Case(name, volume.array, regions, volume.spacing))
        pools += [
            Pool(weight, [c for c in cases if c.structures])
            for weight, cases in ((source.weight, labelled), (source.regions, grown))
            if any(c.structures for c in cases)
        ]
    return pools


def volumes_of(root: Path, source: Source) -> list[Path]:
    """The images of a source below `root`, sorted.

    Raises:
        InputError: it matches no file.
    """
    paths = [p for p in sorted(root.glob(source.images)) if not _excluded(training_name(p), source)]
    if not paths:
        raise InputError(
            root / source.images,
            found="no file",
            expected="volumes to train on",
            fix="point --data at the folder that the configuration's training.data paths start from",
        )
    return paths


def labels_of(root: Path, source: Source, image: Path) -> Path:
    """Where the labels of an image of a source that has labels are."""
    assert source.labels is not None
    return root / source.labels.format(case=training_name(image), suffix=suffix_of(image))


def made_with(root: Path, sources: Sequence[Source]) -> dict[str, dict[str, str]]:
    """The files of all sources below `root`, each with its `fingerprint`, for the record of a run.

    Raises:
        InputError: a source matches no file.
    """
    found = {}
    for number, source in enumerate(sources):
        images = volumes_of(root, source)
        used = source.labels is not None and source.weight > 0
        files = [*images, *(labels_of(root, source, image) for image in images if used)]
        prints = {str(one.relative_to(root)): fingerprint(one) for one in files if one.is_file()}
        found[f"source {number + 1}"] = prints
    return found


def _regions(
    image: NDArray, spacing: tuple[float, float, float], path: Path, cache: Path, seed: int
) -> NDArray[np.uint8]:
    digest = hashlib.sha256(image.tobytes() + repr((spacing, seed)).encode()).hexdigest()[:16]
    kept = cache / f"{training_name(path)}-{digest}.npz"
    if kept.exists():
        return np.load(kept, allow_pickle=False)["regions"]
    regions = grow_regions(image, spacing, seed=seed)
    cache.mkdir(parents=True, exist_ok=True)
    half_written = kept.with_suffix(".part.npz")
    np.savez_compressed(half_written, regions=regions)
    half_written.replace(kept)
    return regions


def jump_at(curriculum: Sequence[tuple[float, int]], progress: float) -> int:
    """The longest jump, in slices, at `progress` (0..1) of a run; `curriculum` holds (from, jump) in order."""
    jump = curriculum[0][1]
    for start, value in curriculum:
        if progress >= start:
            jump = value
    return jump


class SampleStream(IterableDataset[dict[str, Tensor]]):
    """Batches without end, from batch `start` on."""

    def __init__(
        self,
        pools: Sequence[Pool],
        *,
        settings: SampleSettings,
        curriculum: Sequence[tuple[float, int]],
        batch_size: int,
        steps: int,
        seed: int,
        strength: float,
        start: int = 0,
        rank: int = 0,
    ) -> None:
        self.pools, self.settings, self.curriculum = list(pools), settings, curriculum
        self.batch_size, self.steps, self.seed, self.start, self.rank = batch_size, steps, seed, start, rank
        self.augment = Augmenter(strength=strength, seed=seed)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        index = self.start + offset
        while True:
            yield self.batch(index)
            index += stride

    def batch(self, index: int) -> dict[str, Tensor]:
        """Batch `index`: every entry of `draw_sample` stacked."""
        jump = jump_at(self.curriculum, index / max(1, self.steps))
        samples = [self._sample(index, item, jump) for item in range(self.batch_size)]
        return {name: torch.from_numpy(np.stack([s[name] for s in samples])) for name in samples[0]}

    def _sample(self, index: int, item: int, jump: int) -> dict[str, NDArray]:
        rng = np.random.default_rng((self.seed, self.rank, index, item))
        case, structure = self.draw(rng)
        return draw_sample(rng, case, structure, jump=jump, settings=self.settings, augment=self.augment)

    def draw(self, rng: np.random.Generator) -> tuple[Case, Structure]:
        """A pool by its weight, any of its cases, and a structure of it: thin ones more often, if so set."""
        weights = np.array([pool.weight for pool in self.pools])
        pool = self.pools[int(rng.choice(len(self.pools), p=weights / weights.sum()))]
        case = pool.cases[int(rng.integers(len(pool.cases)))]
        chances = np.array([self.settings.thin if s.thin else 1.0 for s in case.structures])
        return case, case.structures[int(rng.choice(len(chances), p=chances / chances.sum()))]


def loader(stream: SampleStream, workers: int) -> DataLoader:
    """Batches in order, made by `workers` processes beside the training loop (0: within it)."""
    return DataLoader(
        stream, batch_size=None, num_workers=workers, persistent_workers=False, prefetch_factor=4 if workers else None
    )
