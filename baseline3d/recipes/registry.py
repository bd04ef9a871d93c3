"""Recipes by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from baseline3d.recipes.recipe import Recipe
from networks.configurations import settings_of
from volumes.errors import InputError

KINDS = {
    "gao": ("baseline3d.recipes.gao", "Gao"),
    "alves": ("baseline3d.recipes.alves", "Alves"),
    "tong": ("baseline3d.recipes.tong", "Tong"),
    "zhang": ("baseline3d.recipes.zhang", "Zhang"),
}
"""Where the class of each is, imported when it is needed."""


def read_recipe(section: Mapping[str, Any] | None, where: str) -> Recipe:
    """The recipe that a configuration's `recipe` section describes: `kind`, one of `KINDS`, and its settings.

    Raises:
        InputError: no such recipe, or settings that it does not have.
    """
    content = dict(section or {})
    kind = content.pop("kind", None)
    if kind not in KINDS:
        raise InputError(
            f"{where}: recipe",
            found="no kind" if kind is None else f"kind '{kind}'",
            expected=f"kind: one of {', '.join(KINDS)}",
            fix="correct the recipe section",
        )
    module, name = KINDS[kind]
    found: Recipe = settings_of(content, getattr(import_module(module), name), f"{where}: recipe")
    return found
