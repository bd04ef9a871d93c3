"""A picture of a labelled volume: axial slices and views along it, labels in colour, key slices framed.

Radiological convention: the patient's right is on the left of the picture, anterior (axial) and superior
(coronal, sagittal) on top; the sagittal view looks from the patient's left. Axial slices run from superior to
inferior, like the views beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from tools.files import whole_file
from tools.overlay import color_lookup, paint
from volumes.label_map import LabelMap
from volumes.volume import Volume

Color = tuple[int, int, int]

COLUMNS = 4
ROWS = 3
KEYS_SHOWN = 4  # of the COLUMNS * ROWS tiles, so that most of the picture is what was propagated
TILE_WIDTH = 300  # pixels
VIEW_WIDTH = 420  # pixels of the coronal and sagittal view, at most
GAP = 10
MARGIN = 24

BACKGROUND: Color = (17, 19, 23)
TEXT: Color = (232, 234, 237)
FAINT: Color = (150, 156, 165)
KEY: Color = (255, 205, 64)

LEGEND_COLUMN = 180, 320  # pixels, at least and at most: as the longest name needs
LEGEND_LINE = 24
LEGEND_MOST = 120  # entries; more are counted in the last one


@dataclass(frozen=True)
class _Box:
    """Part of the axial plane that holds the patient, in voxels, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int


def write_montage(path: Path, volume: Volume, labels: LabelMap, key_slices: Sequence[int]) -> None:
    """Draw the montage and write it as PNG, whole or not at all."""
    picture = draw_montage(volume, labels, key_slices)
    with whole_file(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)


