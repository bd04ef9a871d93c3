"""Keeps the C libraries under SimpleITK from writing to the terminal.

They print warnings of their own for a bad file (nifticlib, MetaIO and GDCM straight to the file
descriptor), beside the one line that Keyslice gives.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import SimpleITK as sitk

_lock = threading.RLock()  # the descriptor and ITK's switch belong to the whole process


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Discard what is written to the standard error descriptor while a file is read or written."""
    with _lock:
        shown = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            saved = os.dup(2)
        except OSError:  # started without a standard error
            saved = None
        try:
            if saved is not None:
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, 2)
                os.close(null)
            yield
        finally:
            if saved is not None:
                os.dup2(saved, 2)
                os.close(saved)
            sitk.ProcessObject.SetGlobalWarningDisplay(shown)
