"""Series made with pydicom, in any orientation, classic or enhanced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from tests.volumes.dicom.orders import different_values

SPACING = (2.5, 0.75, 0.8)
CLASSIC, ENHANCED = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"


class SeriesWriter:
    """Writes series into one folder each, all of one patient and frame of reference."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.study, self.frame_of_reference = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()

    def classic(
        self,
        array: np.ndarray | None = None,
        *,
        row: tuple[float, ...] = (1, 0, 0),
        column: tuple[float, ...] = (0, 1, 0),
        spacing: tuple[float, float, float] = SPACING,
        heights: list[float] | None = None,
        reverse: bool = False,
        folder: str = "ct",
        **attributes: Any,
    ) -> Path:
        """One file a slice, slices in rising order along the normal; `reverse` numbers and names them from the end."""
        array = different_values() if array is None else array
        series = pydicom.uid.generate_uid()
        target = self.root / folder
        target.mkdir(parents=True, exist_ok=True)
        steps = heights or [spacing[0] * k for k in range(len(array))]
        for index, (plane, height) in enumerate(zip(array, steps, strict=True)):
            number = len(array) - index if reverse else index + 1
            dataset = self._common(CLASSIC, series, plane.shape)
            dataset.InstanceNumber = number
            dataset.ImagePositionPatient = _numbers(self._position(row, column, height))
            dataset.ImageOrientationPatient = _numbers((*row, *column))
            dataset.PixelSpacing = list(spacing[1:])
            dataset.SliceThickness = spacing[0]
            dataset.RescaleIntercept, dataset.RescaleSlope = -1024, 1
            dataset.PixelData = (plane + 1024).astype(np.uint16).tobytes()
            for keyword, value in attributes.items():
                setattr(dataset, keyword, value)
            dataset.save_as(target / f"{number:04d}.dcm", enforce_file_format=True)
        return target

    def enhanced(
        self,
        array: np.ndarray | None = None,
        *,
        row: tuple[float, ...] = (1, 0, 0),
        column: tuple[float, ...] = (0, 1, 0),
        order: list[int] | None = None,
        heights: list[float] | None = None,
        scales: list[tuple[float, float]] | None = None,
        name: str = "enhanced.dcm",
    ) -> Path:
        """One file of frames, those of `order` (slices along the normal) one after the other.

        `scales` gives each frame a slope and an intercept of its own.
        """
        array = different_values() if array is None else array
        order = list(range(len(array))) if order is None else order
        steps = heights or [SPACING[0] * k for k in range(len(array))]
        dataset = self._common(ENHANCED, pydicom.uid.generate_uid(), array.shape[1:])
        dataset.NumberOfFrames = len(order)
        measures, orientation, scale, shared = (pydicom.Dataset() for _ in range(4))
        measures.PixelSpacing, measures.SliceThickness = list(SPACING[1:]), SPACING[0]
        orientation.ImageOrientationPatient = _numbers((*row, *column))
        scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = 2, -1024, "HU"
        shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
        if scales is None:
            shared.PixelValueTransformationSequence = [scale]
        dataset.SharedFunctionalGroupsSequence = [shared]
        groups = []
        for number, index in enumerate(order):
            place, group = pydicom.Dataset(), pydicom.Dataset()
            place.ImagePositionPatient = _numbers(self._position(row, column, steps[index]))
            group.PlanePositionSequence = [place]
            if scales is not None:
                own = pydicom.Dataset()
                own.RescaleSlope, own.RescaleIntercept, own.RescaleType = *scales[number], "HU"
                group.PixelValueTransformationSequence = [own]
            groups.append(group)
        dataset.PerFrameFunctionalGroupsSequence = groups
        dataset.PixelData = ((array[order].astype(np.int32) + 1024) // 2).astype(np.uint16).tobytes()
        path = self.root / name
        dataset.save_as(path, enforce_file_format=True)
        return path

    def _common(self, sop_class: str, series: str, shape: tuple[int, ...]) -> Any:
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, pydicom.uid.generate_uid()
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.Modality, dataset.SeriesNumber = "CT", 3
        dataset.PatientName, dataset.PatientID = "Müller^Jörg", "P 17"
        dataset.PatientBirthDate, dataset.PatientSex = "19700101", "M"
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20200102", "101112", "S1"
        dataset.AccessionNumber = "A1"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = self.study, series
        dataset.FrameOfReferenceUID = self.frame_of_reference
        dataset.Rows, dataset.Columns = shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
        return dataset

    @staticmethod
    def _position(row: tuple[float, ...], column: tuple[float, ...], height: float) -> np.ndarray:
        return np.array([-120.5, 33.25, -410.0]) + height * np.cross(row, column)


def _numbers(values: Any) -> list[Any]:
    return [pydicom.valuerep.DSfloat(float(value), auto_format=True) for value in values]
