"""Who is compared: `configs/compare`, read strictly before anything costly starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from networks.configurations import check_name, check_values, read_config, settings_of
from networks.metadata import read_metadata
from tools.benchmark.few_labels import DataSettings, PhantomSettings
from volumes.errors import InputError

Kind = Literal["propagation", "pair", "3d"]


@dataclass(frozen=True, kw_only=True)
class MethodSettings:
    """One line of the table.

    Attributes:
        kind: `propagation` carries key slices of the truth; `pair` is automatic mode with a reference pair trained
            here, with labels and then by cross pseudo supervision; `3d` is a configuration of `configs/baseline3d`,
            a recipe where it has one.
        title: what it is called in tables; its name without one.
        slices: key slices of each structure (`propagation`).
        config: configuration: of the propagation module, of the pair, or of the 3D network.
        training: entries that are replaced in its configuration. Those of a pair are of both its trainings.
        cross: entries that are replaced besides in a pair's second training; null: there is none.
        cross_config: configuration of that; the one of the same name without.
        weights: trained already; nothing is trained then, and what that had cost is not known here.
        options: further words for the command that labels a case, as in `--strategy largest-area`.
    """

    kind: Kind
    title: str = ""
    slices: int | None = None
    config: str = "small"
    training: Mapping[str, Any] = field(default_factory=dict)
    cross: Mapping[str, Any] | None = None
    cross_config: str = ""
    weights: Path | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """A configuration of `configs/compare`.

    Attributes:
        name: what the results are called.
        data: who has labels.
        phantom: phantoms to make where no data is given.
        methods: by name.
        timeout: seconds after which a case has failed.
        notes: what a reader of the table has to know.
    """

    name: str
    data: DataSettings
    phantom: PhantomSettings | None = None
    methods: Mapping[str, MethodSettings]
    timeout: float = 3600.0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_values(self, self.name, ("timeout", self.timeout > 0, "seconds, more than 0"))
        if not self.methods:
            raise InputError(
                f"{self.name}: methods", found="none", expected="one or more", fix="name a method and its kind"
            )


def read_compare(
    name: str, chosen: Sequence[str] | None = None, weights: Mapping[str, Path] | None = None
) -> CompareSettings:
    """A configuration by name, or the path of a `.yaml` file, with all that it refers to checked.

    Args:
        chosen: of its methods; None: all.
        weights: by method, weights that are trained already.

    Raises:
        InputError: a setting, a method or a configuration that does not exist, or that has a wrong type.
    """
    settings = settings_of(read_config("compare", name), CompareSettings, str(name))
    for option, given in (("--methods", chosen or ()), ("--weights", weights or {})):
        for named in given:
            if named not in settings.methods:
                expected = f"of {', '.join(settings.methods)}"
                raise InputError(option, found=f"'{named}'", expected=expected, fix="correct the name")
    methods = {key: one for key, one in settings.methods.items() if chosen is None or key in chosen}
    for key, path in (weights or {}).items():
        if key in methods:
            methods[key] = replace(methods[key], weights=path)
    for key, one in methods.items():
        check_name(key)
        _check(one, f"{name}: methods.{key}")
    return replace(settings, methods=methods)


def _check(method: MethodSettings, where: str) -> None:
    if (method.kind == "propagation") != (method.slices is not None) or (
        method.slices is not None and method.slices < 1
    ):
        raise InputError(
            f"{where}.slices",
            found=str(method.slices),
            expected="a number of key slices from 1" if method.kind == "propagation" else f"none for '{method.kind}'",
            fix="correct the setting",
        )
    if method.weights is not None:
        if not method.weights.is_file():
            raise InputError(f"{where}.weights", found=f"no file {method.weights}", expected="weights", fix="check it")
        read_metadata(method.weights)
    _check_trainings(method, where)
    _check_options(method, where)
    if method.kind == "propagation":
        from propagation_module.checkpoints import read_settings

        read_settings(method.config)
    elif method.kind == "pair":
        _check_pair(method, where)
    else:
        from baseline3d.recipes.run import check_recipe
        from baseline3d.training_settings import checked, read_whole

        if checked(read_whole(method.config, method.training), where).recipe:
            check_recipe(method.config, method.training)


def _check_trainings(method: MethodSettings, where: str) -> None:
    """Settings of trainings that there are not."""
    if method.kind == "propagation" and method.training:
        raise InputError(
            f"{where}.training",
            found="settings",
            expected="none: key slices are carried on with weights that are there",
            fix="take them out, or train the propagation module by itself and give its weights",
        )
    if method.kind != "pair" and method.cross is not None:
        expected = f"none for '{method.kind}'"
        raise InputError(f"{where}.cross", found="settings", expected=expected, fix="take them out")


def _check_options(method: MethodSettings, where: str) -> None:
    """Options that the command which labels a case does not know."""
    from typer.core import TyperGroup
    from typer.main import get_command

    from tools.cli import app

    name, commands = "propagate" if method.kind == "propagation" else "segment", get_command(app)
    assert isinstance(commands, TyperGroup)
    known = {word for option in commands.commands[name].params for word in (*option.opts, *option.secondary_opts)}
    unknown = [word for word in method.options if word.startswith("-") and word.partition("=")[0] not in known]
    if unknown:
        raise InputError(
            f"{where}.options",
            found=f"'{unknown[0]}'",
            expected=f"options of `keyslice {name}`",
            fix="correct the setting",
        )


def _check_pair(method: MethodSettings, where: str) -> None:
    from cps.training import CrossSettings
    from reference_module.training_settings import TrainingSettings, read_sections

    read_sections(read_config("reference", method.config), TrainingSettings, method.training, f"{where}.training")
    if method.cross is not None:
        changes = {**method.training, **method.cross}
        read_sections(
            read_config("cps", method.cross_config or method.config), CrossSettings, changes, f"{where}.cross"
        )
