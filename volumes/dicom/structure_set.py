"""A label map as RTSTRUCT: one region of interest a label, contours on the slices of the source series (PS3.3 A.19)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from volumes.dicom.codes import TEXT, short_text, snomed_of, type_item
from volumes.dicom.contours import Contour, outlines
from volumes.dicom.equipment import MANUFACTURER, SERIES_NUMBER, UTF8, DicomOptions, new_uid, software_version
from volumes.dicom.extra import load_pydicom
from volumes.dicom.source import DicomSource
from volumes.label_map import LabelMap
from volumes.labels import Label

if TYPE_CHECKING:
    from pydicom import Dataset

CONTOUR_DATA = 0x30060050
STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"  # what the standard names for a study, although it is retired


def write_structure_set(labels: LabelMap, source: DicomSource, target: Path, options: DicomOptions) -> None:
    """Write the labels that occur, over whatever is at `target`.

    Raises:
        InputError: pydicom is not installed.
        OSError: the disk does not allow it.
    """
    pydicom = load_pydicom(target)
    dataset = _header(source)
    planes = labels.geometry.file_view(labels.array)
    table = labels.table.covering(labels.present())
    names, drawn, observations = [], [], []
    for value in labels.present():
        label = table[value]
        names.append(_region(label, source, options))
        contours = []
        for index, plane in enumerate(planes):
            if (mask := plane == value).any():
                contours += [_contour(one, index, source) for one in outlines(mask)]
        item = pydicom.Dataset()
        item.ROIDisplayColor = list(label.color)
        item.ContourSequence = contours
        item.ReferencedROINumber = value
        drawn.append(item)
        observations.append(_observation(label))
    dataset.StructureSetROISequence = names
    dataset.ROIContourSequence = drawn
    dataset.RTROIObservationsSequence = observations
    dataset.save_as(target, enforce_file_format=True)


def _header(source: DicomSource) -> Dataset:
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    # With explicit VR a contour could have no more than 64 kB, which an outline with many holes exceeds.
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.SpecificCharacterSet = UTF8
    dataset.SOPClassUID = STORAGE
    dataset.SOPInstanceUID = new_uid()
    dataset.Modality = "RTSTRUCT"
    for keyword, text in source.decoded_study().items():
        setattr(dataset, keyword, text)
    dataset.ReferringPhysicianName = None
    dataset.StudyInstanceUID = source.study_uid
    dataset.SeriesInstanceUID = new_uid()
    dataset.SeriesNumber = SERIES_NUMBER
    dataset.SeriesDescription = "Keyslice structures"
    dataset.OperatorsName = None
    dataset.InstanceNumber = 1
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = MANUFACTURER
    dataset.SoftwareVersions = software_version()
    now = datetime.now()
    dataset.StructureSetLabel = "KEYSLICE"
    dataset.StructureSetDate = now.strftime("%Y%m%d")
    dataset.StructureSetTime = now.strftime("%H%M%S")
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.FrameOfReferenceUID = source.frame_of_reference_uid
    dataset.PositionReferenceIndicator = None
    dataset.ReferencedFrameOfReferenceSequence = [_referenced_frame(source)]
    return dataset


def _referenced_frame(source: DicomSource) -> Dataset:
    from pydicom import Dataset

    series = Dataset()
    series.SeriesInstanceUID = source.series_uid
    if source.frames is None:
        series.ContourImageSequence = [_image(source, index) for index in range(len(source.instances))]
    else:
        whole = _image(source, 0)
        del whole.ReferencedFrameNumber
        series.ContourImageSequence = [whole]
    study = Dataset()
    study.ReferencedSOPClassUID = _STUDY_CLASS
    study.ReferencedSOPInstanceUID = source.study_uid
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = source.frame_of_reference_uid
    frame.RTReferencedStudySequence = [study]
    return frame


def _image(source: DicomSource, index: int) -> Dataset:
    from pydicom import Dataset

    image = Dataset()
    image.ReferencedSOPClassUID = source.sop_class_uid
    image.ReferencedSOPInstanceUID = source.instances[index]
    if source.frames is not None:
        image.ReferencedFrameNumber = source.frames[index]
    return image


def _region(label: Label, source: DicomSource, options: DicomOptions) -> Dataset:
    from pydicom import Dataset

    region = Dataset()
    region.ROINumber = label.value
    region.ReferencedFrameOfReferenceUID = source.frame_of_reference_uid
    region.ROIName = short_text(label.name)
    if len(label.name) > TEXT:
        region.ROIDescription = label.name
    region.ROIGenerationAlgorithm = options.made
    return region


def _observation(label: Label) -> Dataset:
    from pydicom import Dataset

    known = snomed_of(label)
    observation = Dataset()
    observation.ObservationNumber = label.value
    observation.ReferencedROINumber = label.value
    observation.RTROIInterpretedType = "ORGAN" if known is not None and known.category == "anatomy" else ""
    observation.ROIInterpreter = None
    if known is not None:
        observation.RTROIIdentificationCodeSequence = [type_item(label)]
    return observation


def _contour(contour: Contour, index: int, source: DicomSource) -> Dataset:
    from pydicom import Dataset
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import BaseTag

    item = Dataset()
    item.ContourImageSequence = [_image(source, index)]
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.NumberOfContourPoints = len(contour)
    # 0.1 um: far below what half-way between pixel centres can be off, and at most 16 characters a number.
    text = "\\".join(f"{value:.4f}" for value in _positions(contour, index, source).ravel())
    value = text.encode() + b" " * (len(text) % 2)
    # As it is stored: pydicom would hold an object of half a kilobyte for each number.
    item[CONTOUR_DATA] = RawDataElement(BaseTag(CONTOUR_DATA), "DS", len(value), value, 0, True, True)
    return item


def _positions(contour: Contour, index: int, source: DicomSource) -> npt.NDArray[np.float64]:
    """Points (N, 3) in mm of a contour (N, 2) on a slice (PS3.3 C.7.6.2.1.1)."""
    along_row, along_column = np.reshape(source.orientation, (2, 3))
    row_mm, column_mm = source.pixel_spacing
    rows, columns = contour[:, :1], contour[:, 1:]
    return source.positions[index] + columns * column_mm * along_row + rows * row_mm * along_column
