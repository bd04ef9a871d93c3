"""From a name to a pair with its weights, and what is refused on the way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import yaml

from networks.metadata import read_metadata
from networks.weights import save_weights
from reference_module import models
from reference_module.models import InputSettings, build_pair, describe_models, load_pair, save_pair
from reference_module.pair import Pair
from volumes.errors import InputError
from volumes.labels import Label, LabelTable

TINY: dict[str, dict[str, object]] = {
    "first": {
        "kind": "transunet",
        "layers": [1, 1, 1],
        "stem": 8,
        "hidden": 16,
        "depth": 1,
        "heads": 2,
        "mlp": 16,
        "decoder": [8, 8, 8, 8],
        "head": 8,
        "grid": 2,
        "norm": "batch",
    },
    "second": {
        "kind": "deeplabv3plus",
        "encoder": "tu-resnet18",
        "depth": 3,
        "channels": 8,
        "rates": [1, 2, 3],
        "encoder_settings": {"channels": [8, 8, 8, 8]},
    },
}
TABLE = LabelTable(
    [
        Label(2, "spinal_cord", (200, 20, 20), "tubular", 2.0, ("cord",)),
        Label(5, "esophagus", (20, 200, 20)),
    ],
    name="neck",
)
SETTINGS = InputSettings(pixel=2.0, windows="one")


@pytest.fixture
def pair() -> Pair:
    torch.manual_seed(0)
    return build_pair({"network": TINY}, 3).eval()


@pytest.fixture
def saved(pair: Pair, tmp_path: Path) -> Path:
    path = tmp_path / "neck.safetensors"
    save_pair(pair, path, TABLE, SETTINGS, {"steps": "7"})
    return path


@pytest.fixture
def shipped(saved: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of shipped weights holds `neck` alone."""
    monkeypatch.setattr(models, "WEIGHTS_FOLDER", saved.parent)
    return saved


def resaved(pair: Pair, path: Path, **changes: str | None) -> Path:
    """The same weights with other metadata; None leaves an entry out."""
    metadata = {**read_metadata(path), **changes}
    changed = path.with_name(f"{path.stem}_changed.safetensors")
    save_weights(pair, changed, {key: value for key, value in metadata.items() if value is not None})
    return changed


def written(folder: Path, network: Mapping[str, object]) -> Path:
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump({"name": "own", "network": network, "input": {"pixel": 2.0}}))
    return path


