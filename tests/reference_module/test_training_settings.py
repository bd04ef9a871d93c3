"""Configurations of both trainings: each section known, each value in its range, or one line that says which is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cps.training import CrossSettings
from cps.training import read_whole as read_cps
from reference_module.training_settings import TrainingSettings, read_sections, read_whole
from volumes.errors import InputError

Write = Callable[..., Path]


def _changed(path: Path, **entries: Any) -> Path:
    """The configuration with entries replaced, or without those that are None."""
    content = {**yaml.safe_load(path.read_text(encoding="utf-8")), **entries}
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return path


def _refused(config: Path, told: str, overrides: dict[str, Any] | None = None, *, cps: bool = False) -> None:
    with pytest.raises(InputError, match=told) as error:
        whole = read_cps(config) if cps else read_whole(config)
        read_sections(whole, CrossSettings if cps else TrainingSettings, overrides, "tiny")
    assert "\n" not in str(error.value)


SECTIONS: list[tuple[dict[str, Any], str]] = [
    ({"name": None}, "no value for name"),
    ({"name": 5}, "name: found 5; expected text"),
    ({"name": "../tiny"}, "name: found '../tiny'"),
    ({"training": None}, "no value for training"),
    ({"training": 5}, "training: found 5; expected a section"),
    ({"training": [1, 2]}, "training: found a list; expected a section"),
    ({"trainings": {}}, "found the key trainings; .*did you mean 'training'"),
]


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        *SECTIONS,
        ({"inputs": {"pixel": 2.0}}, "found the key inputs; .*did you mean 'input'"),
        ({"input": None}, "no value for input"),
        ({"network": "small"}, "network: found 'small'; expected a section"),
        ({"rounds": {}}, "found the key rounds"),
        ({"training": "${nowhere}"}, "an entry that cannot be resolved"),
    ],
)
def test_sections_of_a_reference_configuration(tiny_config: Write, entries: dict[str, Any], told: str) -> None:
    _refused(_changed(tiny_config(), **entries), told)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        *SECTIONS,
        ({"round": {"members": 2}}, "found the key round; .*did you mean 'rounds'"),
        ({"network": {"first": {}}}, "found the key network"),
        ({"reference": 5}, "reference: found 5; expected text"),
        ({"input": "three"}, "input: found 'three'"),
    ],
)
def test_sections_of_a_cps_configuration(tiny_cps: Write, entries: dict[str, Any], told: str) -> None:
    _refused(_changed(tiny_cps(), **entries), told, cps=True)


def test_the_reference_of_a_cps_configuration_is_checked_too(tiny_config: Write, tiny_cps: Write) -> None:
    config = tiny_cps()
    _changed(tiny_config(), inputs={"pixel": 2.0})
    _refused(config, "tiny.yaml: found the key inputs", cps=True)


def test_an_input_section_replaces_entries_of_the_reference_s(tiny_config: Write, tiny_cps: Write) -> None:
    config = _changed(tiny_cps(), input={"pixel": 3.0})
    _changed(tiny_config(), input={"pixel": 2.0, "windows": "one"})
    for overrides, pixel in (({}, 3.0), ({"input": {"pixel": 4.0}}, 4.0)):
        settings, inputs = read_sections(read_cps(config), CrossSettings, overrides, "tiny")
        assert (inputs.pixel, inputs.windows, settings.slices.windows) == (pixel, "one", "one")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"seed": -1}, r"training\.seed: found -1; expected 0 or more"),
        ({"weight_decay": -0.1}, r"training\.weight_decay: found -0.1"),
        ({"betas": [0.9, 1.0]}, r"training\.betas: found \(0.9, 1.0\)"),
        ({"betas": [-0.1, 0.9]}, r"training\.betas"),
        ({"gradient_clip": -1.0}, r"training\.gradient_clip: found -1.0"),
        ({"nodes": 0}, r"training\.nodes: found 0; expected 1 or more"),
        ({"losses": {"dice": 0.0, "cross_entropy": 0.0}}, r"training\.losses: found 0 for all"),
        ({"losses": {"dice": -1.0}}, r"training\.losses\.dice: found -1.0"),
        ({"losses": {"smoothing": 1.0}}, r"training\.losses\.smoothing: found 1.0"),
        ({"losses": 5}, r"training\.losses: found 5; expected a section"),
        ({"slices": 5}, r"training\.slices: found 5; expected a section"),
        ({"betas": {"0": {"1": 2}}}, "settings to replace|training.betas"),
        ({"input": 5}, "found 5; expected settings, by name"),
        ({"input": {"pixel": 0.0}}, r"input\.pixel"),
    ],
)
@pytest.mark.parametrize("cps", [False, True])
def test_values_out_of_range(
    tiny_config: Write, tiny_cps: Write, overrides: dict[str, Any], told: str, cps: bool
) -> None:
    _refused(tiny_cps() if cps else tiny_config(), told, overrides, cps=cps)


def test_slices_that_are_none_in_the_file(tiny_config: Write) -> None:
    _refused(tiny_config(slices=5), r"training\.slices: found 5; expected a section")
