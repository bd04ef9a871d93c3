"""What a person does to labels and to their first and last slices; every action is one step of undo."""

from __future__ import annotations

from collections.abc import Mapping

from tools.annotate.changes import Change, Extent, Key, Value
from tools.annotate.label_states import LabelState, check_color, check_name
from tools.annotate.state import State
from volumes.errors import InputError
from volumes.labels import MAX_LABEL, Color, distinct_color, name_key


class LabelActions(State):
    """The actions on labels: each returns its change, or None if nothing would change; or raises InputError."""

    def add_label(self, name: str, color: Color | None = None, value: int | None = None) -> Change | None:
        """Add a label; without `value` it gets the number after the highest, or the lowest that is free."""
        if value is None:
            free = [v for v in range(1, MAX_LABEL + 1) if v not in self.labels]
            if not free:
                raise bad("label", f"{MAX_LABEL} labels", "room for one more", "delete one")
            after = max(self.labels, default=0) + 1
            value = after if after <= MAX_LABEL else free[0]
        added = self._new_labels({value: (name, distinct_color(value) if color is None else color)})
        return self._change(f"add label {added[value].name}", {("label", value): added[value]})

    def rename_label(self, value: int, name: str) -> Change | None:
        """Call a label otherwise; names are unique."""
        before = self._label(value)
        name = check_name(name)
        self._check_free([state.name for other, state in self.labels.items() if other != value], name)
        return self._change(f"rename {before.name} to {name}", {("label", value): before._replace(name=name)})

    def recolor_label(self, value: int, color: Color) -> Change | None:
        """Draw a label in another colour."""
        before = self._label(value)
        state = before._replace(color=check_color(color))
        return self._change(f"recolour {before.name}", {("label", value): state})

    def set_visible(self, value: int, visible: bool) -> Change | None:
        """Draw a label, or do not."""
        before = self._label(value)
        state = before._replace(visible=bool(visible))
        return self._change(f"{'show' if visible else 'hide'} {before.name}", {("label", value): state})

    def set_locked(self, value: int, locked: bool) -> Change | None:
        """Keep a label's pixels as they are, or let them change again."""
        before = self._label(value)
        state = before._replace(locked=bool(locked))
        return self._change(f"{'lock' if locked else 'unlock'} {before.name}", {("label", value): state})

    def delete_label(self, value: int) -> Change | None:
        """Delete a label with its marks and all that was painted of it."""
        name = self._editable(value).name
        values: dict[Key, Value] = {("label", value): None, ("extent", value): None}
        for z, given in self.slices.items():
            if value in given.speaks:
                after = given.without([value])
                values[("slice", z)] = None if after.says_nothing else after
        return self._change(f"delete label {name}", values)

    def set_extent(self, label: int, extent: Extent | None) -> Change | None:
        """Mark the first and last slice of `label`, both inside; None takes the marks away.

        Refused where it was painted beyond them.
        """
        name, depth = self._label(label).name, self.shape[0]
        if extent is None:
            return self._change(f"no extent of {name}", {("extent", label): None})
        first, last = (int(mark) for mark in extent)
        if not 0 <= first <= last < depth:
            fix = "correct the marks; slices count from 0, inferior first"
            raise bad(f"label {name}", f"marks {first} and {last}", f"0 <= first <= last <= {depth - 1}", fix)
        beyond = [z for z, given in sorted(self.slices.items()) if label in given.labels and not first <= z <= last]
        if beyond:
            found, fix = f"it painted on slice {beyond[0]}", "widen the marks, or take the label off that slice"
            raise bad(f"label {name}", found, f"it between slices {first} and {last}", fix)
        return self._change(f"extent of {name}", {("extent", label): (first, last)})

    # For these and other actions.

    def _change(self, title: str, values: Mapping[Key, Value]) -> Change | None:
        """Give these keys these values, in one step of undo."""
        values = {(kind, int(number)): value for (kind, number), value in values.items()}
        change = Change.between(title, ((key, self.value(key), value) for key, value in values.items()), self.shape)
        return None if change is None else self._done(change, values)

    def _label(self, value: int) -> LabelState:
        if value not in self.labels:
            raise bad(f"label {value}", "no such label", f"one of {list(self.labels)}", "add it first")
        return self.labels[value]

    def _editable(self, value: int) -> LabelState:
        state = self._label(value)
        if state.locked:
            raise bad(f"label {state.name}", "it locked", "a label that may change", "unlock it first")
        return state

    def _new_labels(self, labels: Mapping[int, tuple[str, Color]]) -> dict[int, LabelState]:
        """States of labels to be added, value -> (name, colour), at the end of the list."""
        names = [state.name for state in self.labels.values()]
        added: dict[int, LabelState] = {}
        for value, (text, color) in labels.items():
            if type(value) is not int or not 1 <= value <= MAX_LABEL or value in self.labels:
                raise bad("label", f"the number {value}", f"a free one from 1 to {MAX_LABEL}", "choose another")
            name = check_name(text)
            self._check_free(names, name)
            names.append(name)
            added[value] = LabelState(name, check_color(color), order=self._next_order + len(added))
        return added

    def _check_free(self, names: list[str], name: str) -> None:
        if any(name_key(other) == name_key(name) for other in names):
            raise bad("label", f"the name '{name}' twice", "each name once", "choose another name")


def bad(where: str, found: str, expected: str, fix: str) -> InputError:
    """InputError for an action that is not allowed."""
    return InputError(where, found=found, expected=expected, fix=fix)