def refused(message: str, *arguments: object) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_pair(*arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_the_paper_s_sizes() -> None:
    assert describe_models()["reference/paper"]["parameters"] == 117_597_362
    with torch.device("meta"):
        pair = build_pair("paper")
    counts = [sum(one.numel() for one in network.parameters()) for network in (pair.first, pair.second)]
    assert counts == [105_913_836, 11_683_526]


def test_configurations_and_shipped_weights_are_described(shipped: Path, pair: Pair) -> None:
    found = describe_models()
    assert {"reference/paper", "reference/small", "reference/neck"} <= set(found)
    assert found["reference/paper"]["weights"] is None
    own = sum(parameter.numel() for parameter in pair.parameters())
    assert found["reference/neck"] == {"parameters": own, "weights": str(shipped)}


@torch.inference_mode()
def test_a_saved_pair_says_the_same_again(pair: Pair, saved: Path) -> None:
    loaded = load_pair(saved)
    images, position = torch.rand(2, 3, 20, 33), torch.tensor([0.1, 0.9])
    expected = pair.probabilities(images, position)
    assert torch.equal(loaded.pair.probabilities(images, position), expected)
    assert not loaded.pair.training
    assert dict(loaded.table) == dict(TABLE) and loaded.table.name == "neck"
    assert loaded.settings == SETTINGS
    assert loaded.values == (0, 2, 5)
    assert read_metadata(saved)["steps"] == "7"


@torch.inference_mode()
def test_half_precision_halves_the_file_and_loads_as_float32(pair: Pair, saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_pair(pair, path, TABLE, SETTINGS, half=True)
    tensors = sum(tensor.numel() for tensor in pair.state_dict().values())
    assert saved.stat().st_size - path.stat().st_size == pytest.approx(2 * tensors, rel=0.02)
    loaded = load_pair(path).pair
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32, torch.int64}
    images, position = torch.rand(1, 3, 20, 33), torch.tensor([0.4])
    torch.testing.assert_close(
        loaded.probabilities(images, position), pair.probabilities(images, position), atol=0.01, rtol=0
    )


def test_half_precision_refuses_what_it_would_make_infinite(pair: Pair, tmp_path: Path) -> None:
    with torch.no_grad():
        pair.first.head.bias[0] = 1e6
    with pytest.raises(InputError, match="first.head.bias"):
        save_pair(pair, tmp_path / "half.safetensors", TABLE, SETTINGS, half=True)
    assert not list(tmp_path.iterdir())


def test_weights_are_found_by_name_path_and_configuration(shipped: Path, tmp_path: Path) -> None:
    own = written(tmp_path, TINY)
    state = load_pair("neck").pair.state_dict()
    for arguments in ((shipped,), (str(shipped),), (own, shipped), ("neck", shipped)):
        other = load_pair(*arguments).pair.state_dict()
        assert all(torch.equal(tensor, other[name]) for name, tensor in state.items())


def test_a_configuration_may_write_the_same_network_in_another_way(saved: Path, tmp_path: Path) -> None:
    spelled_out = {**TINY, "first": {**TINY["first"], "position_channel": True, "dropout": 0.1}}
    assert load_pair(written(tmp_path, spelled_out), saved).pair.classes == 3


def test_names_without_weights_are_refused(shipped: Path, tmp_path: Path) -> None:
    refused("reference model paper: found no weights .*one of neck", "paper")
    refused("reference model nowhere: found no weights .*--weights", "nowhere")
    refused("no weights that ship", written(tmp_path, TINY))
    refused("no such file", tmp_path / "gone.safetensors")
    refused("no such file", "neck", tmp_path / "gone.safetensors")


def test_weights_of_another_network_are_refused(pair: Pair, saved: Path, tmp_path: Path) -> None:
    refused("weights of other networks.*configuration small", "small", saved)
    wider = {**TINY, "first": {**TINY["first"], "hidden": 32}}
    refused("weights of other networks", written(tmp_path, wider), saved)
    # A file whose description does not fit its own tensors.
    refused("weights that do not fit.*first", resaved(pair, saved, network=json.dumps(wider)))
    refused(
        "network: found the keys first; expected first and second",
        resaved(pair, saved, network=json.dumps({"first": TINY["first"]})),
    )


def test_a_table_that_contradicts_the_classes_is_refused(pair: Pair, saved: Path) -> None:
    entry = json.loads(read_metadata(saved)["labels"])
    one_more = {**entry["labels"][1], "value": 9, "name": "larynx"}
    for labels in (entry["labels"][:1], [*entry["labels"], one_more]):
        path = resaved(pair, saved, labels=json.dumps({**entry, "labels": labels}))
        refused(f"weights of 3 classes and a table of {len(labels)} labels", path)
        refused("weights that do not fit", resaved(pair, path, classes=str(len(labels) + 1)))
    refused("weights of unknown classes", resaved(pair, saved, classes=None))


def test_a_table_of_other_classes_is_not_saved(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="label table neck: found 2 labels for networks of 14 classes"):
        save_pair(build_pair({"network": TINY}), tmp_path / "x.safetensors", TABLE, SETTINGS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "weights without a label table"),
        ("{1: liver", "weights without a label table"),
        ("[]", "weights without a label table"),
        ('{"name": "x", "labels": []}', "cannot be read"),
        ('{"name": "x"}', "cannot be read"),
        ('{"name": "x", "labels": [{"value": 1}]}', "cannot be read"),
        ('{"name": "x", "labels": [{"value": "a", "name": "b", "color": [1, 2, 3], "aliases": []}]}', "cannot be read"),
        (
            '{"name": "x", "labels": [{"value": 300, "name": "b", "color": [1, 2, 3], "aliases": []}]}',
            "label number 300",
        ),
    ],
)
def test_a_damaged_label_table_is_refused(pair: Pair, saved: Path, labels: str | None, message: str) -> None:
    refused(message, resaved(pair, saved, labels=labels))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (None, "what their slices look like"),
        ('{"pixel": "wide"}', "pixel"),
        ('{"pixel": -1.0}', "a length in mm"),
        ('{"windows": "four"}', "'three' or 'one'"),
        ('{"spacing": 1.0}', "spacing"),
    ],
)
def test_damaged_input_settings_are_refused(pair: Pair, saved: Path, settings: str | None, message: str) -> None:
    refused(message, resaved(pair, saved, input=settings))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused(saved: Path, tmp_path: Path, share: float) -> None:
    path = tmp_path / "cut.safetensors"
    whole = saved.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused("cut.safetensors", path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    path.write_text("no weights")
    refused("no safetensors file", path)
    save_weights(torch.nn.Linear(2, 2), path, {})
    refused("weights without a description of their networks", path)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({}, "found nothing; expected first and second"),
        ({"first": TINY["first"]}, "first and second"),
        ({**TINY, "third": TINY["first"]}, "the keys first, second, third"),
        ({**TINY, "first": {}}, "network.first: found no network kind"),
        ({**TINY, "first": {"kind": "unet"}}, "network kind 'unet'.*transunet, deeplabv3plus"),
        ({**TINY, "first": 3}, "network.first: found no network kind"),
        ({**TINY, "first": {"kind": "transunet", "hiden": 3}}, "hiden.*did you mean 'hidden'"),
        ({**TINY, "first": {"kind": "transunet", "hidden": "wide"}}, "network.first: hidden: found 'wide'"),
        ({**TINY, "second": {"kind": "deeplabv3plus", "fine": "yes"}}, "true or false"),
        ({**TINY, "second": {"kind": "deeplabv3plus", "encoder": "nothing"}}, "encoder nothing"),
    ],
)
def test_network_sections_that_describe_no_pair_are_refused(network: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build_pair({"network": network})
    assert "\n" not in str(caught.value)


def test_a_pair_needs_background_and_a_structure() -> None:
    with pytest.raises(InputError, match="1 classes"):
        build_pair({"network": TINY}, 1)


def test_unknown_configurations_are_refused() -> None:
    with pytest.raises(InputError, match="one of paper, small"):
        build_pair("large")