def draw_montage(volume: Volume, labels: LabelMap, key_slices: Sequence[int]) -> Image.Image:
    """The montage as an RGB image.

    Args:
        volume: the CT.
        labels: its labels, on the same grid.
        key_slices: slices that were given, framed in the picture.
    """
    box = _body(volume)
    keys = frozenset(key_slices)
    tiles = choose_slices(labels.array, sorted(keys))
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    spacing = volume.spacing
    height_mm, width_mm = (box.bottom - box.top) * spacing[1], (box.right - box.left) * spacing[2]
    tile = (
        TILE_WIDTH,
        int(np.clip(round(TILE_WIDTH * height_mm / width_mm), TILE_WIDTH // 2, 2 * TILE_WIDTH)),
    )
    grid_height = rows * (tile[1] + GAP) - GAP

    views, cut = _views(volume, labels, box, keys, grid_height)
    left = 2 * MARGIN + max(view.width for view in views)
    width = left + columns * (tile[0] + GAP) - GAP + MARGIN
    head = MARGIN + 46
    legend = _legend(labels, width - 2 * MARGIN)
    picture = Image.new("RGB", (width, head + grid_height + MARGIN + legend.height + MARGIN), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    _header(draw, volume, labels, keys, width)
    y = head
    for view in views:
        picture.paste(view, (MARGIN, y))
        y += view.height + GAP
    for index, z in enumerate(tiles):
        image = _axial(volume, labels, z, box, tile)
        x, y = left + index % columns * (tile[0] + GAP), head + index // columns * (tile[1] + GAP)
        picture.paste(image, (x, y))
        line = y + round((cut + 0.5 - box.top) / (box.bottom - box.top) * tile[1])
        _mark_tile(draw, (x, y), tile, z, z in keys, line)
    picture.paste(legend, (MARGIN, head + grid_height + MARGIN))
    return picture


def choose_slices(labels: npt.NDArray[np.uint8], key_slices: Sequence[int]) -> list[int]:
    """Slices to show, from superior to inferior: some key slices, and others spread evenly between them.

    Args:
        labels: uint8 `(D, H, W)`.
        key_slices: sorted.
    """
    labelled = {z for z, plane in enumerate(labels) if plane.any()} | set(key_slices)
    low, high = (min(labelled), max(labelled)) if labelled else (0, len(labels) - 1)
    shown = _evenly(list(key_slices), KEYS_SHOWN)
    free = [z for z in range(low, high + 1) if z not in set(key_slices)]
    marks = [low - 1, *shown, high + 1]
    gaps = [[z for z in free if a < z < b] for a, b in pairwise(marks)]
    counts = [0] * len(gaps)
    for _ in range(COLUMNS * ROWS - len(shown)):  # one more for the gap whose slices lie furthest apart
        open_gaps = [i for i, gap in enumerate(gaps) if counts[i] < len(gap)]
        if open_gaps:
            counts[max(open_gaps, key=lambda i: (marks[i + 1] - marks[i]) / (counts[i] + 1))] += 1
    for gap, count in zip(gaps, counts, strict=True):
        shown = shown + _evenly(gap, count)
    missing = COLUMNS * ROWS - len(shown)
    rest = sorted(set(key_slices) - set(shown))
    return sorted(shown + _evenly(rest, missing), reverse=True)


def _evenly(values: list[int], count: int) -> list[int]:
    """At most `count` of the values, in the middle of as many equal parts."""
    if len(values) <= count:
        return values
    return [values[int((i + 0.5) * len(values) / count)] for i in range(count)]


def _body(volume: Volume) -> _Box:
    """Bounding box over all slices of what is denser than air, with a small margin.

    From a few slices: the box is only for cropping the picture.
    """
    depth, height, width = volume.shape
    some = volume.array[:: max(1, depth // 24)]
    dense = (some > -400).sum(0) >= max(1, len(some) // 12)
    if not dense.any():
        return _Box(0, height, 0, width)
    # The largest piece: the couch is dense as well.
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(dense.astype(np.uint8))
    dense = pieces == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    rows, columns = np.flatnonzero(dense.any(1)), np.flatnonzero(dense.any(0))
    pad_y, pad_x = (max(1, round(8 / s)) for s in volume.spacing[1:])
    return _Box(
        max(0, int(rows[0]) - pad_y),
        min(height, int(rows[-1]) + 1 + pad_y),
        max(0, int(columns[0]) - pad_x),
        min(width, int(columns[-1]) + 1 + pad_x),
    )


def _axial(volume: Volume, labels: LabelMap, z: int, box: _Box, size: tuple[int, int]) -> Image.Image:
    window = np.s_[z, box.top : box.bottom, box.left : box.right]
    return paint(volume.array[window], labels.array[window], color_lookup(labels.table), size)


def _views(
    volume: Volume, labels: LabelMap, box: _Box, keys: frozenset[int], height: int
) -> tuple[list[Image.Image], int]:
    """The coronal view, the sagittal one below it where there is room, and the row `y` of the coronal one."""
    y = _busiest(labels.array, 1, range(box.top, box.bottom))
    x = _busiest(labels.array, 2, range(box.left, box.right))
    spacing = volume.spacing
    depth_mm = volume.shape[0] * spacing[0]
    widths_mm = (box.right - box.left) * spacing[2], (box.bottom - box.top) * spacing[1]
    scale = min(height / depth_mm, VIEW_WIDTH / widths_mm[0])
    planes: dict[str, tuple[int | slice, ...]] = {"coronal": np.s_[::-1, y, box.left : box.right]}
    if depth_mm * scale <= 0.6 * height:
        scale = min((height - GAP) / 2 / depth_mm, VIEW_WIDTH / max(widths_mm))
        planes["sagittal"] = np.s_[::-1, box.top : box.bottom, x]
    views = []
    for (name, plane), width_mm in zip(planes.items(), widths_mm, strict=False):
        size = max(8, round(width_mm * scale)), max(8, round(depth_mm * scale))
        image = paint(volume.array[plane], labels.array[plane], color_lookup(labels.table), size)
        draw = ImageDraw.Draw(image)
        for z in keys:
            line = round((volume.shape[0] - 0.5 - z) / volume.shape[0] * size[1])
            draw.line([(0, line), (9, line)], fill=KEY, width=2)
            draw.line([(size[0] - 10, line), (size[0] - 1, line)], fill=KEY, width=2)
        _write_on(draw, (14, 7), name, _font(15), TEXT)
        views.append(image)
    return views, y


def _busiest(labels: npt.NDArray[np.uint8], axis: int, positions: range) -> int:
    """Where to cut across `axis` to see most: the greatest sum over structures of the root of their area."""
    best, best_score = positions[len(positions) // 2], 0.0
    for position in positions[:: max(1, len(positions) // 48)]:
        areas = np.bincount(labels.take(position, axis).ravel(), minlength=256)[1:]
        score = float(np.sqrt(areas).sum())
        if score > best_score:
            best, best_score = position, score
    return best


def _header(
    draw: ImageDraw.ImageDraw, volume: Volume, labels: LabelMap, keys: frozenset[int], width: int
) -> None:
    draw.text((MARGIN, MARGIN - 4), _shorten(volume.name, 60), font=_font(24, bold=True), fill=TEXT)
    count = len(labels.present())
    facts = (
        f"{count} structure{'' if count == 1 else 's'}   {volume.shape[0]} slices of "
        f"{volume.spacing[0]:.3g} mm   {len(keys)} key slice{'' if len(keys) == 1 else 's'}"
    )
    right = width - MARGIN
    draw.text((right, MARGIN + 14), facts, font=_font(16), fill=FAINT, anchor="rm")
    start = right - draw.textlength(facts, font=_font(16)) - 30
    draw.rectangle([start, MARGIN + 5, start + 18, MARGIN + 22], outline=KEY, width=3)


def _mark_tile(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], size: tuple[int, int], z: int, is_key: bool, cut: int
) -> None:
    """Slice number, sides, frame of a key slice, and ticks where the coronal view cuts (`cut`, in pixels)."""
    x, y = at
    if y < cut < y + size[1]:
        draw.line([(x, cut), (x + 5, cut)], fill=FAINT)
        draw.line([(x + size[0] - 6, cut), (x + size[0] - 1, cut)], fill=FAINT)
    _write_on(draw, (x + 10, y + 7), f"z {z}", _font(16, bold=is_key), KEY if is_key else TEXT)
    middle = y + size[1] // 2
    _write_on(draw, (x + 8, middle), "R", _font(13), FAINT, "lm")
    _write_on(draw, (x + size[0] - 8, middle), "L", _font(13), FAINT, "rm")
    if is_key:
        draw.rectangle([x, y, x + size[0] - 1, y + size[1] - 1], outline=KEY, width=3)


def _write_on(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    font: ImageFont.FreeTypeFont,
    color: Color,
    anchor: str = "la",
) -> None:
    """Text that is legible on any CT: with a dark outline."""
    draw.text(at, text, font=font, fill=color, anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def _legend(labels: LabelMap, width: int) -> Image.Image:
    """Colour and name of every structure that occurs, in columns read downwards."""
    present = labels.present()
    colors = color_lookup(labels.table).astype(int)
    entries = [(tuple(colors[v].tolist()), labels.table.name_of(v)) for v in present[:LEGEND_MOST]]
    if len(present) > LEGEND_MOST:
        entries.append((BACKGROUND, f"and {len(present) - LEGEND_MOST} more"))
    if not entries:
        entries = [(BACKGROUND, "no structure in this label map")]
    longest = max(_font(15).getlength(name) for _, name in entries) + 24 + MARGIN
    columns = max(1, min(int(width / np.clip(longest, *LEGEND_COLUMN)), len(entries)))
    lines = -(-len(entries) // columns)
    image = Image.new("RGB", (width, lines * LEGEND_LINE), BACKGROUND)
    draw = ImageDraw.Draw(image)
    for index, (color, name) in enumerate(entries):
        x, y = index // lines * (width // columns), index % lines * LEGEND_LINE
        draw.rounded_rectangle([x, y + 4, x + 15, y + 19], radius=4, fill=color)
        draw.text((x + 24, y + 12), _shorten(name, 34), font=_font(15), fill=TEXT, anchor="lm")
    return image


def _shorten(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


@lru_cache(maxsize=8)
def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which Matplotlib brings along: it has the letters that label names are written in."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)
