"""DICOM in and out: a series as a volume, DICOM-SEG and RTSTRUCT as label maps.

Reading a classic series needs nothing but SimpleITK. Enhanced series and label maps need pydicom and highdicom,
which come with `keyslice[dicom]`.
"""
