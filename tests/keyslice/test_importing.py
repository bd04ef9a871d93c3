"""What `import keyslice` costs, offers, and does where a script has modules of the same names."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files as resources
from pathlib import Path

import pytest

import keyslice

ROOT = Path(keyslice.__file__).parents[1]


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.append({str(ROOT)!r})\n{code}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_importing_loads_nothing_heavy(tmp_path: Path) -> None:
    shown = python("import keyslice; print(sorted({'torch', 'numpy', 'SimpleITK'} & sys.modules.keys()))", tmp_path)
    assert shown.stdout == "[]\n", shown.stderr


def test_images_and_arrays_are_read_without_torch(tmp_path: Path) -> None:
    code = "import keyslice; keyslice.open, keyslice.propagate, keyslice.evaluate; print('torch' in sys.modules)"
    assert python(code, tmp_path).stdout == "False\n"


def test_every_name_is_there() -> None:
    assert set(keyslice.__all__) <= set(dir(keyslice))
    for name in keyslice.__all__:
        assert getattr(keyslice, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'segmnet'"):
        keyslice.segmnet  # type: ignore[attr-defined]  # noqa: B018


def test_a_module_of_the_same_name_beside_the_script_is_named(tmp_path: Path) -> None:
    (tmp_path / "volumes.py").write_text("")
    shown = python("import keyslice; keyslice.propagate", tmp_path)
    last = shown.stderr.splitlines()[-1]
    assert last.startswith("ImportError: package 'volumes' of Keyslice: found") and "rename" in last


@pytest.mark.parametrize("package", ["keyslice", "volumes", "propagation_module", "reference_module", "tools"])
def test_what_the_interface_gives_out_is_typed(package: str) -> None:
    assert resources(package).joinpath("py.typed").is_file()
