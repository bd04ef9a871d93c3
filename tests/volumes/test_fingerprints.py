"""What tells files of one name apart."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

from volumes.fingerprints import fingerprint


def write(path: Path, content: bytes, changed: int) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (changed, changed))
    return fingerprint(path)


def test_a_packed_file_is_told_by_what_is_in_it(tmp_path: Path) -> None:
    one, other = (gzip.compress(bytes([value]) * 1000, mtime=0) for value in (1, 2))
    assert len(one) == len(other)
    first = write(tmp_path / "a" / "ct.nii.gz", one, 1000)
    assert write(tmp_path / "b" / "ct.nii.gz", one, 2000) == first, "a copy is the same"
    assert write(tmp_path / "c" / "ct.nii.gz", other, 1000) != first
    assert write(tmp_path / "c" / "other.nii.gz", one, 1000) != first


def test_any_other_file_is_told_by_its_size_and_last_change(tmp_path: Path) -> None:
    first = write(tmp_path / "ct.nrrd", b"123", 1000)
    assert write(tmp_path / "ct.nrrd", b"456", 1000) == first
    assert write(tmp_path / "ct.nrrd", b"456", 2000) != first
    assert write(tmp_path / "ct.nrrd", b"4567", 1000) != first
