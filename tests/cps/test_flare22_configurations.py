"""configs/flare22: the paper's settings, in files that the trainings take as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from networks.configurations import configuration_names, read_config, settings_of

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "configs" / "flare22"


def plain(config: Any) -> Any:
    return OmegaConf.to_container(config, resolve=True)


def test_the_reference_module_s_numbers_are_the_paper_s() -> None:
    from cps.training import CrossSettings
    from reference_module.training import read_sections

    whole = read_config("cps", FOLDER / "cps.yaml")
    settings, _ = read_sections(whole, CrossSettings, None, "flare22")
    assert (settings.batch_size, settings.unlabelled_batch_size, settings.steps) == (2, 2, 50_000)
    assert (settings.learning_rate, settings.schedule, settings.gradient_clip) == (1e-4, "halve", 10.0)
    assert settings.consistency.weight == 0.1 and settings.slices.size == 512
    assert whole.reference == "paper"
    reference = read_config("reference", "paper")
    assert reference.input.windows == "three" and reference.input.pixel is None


@pytest.mark.parametrize("name", ["paper", "small", str(FOLDER / "cps.yaml")])
def test_every_cps_configuration_has_rounds_that_can_be_run(name: str) -> None:
    from cps.self_training_settings import SelfTrainingSettings

    settings = settings_of(read_config("cps", name).get("rounds"), SelfTrainingSettings, name)
    assert settings.cycle.members >= 2 and settings.cycle.rounds >= 2
    assert 0 < settings.rule.threshold < 1


def test_the_rule_of_the_paper_s_configurations_is_the_public_code_s() -> None:
    for name in ("paper", str(FOLDER / "cps.yaml")):
        rounds = read_config("cps", name).rounds
        assert (rounds.threshold, rounds.lowest) == (0.9, 0.0)
    assert set(configuration_names("cps")) >= {"paper", "small"}


def test_settings_that_two_files_share_are_the_same() -> None:
    """configs/flare22 says everything in full; what it repeats must not drift away."""
    for folder, ours in (("cps", "cps.yaml"), ("propagation", "propagation.yaml")):
        one, other = plain(read_config(folder, FOLDER / ours)), plain(read_config(folder, "paper"))
        for section in other:
            if section in ("name", "rounds"):
                continue
            theirs, mine = other[section], one[section]
            if section == "training":
                theirs = {key: value for key, value in theirs.items() if key not in ("data", "validation_cases")}
                mine = {key: mine[key] for key in theirs}
            assert mine == theirs, f"{ours}: {section}"


def test_the_propagation_module_finds_its_data_in_the_challenge_s_folders(tmp_path: Path) -> None:
    from propagation_module.training_data import training_name

    (source,) = plain(read_config("propagation", FOLDER / "propagation.yaml"))["training"]["data"]
    image = tmp_path / "Training/FLARE22_LabeledCase50/images/FLARE22_Tr_0001_0000.nii.gz"
    image.parent.mkdir(parents=True)
    image.touch()
    assert list(tmp_path.glob(source["images"])) == [image]
    labels = source["labels"].format(case=training_name(image))
    assert labels == "Training/FLARE22_LabeledCase50/labels/FLARE22_Tr_0001.nii.gz"
