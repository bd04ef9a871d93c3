"""Configurations: which there are, and from their text to settings of the right kind.

A setting that does not exist, or has a value of another type, is refused before anything is made of it: a typo in
a configuration must not cost a night of training with the default.
"""

from __future__ import annotations

import difflib
import inspect
import math
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from volumes.errors import InputError

T = TypeVar("T")


def configuration_names(folder: str) -> list[str]:
    """Names of the configurations in `configs/<folder>`, sorted; none where there is no such folder."""
    place = files("configs").joinpath(folder)
    found = (entry.name for entry in place.iterdir()) if place.is_dir() else ()
    return sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml"))


def read_config(folder: str, name_or_path: str | Path) -> DictConfig:
    """The configuration `configs/<folder>/<name>.yaml`, or any `.yaml` file.

    Raises:
        InputError: no such configuration, or a file that is none.
    """
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")):
        source: Any = Path(text)
    else:
        names = configuration_names(folder)
        if text not in names:
            raise InputError(
                "configuration",
                found=f"'{text}'",
                expected=f"one of {', '.join(names)}",
                fix="name one of them, or give the path of a .yaml file",
            )
        source = files("configs").joinpath(folder, f"{text}.yaml")
    try:
        config = OmegaConf.create(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise _bad_config(text, folder, f"no readable file ({error.strerror})") from error
    except (OmegaConfBaseException, ValueError, yaml.YAMLError) as error:
        raise _bad_config(text, folder, f"text that is not YAML ({error})") from error
    if not isinstance(config, DictConfig) or not config:
        raise _bad_config(text, folder, "no settings")
    return config


def with_overrides(section: DictConfig | Mapping[str, Any] | None, overrides: Mapping[str, Any] | None) -> DictConfig:
    """A section with some of its entries replaced; sections within it keep what is not replaced.

    Raises:
        InputError: no section, or entries that cannot be put into it.
    """
    for one in (section, overrides):
        if one is not None and not isinstance(one, Mapping):
            raise _wrong("a section of the configuration", _content(one), "settings, by name")
    # A section that is one already must not be made anew: it would no longer see the other sections that it refers to.
    before = section if isinstance(section, DictConfig) else OmegaConf.create(dict(section or {}))
    try:
        merged = OmegaConf.merge(before, OmegaConf.create(dict(overrides or {})))
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        raise InputError(
            "the settings to replace",
            found=f"some that do not fit into the configuration ({error})",
            expected="values for values, sections for sections",
            fix="correct them",
        ) from error
    assert isinstance(merged, DictConfig)
    return merged


def check_values(settings: object, where: str, *rules: tuple[str, bool, str]) -> None:
    """Raise InputError at the first field of `settings` that is out of its range.

    Args:
        where: what the settings are called in the error.
        rules: for each field its name, whether its value will do, and what is expected.
    """
    for name, fits, expected in rules:
        if not fits:
            value = str(getattr(settings, name))
            raise InputError(f"{where}.{name}", found=value, expected=expected, fix="correct the setting")


def check_name(name: str) -> None:
    """Raise InputError unless a configuration's name can be that of its weights' file."""
    if not name or name.startswith(".") or Path(name).name != name:
        raise InputError("name", found=f"'{name}'", expected="a name for the weights' file", fix="correct the name")


def settings_of(section: DictConfig | Mapping[str, Any] | None, kind: type[T], where: str) -> T:
    """A section of a configuration as the dataclass that describes it, sections within it as theirs.

    Args:
        section: the section; None counts as empty.
        kind: a dataclass. Its fields may be `int`, `float` (a whole number will do), `str`, `bool`, `None`, `Any`,
            `Literal`, unions, `tuple`, `list`, `Sequence`, `Mapping` or `dict` of them, and other dataclasses.
        where: what the section is called in errors, such as the file, or `small: training`.

    Raises:
        InputError: a key that `kind` does not have, one that is missing, or a value of another type.
    """
    return kind(**keywords_of(section, kind, where))


def keywords_of(
    section: DictConfig | Mapping[str, Any] | None, function: Callable[..., Any], where: str
) -> dict[str, Any]:
    """A section as keyword arguments of a function or class, checked like `settings_of`; defaults stay left out.

    Raises:
        InputError: an argument that `function` does not take, one that is missing, or a value of another type.
    """
    given = _plain(section, where)
    parameters = {
        name: one
        for name, one in inspect.signature(function).parameters.items()
        if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
    }
    if unknown := [str(key) for key in given if key not in parameters]:
        close = difflib.get_close_matches(unknown[0], parameters, 1)
        raise InputError(
            where,
            found=f"the key{'s' if len(unknown) > 1 else ''} {', '.join(sorted(unknown))}",
            expected=f"only {', '.join(sorted(parameters))}",
            fix=f"did you mean '{close[0]}'?" if close else "correct or remove what is unknown",
        )
    missing = [name for name, one in parameters.items() if one.default is one.empty and name not in given]
    if missing:
        names = ", ".join(missing)
        raise InputError(where, found=f"no value for {names}", expected="one for each", fix="add what is missing")
    is_plain_class = inspect.isclass(function) and not is_dataclass(function)
    hints = typing.get_type_hints(function.__init__ if is_plain_class else function)  # type: ignore[misc]
    return {name: _converted(value, hints.get(name, Any), _below(where, name)) for name, value in given.items()}


def _plain(section: DictConfig | Mapping[str, Any] | None, where: str) -> dict[Any, Any]:
    """Plain dictionaries, lists and values, references to other entries resolved."""
    if section is None:
        return {}
    try:
        content = OmegaConf.to_container(section, resolve=True) if OmegaConf.is_config(section) else section
    except OmegaConfBaseException as error:
        raise InputError(
            where, found=f"an entry that cannot be resolved ({error})", expected="values", fix="correct the entry"
        ) from error
    if not isinstance(content, Mapping):
        raise _wrong(where, content, "a section with settings")
    return dict(content)


def _content(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _converted(value: Any, hint: Any, where: str) -> Any:
    """`value` as the type `hint`; InputError if it is of another."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return _content(value)
    if origin in (Union, types.UnionType):
        return _one_of(value, arguments, hint, where)
    if origin is Literal:
        if value in arguments and type(value) in {type(one) for one in arguments}:
            return value
        raise _wrong(where, value, _called(hint))
    if inspect.isclass(hint) and is_dataclass(hint):
        return settings_of(value, hint, where) if isinstance(value, Mapping) else _refused(value, hint, where)
    if origin in (tuple, list, Sequence, Collection):
        return _sequence(value, hint, where)
    if origin in (Mapping, dict):
        if not isinstance(value, Mapping):
            raise _wrong(where, value, _called(hint))
        kind, each = arguments
        return {_converted(k, kind, where): _converted(v, each, _below(where, k)) for k, v in value.items()}
    return _scalar(value, hint, where)


def _one_of(value: Any, kinds: Sequence[Any], hint: Any, where: str) -> Any:
    """As the first of the union's types that takes the value; of a section the error names the key that is wrong."""
    for kind in kinds:
        if is_dataclass(kind) and isinstance(value, Mapping):
            return _converted(value, kind, where)
        try:
            return _converted(value, kind, where)
        except InputError:
            continue
    raise _wrong(where, value, _called(hint))


def _sequence(value: Any, hint: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _wrong(where, value, _called(hint))
    fixed = origin is tuple and arguments[-1] is not Ellipsis
    if fixed and len(value) != len(arguments):
        raise _wrong(where, value, _called(hint))
    kinds = arguments if fixed else [arguments[0]] * len(value)
    items = [_converted(one, kind, f"{where}[{n}]") for n, (one, kind) in enumerate(zip(value, kinds, strict=True))]
    return items if origin is list else tuple(items)


def _scalar(value: Any, hint: Any, where: str) -> Any:
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    if hint in (None, type(None)) and value is None:
        return None
    if hint is Path and isinstance(value, str):
        return Path(value)
    return _refused(value, hint, where)


def _below(where: str, name: object) -> str:
    """What an entry is called: `small.yaml: training.steps`."""
    return f"{where}.{name}" if ": " in where else f"{where}: {name}"


def _refused(value: Any, hint: Any, where: str) -> typing.NoReturn:
    raise _wrong(where, value, _called(hint))


_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    type(None): "null",
    Path: "a path",
}


def _called(hint: Any) -> str:
    """A type in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_called(one) for one in arguments)
    if origin is Literal:
        return " or ".join(repr(one) for one in arguments)
    if origin is tuple and arguments[-1] is not Ellipsis:
        return f"[{', '.join(_called(one) for one in arguments)}]"
    if origin in (tuple, list, Sequence, Collection):
        return f"a list, each {_called(arguments[0])}"
    if origin in (Mapping, dict):
        return "a section with settings" if arguments[1] is Any else f"a section, each entry {_called(arguments[1])}"
    return _NAMES.get(hint, "a section with settings" if is_dataclass(hint) else str(getattr(hint, "__name__", hint)))


def _wrong(where: str, value: Any, expected: str) -> InputError:
    kind = "a section" if isinstance(value, Mapping) else "a list" if isinstance(value, list | tuple) else repr(value)
    return InputError(where, found="nothing" if value is None else kind, expected=expected, fix="correct its value")


def _bad_config(where: str, folder: str, found: str) -> InputError:
    return InputError(where, found=found, expected="a YAML configuration", fix=f"see configs/{folder} for examples")
