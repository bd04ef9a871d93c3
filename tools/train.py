"""`keyslice train propagation`: from data and a configuration to weights."""

from __future__ import annotations

from pathlib import Path

from tools.devices import choose_device
from tools.files import check_writable_folder
from volumes.errors import InputError


def train_propagation_command(
    config: str,
    *,
    data: Path,
    out: Path,
    device: str,
    resume: bool,
    start_from: Path | None = None,
    settings: list[str],
    quiet: bool,
) -> int:
    """Train the network of a configuration; Lightning runs it, on every GPU that `--device cuda` finds.

    Args:
        config: a configuration that ships (`small`) or a YAML file.
        data: folder of the training data.
        out: folder of the run, made if it is not there.
        device: `auto`, `cpu`, `cuda` (all GPUs), `cuda:N` or `mps`.
        resume: go on with a run that stopped in `out`.
        start_from: weights that a new run begins with.
        settings: `key=value` entries that replace those of the configuration's training section.
        quiet: no progress bar.

    Raises:
        InputError: data, configuration, device or folder that cannot be used.
    """
    from propagation_module.training import train

    if not data.is_dir():
        raise InputError(
            data, found="no such folder", expected="the folder of the training data", fix="check --data"
        )
    choose_device(device)
    if not out.exists():
        out.mkdir(parents=True)
    check_writable_folder(out)
    weights = train(
        config,
        data=data,
        out=out,
        device=device,
        resume=resume,
        start_from=start_from,
        overrides=_overrides(settings),
        progress=not quiet,
    )
    if not quiet:
        print(weights)
    return 0


def _overrides(settings: list[str]) -> dict[str, object]:
    from omegaconf import OmegaConf

    for setting in settings:
        key, equals, _ = setting.partition("=")
        if not key or not equals:
            raise InputError(
                f"--set {setting}", found="no key=value", expected="such as steps=2000", fix="add the '='"
            )
    content = OmegaConf.to_container(OmegaConf.from_dotlist(settings))
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}
