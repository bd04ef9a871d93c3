"""What the ablation trains and scores: `configs/ablation`, read strictly before anything costly starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.benchmark.few_labels import DataSettings, PhantomSettings
from volumes.errors import InputError

if TYPE_CHECKING:
    from cps.self_training_settings import SelfTrainingSettings
    from tools.automatic import AutomaticSettings

ROWS = (1, 2, 3, 4)
ROW_NAMES = {
    1: "supervised",
    2: "+ CPS",
    3: "+ three windows, uncertainty",
    4: "+ mask propagation",
}


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How long each training is, and what is different from the configurations that it is one of.

    Attributes:
        seed: of the first training; others are derived from it.
        supervised_steps: of each of the two supervised trainings, with one window and with three.
        further_steps: of what follows on one window, with labels alone (row 1) or with CPS (row 2).
        member_steps: of each member whose agreement selects pseudo-labels (row 3).
        last_steps: of the training with pseudo-labels that row 3 ends with.
        starts: supervised trainings with three windows, each with its own seed, that members begin with in turn.
            Members that begin with the same weights agree on more than they should.
        supervised: entries of the reference configuration's `training` section that are replaced.
        further: more of them, for row 1's second part: what makes it equal to CPS but for the unlabelled slices.
        cps: entries of the CPS configuration's `training` section that are replaced.
        members: more of them, for members and the last training.
        pixel: of the input in place of the configuration's; null: the configuration's.
    """

    seed: int
    supervised_steps: int
    further_steps: int
    member_steps: int
    last_steps: int
    starts: int = 1
    supervised: Mapping[str, Any] = field(default_factory=dict)
    further: Mapping[str, Any] = field(default_factory=dict)
    cps: Mapping[str, Any] = field(default_factory=dict)
    members: Mapping[str, Any] = field(default_factory=dict)
    pixel: float | None = None

    def __post_init__(self) -> None:
        for name in ("supervised_steps", "further_steps", "member_steps", "last_steps", "starts"):
            if (value := getattr(self, name)) < 1:
                raise InputError(f"training.{name}", found=str(value), expected="1 or more", fix="correct the setting")


@dataclass(frozen=True, kw_only=True)
class PropagationSettings:
    """The propagation module of row 4.

    Attributes:
        config: a configuration of `configs/propagation`.
        weights: null takes those that ship.
        note: what a reader of the table has to know of them.
    """

    config: str = "small"
    weights: Path | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class AblationSettings:
    """A configuration of `configs/ablation`.

    Attributes:
        name: what the results are called.
        data: who has labels.
        phantom: phantoms to make where no data is given.
        reference, cps: configurations of the pair and of cross pseudo supervision.
        training: their lengths and changes.
        rounds: as in a CPS configuration; `fine_tune` says whether the last training goes on from a member.
        automatic: how row 4 chooses key slices.
        propagation: with what it carries them on.
        note: what a reader of the table has to know.
    """

    name: str
    data: DataSettings
    phantom: PhantomSettings | None = None
    reference: str = "small"
    cps: str = "small"
    training: TrainingSettings
    rounds: Mapping[str, Any] = field(default_factory=dict)
    automatic: Mapping[str, Any] = field(default_factory=dict)
    propagation: PropagationSettings = field(default_factory=PropagationSettings)
    note: str = ""

    def rounds_settings(self) -> SelfTrainingSettings:
        """`rounds`, checked."""
        from cps.self_training_settings import SelfTrainingSettings
        from networks.configurations import settings_of

        return settings_of(self.rounds, SelfTrainingSettings, f"{self.name}: rounds")

    def automatic_settings(self) -> AutomaticSettings:
        """`automatic`, checked."""
        from networks.configurations import settings_of
        from tools.automatic import AutomaticSettings

        return settings_of(self.automatic, AutomaticSettings, f"{self.name}: automatic")

    def supervised_overrides(self, windows: str, seed: int, *, further: bool = False) -> dict[str, Any]:
        """What a supervised training replaces in the reference configuration."""
        one = self.training
        steps = one.further_steps if further else one.supervised_steps
        return self._overrides({**one.supervised, **(one.further if further else {})}, windows, seed, steps)

    def cps_overrides(self, windows: str, seed: int, steps: int, *, member: bool = False) -> dict[str, Any]:
        """What a CPS training replaces in its configuration; `member`: of those that label."""
        one = self.training
        return self._overrides({**one.cps, **(one.members if member else {})}, windows, seed, steps)

    def _overrides(self, entries: Mapping[str, Any], windows: str, seed: int, steps: int) -> dict[str, Any]:
        inputs: dict[str, Any] = {"windows": windows}
        if self.training.pixel is not None:
            inputs["pixel"] = self.training.pixel
        return {**entries, "seed": seed, "steps": steps, "input": inputs}


def read_ablation(name: str) -> AblationSettings:
    """A configuration by name, or the path of a `.yaml` file, with all that it refers to checked.

    Raises:
        InputError: a setting that does not exist or has a wrong type, here or among those that are replaced in others.
    """
    from cps.training import CrossSettings
    from networks.configurations import read_config, settings_of
    from propagation_module.checkpoints import read_settings
    from reference_module.selection import strategy_named
    from reference_module.training_settings import TrainingSettings as ReferenceSettings
    from reference_module.training_settings import read_sections

    settings = settings_of(read_config("ablation", name), AblationSettings, str(name))
    for further in (False, True):
        changes = settings.supervised_overrides("one", 0, further=further)
        read_sections(read_config("reference", settings.reference), ReferenceSettings, changes, f"{name}: supervised")
    for member in (False, True):
        changes = settings.cps_overrides("one", 0, 1, member=member)
        read_sections(read_config("cps", settings.cps), CrossSettings, changes, f"{name}: cps")
    settings.rounds_settings()
    strategy_named(settings.automatic_settings().strategy)
    read_settings(settings.propagation.config)
    if (weights := settings.propagation.weights) is not None and not weights.is_file():
        raise InputError(f"{name}: propagation.weights", found=f"no file {weights}", expected="weights", fix="check it")
    return settings


def rows_named(text: str) -> list[int]:
    """`1,2,4` as row numbers, rising."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or any(not part.isdecimal() or int(part) not in ROWS for part in parts):
        raise InputError("--rows", found=f"'{text}'", expected="of 1,2,3,4", fix="correct it")
    return sorted({int(part) for part in parts})
