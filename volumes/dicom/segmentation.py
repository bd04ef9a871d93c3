"""A label map as DICOM-SEG: one binary segment a label, on the slices of the source series (PS3.3 A.51)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from volumes.dicom.codes import PRIVATE_SCHEME, TEXT, category_item, short_text, snomed_of, type_item
from volumes.dicom.equipment import MANUFACTURER, SERIES_NUMBER, UTF8, DicomOptions, new_uid, software_version
from volumes.dicom.extra import load_highdicom
from volumes.dicom.source import DicomSource
from volumes.label_map import LabelMap
from volumes.labels import Label

if TYPE_CHECKING:
    from pydicom import Dataset

PRIVATE_GROUP, PRIVATE_CREATOR, LABEL_ELEMENT = 0x0063, "KEYSLICE", 0x01
"""Where a segment keeps its label's number: segments must be numbered 1, 2, ... without gaps."""


def write_segmentation(labels: LabelMap, source: DicomSource, target: Path, options: DicomOptions) -> None:
    """Write the labels that occur, over whatever is at `target`.

    Raises:
        InputError: highdicom is not installed.
        OSError: the disk does not allow it.
    """
    highdicom = load_highdicom(target)
    values = labels.present()
    table = labels.table.covering(values)
    lookup = np.zeros(256, np.uint8)
    lookup[list(values)] = np.arange(1, len(values) + 1)
    frames = _in_source_order(lookup[labels.geometry.file_view(labels.array)], source)
    schemes = None
    if any(snomed_of(table[value]) is None for value in values):
        schemes = [
            highdicom.coding_schemes.CodingSchemeIdentificationItem(PRIVATE_SCHEME, name="Names of labels in Keyslice")
        ]
    spacing = labels.geometry.spacing_xyz[2]
    dataset = highdicom.seg.Segmentation(
        source_images=_headers(source, spacing),
        pixel_array=frames,
        segmentation_type="BINARY",
        segment_descriptions=[
            _description(highdicom, number, table[value], options) for number, value in enumerate(values, 1)
        ],
        series_instance_uid=new_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=new_uid(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions=software_version(),
        device_serial_number="0",  # type 1, and software has none
        content_label="SEGMENTATION",
        content_description="Structures of a CT",
        series_description="Keyslice segmentation",
        omit_empty_frames=not options.empty_frames,
        pixel_measures=highdicom.PixelMeasuresSequence(
            pixel_spacing=source.pixel_spacing, slice_thickness=spacing, spacing_between_slices=spacing
        ),
        specific_character_set=UTF8,
        coding_schemes=schemes,
    )
    dataset.save_as(target)


def _in_source_order(planes: npt.NDArray[np.uint8], source: DicomSource) -> npt.NDArray[np.uint8]:
    """Planes (slices, rows, columns) in the order in which the source lists them."""
    if source.frames is None:
        return planes
    return planes[np.argsort(source.frames)]


def _headers(source: DicomSource, thickness: float) -> list[Dataset]:
    """Headers of the source with what a reference needs, which is all that can be copied from them."""
    from pydicom import Dataset
    from pydicom.valuerep import DSfloat

    def numbers(values: tuple[float, ...]) -> list[Any]:
        return [DSfloat(value, auto_format=True) for value in values]

    def common() -> Dataset:
        header = Dataset()
        header.SpecificCharacterSet = UTF8
        for keyword, text in source.decoded_study().items():
            setattr(header, keyword, text)
        header.StudyInstanceUID = source.study_uid
        header.SeriesInstanceUID = source.series_uid
        header.FrameOfReferenceUID = source.frame_of_reference_uid
        header.PositionReferenceIndicator = None
        header.SOPClassUID = source.sop_class_uid
        header.Modality = "CT"
        header.Rows, header.Columns = source.shape
        return header

    if source.frames is None:
        headers = []
        for instance, position in zip(source.instances, source.positions, strict=True):
            header = common()
            header.SOPInstanceUID = instance
            header.ImagePositionPatient = numbers(position)
            header.ImageOrientationPatient = numbers(source.orientation)
            header.PixelSpacing = numbers(source.pixel_spacing)
            header.SliceThickness = DSfloat(thickness, auto_format=True)
            headers.append(header)
        return headers
    header = common()
    header.SOPInstanceUID = source.instances[0]
    header.NumberOfFrames = len(source.frames)
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = numbers(source.orientation)
    measures.PixelSpacing = numbers(source.pixel_spacing)
    measures.SliceThickness = DSfloat(thickness, auto_format=True)
    shared.PlaneOrientationSequence = [orientation]
    shared.PixelMeasuresSequence = [measures]
    header.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for index in np.argsort(source.frames):
        place, group = Dataset(), Dataset()
        place.ImagePositionPatient = numbers(source.positions[index])
        group.PlanePositionSequence = [place]
        groups.append(group)
    header.PerFrameFunctionalGroupsSequence = groups
    return [header]


def _description(highdicom: Any, number: int, label: Label, options: DicomOptions) -> Dataset:
    algorithm = None
    if options.made != "MANUAL":
        from pydicom.sr.codedict import codes

        algorithm = highdicom.AlgorithmIdentificationSequence(
            name=MANUFACTURER, family=codes.DCM.ArtificialIntelligence, version=software_version()
        )
    kind = type_item(label)
    modifiers = kind.pop("SegmentedPropertyTypeModifierCodeSequence", None)
    item: Dataset = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=short_text(label.name),
        segmented_property_category=highdicom.sr.CodedConcept.from_dataset(category_item(label)),
        segmented_property_type=highdicom.sr.CodedConcept.from_dataset(kind),
        algorithm_type=options.made,
        algorithm_identification=algorithm,
        display_color=highdicom.color.CIELabColor.from_rgb(*label.color),
    )
    if modifiers is not None:
        item.SegmentedPropertyTypeCodeSequence[0].add(modifiers)
    if len(label.name) > TEXT:
        item.SegmentDescription = label.name
    item.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True).add_new(LABEL_ELEMENT, "US", label.value)
    return item
