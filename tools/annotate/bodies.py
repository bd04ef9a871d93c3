"""What a page may ask for: the JSON bodies of requests, field by field. What does not fit is answered with 422."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from tools.annotate.protocol import MOST_RUNS

Slice = Annotated[int, Field(ge=0, lt=1 << 20)]
Label = Annotated[int, Field(ge=1, le=255)]
Pixel = Annotated[int, Field(ge=0, lt=1 << 31)]
Runs = Annotated[list[Pixel], Field(max_length=2 * MOST_RUNS)]
Coordinate = Annotated[float, Field(ge=-1e5, le=1e5, allow_inf_nan=False)]
Hounsfield = Annotated[float, Field(ge=-32768, le=32767, allow_inf_nan=False)]
Color = Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3, max_length=3)]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Client = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class _Body(BaseModel):
    """What a page sends; any may say which page it is."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    client: Client | None = None


class FromClient(_Body):
    """What only the page that edits may ask for."""

    client: Client


class _Edit(FromClient):
    """An action. One that comes again under the same `id`, since its answer was lost, is not done twice."""

    id: Annotated[str | None, Field(min_length=1, max_length=64)] = None


class Paint(_Edit):
    action: Literal["paint"]
    z: Slice
    label: Label
    runs: Runs


class Erase(_Edit):
    action: Literal["erase"]
    z: Slice
    label: Label | None
    runs: Runs


class OfSlice(_Edit):
    action: Literal["accept", "reject", "clear"]
    z: Slice


class AcceptAll(_Edit):
    action: Literal["accept_all"]
    first: Annotated[Slice | None, Field(alias="from")] = None
    last: Annotated[Slice | None, Field(alias="to")] = None


class OfSliceAndLabel(_Edit):
    action: Literal["absent", "clear_label"]
    z: Slice
    label: Label


class Extent(_Edit):
    action: Literal["extent"]
    label: Label
    range: Annotated[list[Slice], Field(min_length=2, max_length=2)] | None


class AddLabel(_Edit):
    action: Literal["add_label"]
    name: Name
    color: Color | None = None


class RenameLabel(_Edit):
    action: Literal["rename_label"]
    value: Label
    name: Name


class RecolorLabel(_Edit):
    action: Literal["recolor_label"]
    value: Label
    color: Color


class ShowLabel(_Edit):
    action: Literal["visible"]
    value: Label
    visible: bool


class LockLabel(_Edit):
    action: Literal["lock"]
    value: Label
    locked: bool


class DeleteLabel(_Edit):
    action: Literal["delete_label"]
    value: Label


class Step(_Edit):
    action: Literal["undo", "redo"]


Edit = Annotated[
    Paint
    | Erase
    | OfSlice
    | AcceptAll
    | OfSliceAndLabel
    | Extent
    | AddLabel
    | RenameLabel
    | RecolorLabel
    | ShowLabel
    | LockLabel
    | DeleteLabel
    | Step,
    Field(discriminator="action"),
]


class Automatic(FromClient):
    model: Annotated[str, Field(min_length=1, max_length=64)]


class TakeOver(FromClient):
    take: Literal[True]


class Done(_Body):
    done: bool


class Export(_Body):
    kind: Literal["nifti", "seg_nrrd", "sparse", "dicom_seg", "rtstruct"]
    given_only: bool = False


class ImportPath(_Body):
    path: Annotated[str, Field(min_length=1, max_length=4096)]


Point = Annotated[list[Coordinate], Field(min_length=2, max_length=2)]
PixelPair = Annotated[list[Pixel], Field(min_length=2, max_length=2)]


class _Tool(_Body):
    z: Slice


class Wand(_Tool):
    tool: Literal["wand"]
    seed: PixelPair
    low: Hounsfield | None = None
    high: Hounsfield | None = None
    tolerance: Annotated[float, Field(ge=0, le=65535, allow_inf_nan=False)] | None = None
    max_radius: Annotated[float, Field(gt=0, le=1e5, allow_inf_nan=False)] | None = None


class Scribble(_Tool):
    tool: Literal["scribble"]
    inside: Runs
    outside: Runs


class Box(_Tool):
    """Top, left, bottom and right pixel, all inside."""

    tool: Literal["box"]
    box: Annotated[list[Pixel], Field(min_length=4, max_length=4)]


class Polygon(_Tool):
    tool: Literal["polygon"]
    points: Annotated[list[Point], Field(min_length=3, max_length=10_000)]


class Threshold(_Tool):
    tool: Literal["threshold"]
    runs: Runs
    low: Hounsfield
    high: Hounsfield


class Fill(_Tool):
    """The region around the seed in what is shown; it is the same whatever label is to fill it."""

    tool: Literal["fill"]
    label: Label | None = None
    seed: PixelPair


Assist = Annotated[Wand | Scribble | Box | Polygon | Threshold | Fill, Field(discriminator="tool")]
