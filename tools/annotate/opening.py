"""Open a case from the disk: its CT, its session folder, and what it begins with. May take seconds; any thread may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.annotate.automatic_start import available_models
from tools.annotate.document import Document
from tools.annotate.imports import as_key_slices, read_import
from tools.annotate.proposals import Proposals
from tools.annotate.store import Store, fingerprint
from tools.annotate.worklist import Entry, Summary, read_summary
from volumes.formats import read_volume
from volumes.labels import Color, LabelTable, distinct_color
from volumes.volume import Volume


@dataclass(frozen=True, eq=False)
class Opened:
    """What a case is made of.

    Attributes:
        volume: its CT.
        hu_range: lowest and highest voxel.
        store: of its session folder, which it holds until it is closed.
        document, proposals: as they were left.
        summary: for the work list.
    """

    entry: Entry
    volume: Volume
    hu_range: tuple[int, int]
    store: Store
    document: Document
    proposals: Proposals
    summary: Summary


def open_case(entry: Entry, table: LabelTable | None) -> Opened:
    """Open a case.

    Args:
        table: labels of a case that is new; None for one label without a name of its own.

    Raises:
        InputError: no CT, or a session folder that is another's or in use.
        OSError: the disk does not allow it.
    """
    volume = read_volume(entry.ct)
    available_models(())  # reads the files, here where nobody waits for the thread
    store = Store(entry.session, volume.shape, fingerprint(volume), name=volume.name)
    document = store.open(_first_labels(entry, table))
    try:
        new = document.revision == 0
        if entry.keys is not None and new:
            _begin_with(entry, volume, document, store)
        proposals = _proposals(store, volume, document)
        if entry.proposals is not None and new and not proposals.slices():
            _propose_first(entry.proposals, volume, document, store, proposals)
        return Opened(
            entry,
            volume,
            # Slice by slice: over all at once numpy takes as long, but another thread waits for it.
            (min(int(plane.min()) for plane in volume.array), max(int(plane.max()) for plane in volume.array)),
            store,
            document,
            proposals,
            read_summary(entry.session),
        )
    except BaseException:
        store.close()
        raise


def _first_labels(entry: Entry, table: LabelTable | None) -> Mapping[int, tuple[str, Color]]:
    """What a new case begins with: a label to paint with at least, unless labels come with the key slices."""
    if table is not None:
        return {value: (label.name, label.color) for value, label in table.items()}
    return {1: ("label_1", distinct_color(1))} if entry.keys is None and entry.proposals is None else {}


def _begin_with(entry: Entry, volume: Volume, document: Document, store: Store) -> None:
    """Key slices that were given on the command line, for a case in which nothing was done yet."""
    assert entry.keys is not None
    names = {value: label.name for value, label in document.labels.items()}
    imported = read_import(entry.keys, volume, names)
    labels = {value: (label.name, label.color) for value, label in imported.merge.new.items()}
    change = document.put_slices(as_key_slices(imported), f"key slices of {entry.keys.name}", labels)
    if change is not None:
        store.append(change)


def _propose_first(path: Path, volume: Volume, document: Document, store: Store, proposals: Proposals) -> None:
    """What a label map says, such as a result to be reviewed, until propagation says something else."""
    imported = read_import(path, volume, document.names)
    change = document.put_slices({}, f"labels of {path.name}", imported.merge.colors)
    if change is not None:
        store.append(change)
    labels = set(imported.merge.values.values())
    for z, mask in enumerate(imported.array):
        proposals.take_in(z, mask, labels)
    proposals.hand_over(document)
    store.save_proposals(proposals.saved(document.revision))


def _proposals(store: Store, volume: Volume, document: Document) -> Proposals:
    proposals = Proposals(volume.shape)
    saved = store.load_proposals()
    if saved is not None:
        proposals.owners = dict(saved.owners)
        for z, mask in enumerate(saved.labels):
            proposals.put(z, mask, {label: float(of[z]) for label, of in saved.confidence.items()})
    proposals.hand_over(document)
    return proposals
