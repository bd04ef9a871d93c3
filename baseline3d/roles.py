"""Which structures a rule is about: by their role in the label table, or by their name in one that ships."""

from __future__ import annotations

from volumes.labels import Label, LabelTable, builtin_tables, name_key


def structures_of(table: LabelTable, role: str) -> tuple[int, ...]:
    """Labels of `table` with a role (`adrenal`, `liver`, `gallbladder`, `tubular`), rising.

    A label's own role counts. One that has none is what a table that ships calls by the same name.
    """
    known = _known_roles()
    return tuple(value for value, label in table.items() if _role(label, known) == role)


def _role(label: Label, known: dict[str, str]) -> str | None:
    if label.role is not None:
        return label.role
    return next((known[name_key(name)] for name in (label.name, *label.aliases) if name_key(name) in known), None)


def _known_roles() -> dict[str, str]:
    """Roles by the names of structures in the tables that ship."""
    return {
        name_key(name): label.role
        for table in map(LabelTable.read, builtin_tables())
        for label in table.values()
        if label.role is not None
        for name in (label.name, *label.aliases)
    }
