"""Configurations are found by name, and what they say is taken as it is meant or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf

from networks.configurations import (
    configuration_names,
    keywords_of,
    read_config,
    settings_of,
    with_overrides,
)
from volumes.errors import InputError


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    pixel: float | None = 2.0


@dataclass(frozen=True)
class Outer:
    steps: int
    name: str = "none"
    fast: bool = False
    size: tuple[int, int] = (1, 1)
    sizes: tuple[int, ...] = ()
    names: Sequence[str] = ()
    kind: Literal["a", "b"] = "a"
    weights: Mapping[str, float] = field(default_factory=dict)
    inner: Inner = Inner()
    more: Inner | None = None
    rest: Any = None


def outer(**section: Any) -> Outer:
    return settings_of(OmegaConf.create({"steps": 1, **section}), Outer, "small")


def test_values_of_every_type() -> None:
    found = outer(
        steps=7,
        name="x",
        fast=True,
        size=[3, 4],
        sizes=[1, 2, 3],
        names=["p", "q"],
        kind="b",
        weights={"dice": 1, "ce": 0.5},
        inner={"rate": 1, "pixel": None},
        more={"rate": 0.25},
        rest={"anything": [1, "two"]},
    )
    assert found == Outer(
        steps=7,
        name="x",
        fast=True,
        size=(3, 4),
        sizes=(1, 2, 3),
        names=("p", "q"),
        kind="b",
        weights={"dice": 1.0, "ce": 0.5},
        inner=Inner(1.0, None),
        more=Inner(0.25),
        rest={"anything": [1, "two"]},
    )
    assert type(found.inner.rate) is float and type(found.rest) is dict


def test_what_is_left_out_has_its_default() -> None:
    assert outer() == Outer(steps=1)
    assert settings_of(None, Inner, "small") == Inner()
    assert keywords_of({"rate": 1}, Inner, "small") == {"rate": 1.0}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"stepz": 5}, "small: found the key stepz; expected only .*; did you mean 'steps'"),
        ({"zzz": 5, "yyy": 4}, "small: found the keys yyy, zzz; expected only .*; correct or remove"),
        ({"steps": "5"}, "small: steps: found '5'; expected a whole number"),
        ({"steps": 5.0}, "small: steps: found 5.0; expected a whole number"),
        ({"steps": True}, "small: steps: found True; expected a whole number"),
        ({"steps": None}, "small: steps: found nothing; expected a whole number"),
        ({"name": 5}, "small: name: found 5; expected text"),
        ({"fast": 1}, "small: fast: found 1; expected true or false"),
        ({"size": [1, 2, 3]}, r"small: size: found a list; expected \[a whole number, a whole number\]"),
        ({"size": 5}, r"small: size: found 5; expected \["),
        ({"sizes": [1, "b"]}, r"small: sizes\[1\]: found 'b'; expected a whole number"),
        ({"names": "p"}, "small: names: found 'p'; expected a list, each text"),
        ({"kind": "c"}, "small: kind: found 'c'; expected 'a' or 'b'"),
        ({"weights": {"dice": "much"}}, "small: weights.dice: found 'much'; expected a number"),
        ({"weights": 1}, "small: weights: found 1; expected a section"),
        ({"inner": {"rate": float("nan")}}, "small: inner.rate: found nan; expected a number"),
        ({"inner": {"pixel": "fine"}}, "small: inner.pixel: found 'fine'; expected a number or null"),
        ({"inner": {"rat": 1}}, "small: inner: found the key rat; .*'rate'"),
        ({"inner": 3}, "small: inner: found 3; expected a section with settings"),
        ({"more": {"rat": 1}}, "small: more: found the key rat"),
    ],
)
def test_what_does_not_fit_is_named(section: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        outer(**section)
    assert "\n" not in str(caught.value)


def test_a_missing_value_is_named() -> None:
    with pytest.raises(InputError, match="small: found no value for steps"):
        settings_of({}, Outer, "small")


def test_a_reference_that_leads_nowhere_is_refused() -> None:
    with pytest.raises(InputError, match="small: found an entry that cannot be resolved"):
        outer(name="${nowhere.at_all}")


def test_references_between_sections_survive_overrides() -> None:
    config = OmegaConf.create({"network": {"width": 8}, "training": {"steps": "${network.width}"}})
    section = with_overrides(config.training, {"name": "x", "inner": {"rate": 0.1}})
    assert settings_of(section, Outer, "small") == Outer(steps=8, name="x", inner=Inner(0.1))
    assert "name" not in config.training, "the configuration itself stays as it was"


def test_keywords_of_a_class_and_of_a_function() -> None:
    class Network:
        def __init__(self, width: int, *, names: tuple[str, ...] = (), **more: float) -> None: ...

    def make(width: int, depth: int = 1) -> None: ...

    assert keywords_of({"width": 3, "names": ["a"]}, Network, "x") == {"width": 3, "names": ("a",)}
    assert keywords_of({"width": 3}, make, "x") == {"width": 3}
    with pytest.raises(InputError, match="x: found the key more"):
        keywords_of({"width": 3, "more": 1.0}, Network, "x")
    with pytest.raises(InputError, match="x: found the key self"):
        keywords_of({"self": 3, "width": 3}, Network, "x")


def test_configurations_that_ship_and_files(tmp_path: Path) -> None:
    assert {"small", "paper", "stcn"} <= set(configuration_names("propagation"))
    assert configuration_names("nothing_here") == []
    assert read_config("propagation", "small").name == "small"
    own = tmp_path / "own.yaml"
    own.write_text("name: own\nrate: 1e-4\n")
    assert read_config("propagation", own).rate == 1e-4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "own.yaml: found no readable file .*; expected a YAML configuration; see configs/cps"),
        ("a: [1", "own.yaml: found text that is not YAML"),
        ("- 1\n- 2\n", "own.yaml: found no settings"),
        ("", "own.yaml: found no settings"),
    ],
)
def test_files_that_are_no_configurations(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "own.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_config("cps", path)
    assert "\n" not in str(caught.value)


def test_names_that_do_not_exist() -> None:
    with pytest.raises(InputError, match="found 'nonsense'; expected one of .*small"):
        read_config("propagation", "nonsense")
