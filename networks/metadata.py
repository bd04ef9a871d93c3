"""What a weights file says of itself beside its tensors; read without loading torch."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from volumes.errors import InputError


def read_metadata(path: str | Path) -> dict[str, str]:
    """What was saved beside the tensors of a `.safetensors` file.

    Raises:
        InputError: no such file, or not one of those.
    """
    path = Path(path)
    try:
        with safe_open(path, "np") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise bad_file(path, "no such file" if not path.exists() else "no safetensors file") from error


def bad_file(path: Path, found: str) -> InputError:
    """InputError for a file that holds no weights."""
    return InputError(
        path,
        found=found,
        expected="weights as .safetensors, or a .pth file with nothing but tensors",
        fix="check the path; save other checkpoints again with torch.save(network.state_dict(), path)",
    )
