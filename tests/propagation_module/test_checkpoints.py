"""Configurations, foreign checkpoints, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from networks.configurations import configuration_names
from propagation_module.checkpoints import (
    build_network,
    describe_models,
    load_network,
    load_state,
    save_weights,
)
from propagation_module.layouts import theirs
from propagation_module.stcn import STCN
from volumes.errors import InputError

SMALL = {"kind": "stcn", "key_encoder": "resnet18", "key_dim": 16, "value_dim": 32}


def small_network(**settings: object) -> STCN:
    network = build_network({"network": {**SMALL, **settings}})
    assert isinstance(network, STCN)
    return network


def state_in(layout: str, network: STCN) -> dict[str, Tensor]:
    return {theirs(name, layout): tensor.clone() for name, tensor in network.state_dict().items()}


def settings_for(layout: str) -> dict[str, object]:
    return {"cbam": layout == "stcn", "key_encoder_bias": layout == "paper"}


def assert_same(network: STCN, other: STCN) -> None:
    for (name, one), two in zip(network.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two), name


@pytest.mark.parametrize(
    ("name", "layout", "parameters", "known"),
    [
        (
            "stcn",
            "stcn",
            54_434_180,
            {
                "key_encoder.conv1.weight": (64, 3, 7, 7),
                "key_encoder.res2.0.downsample.1.running_mean": (256,),
                "key_encoder.layer2.3.conv3.weight": (512, 128, 1, 1),
                "key_encoder.layer3.5.bn3.num_batches_tracked": (),
                "value_encoder.conv1.weight": (64, 5, 7, 7),
                "value_encoder.conv1.bias": (64,),
                "value_encoder.layer3.0.downsample.0.bias": (256,),
                "value_encoder.fuser.block1.downsample.weight": (512, 1280, 3, 3),
                "value_encoder.fuser.block2.conv2.bias": (512,),
                "value_encoder.fuser.attention.ChannelGate.mlp.1.weight": (32, 512),
                "value_encoder.fuser.attention.ChannelGate.mlp.3.bias": (512,),
                "value_encoder.fuser.attention.SpatialGate.spatial.conv.weight": (1, 2, 7, 7),
                "key_proj.key_proj.weight": (64, 1024, 3, 3),
                "key_comp.bias": (512,),
                "decoder.compress.downsample.weight": (512, 1024, 3, 3),
                "decoder.up_16_8.skip_conv.weight": (512, 512, 3, 3),
                "decoder.up_16_8.out_conv.downsample.bias": (256,),
                "decoder.up_8_4.out_conv.conv1.weight": (256, 256, 3, 3),
                "decoder.pred.weight": (1, 256, 3, 3),
            },
        ),
        (
            "paper",
            "paper",
            54_416_065,
            {
                "key_encoder.model.conv1.bias": (64,),
                "key_encoder.model.layer1.0.downsample.0.bias": (256,),
                "value_encoder.model.conv1.weight": (64, 5, 7, 7),
                "value_encoder.model.layer3.1.bn2.bias": (256,),
                "value_encoder.fuser.block1.conv1.weight": (512, 1280, 3, 3),
                "key_proj.key_proj.bias": (64,),
            },
        ),
    ],
)
def test_foreign_names_and_shapes(
    name: str, layout: str, parameters: int, known: dict[str, tuple[int, ...]]
) -> None:
    with torch.device("meta"):
        network = build_network(name)
    state = {theirs(ours, layout): tuple(tensor.shape) for ours, tensor in network.state_dict().items()}
    assert {key: state.get(key) for key in known} == known
    assert describe_models()[f"propagation/{name}"] == {"parameters": parameters, "weights": None}


@pytest.mark.parametrize("wrap", [None, "model", "state_dict", "network"])
@pytest.mark.parametrize("layout", ["stcn", "paper"])
def test_foreign_checkpoints_load_whole(tmp_path: Path, layout: str, wrap: str | None) -> None:
    source, target = small_network(**settings_for(layout)), small_network(**settings_for(layout))
    state = {f"module.{name}" if wrap else name: t for name, t in state_in(layout, source).items()}
    torch.save({wrap: state, "it": 5} if wrap else state, tmp_path / "weights.pth")
    loaded = load_state(target, tmp_path / "weights.pth")
    assert loaded.layout == layout and loaded.notes == ()
    assert_same(source, target)


def test_own_weights_round_trip_with_their_card(tmp_path: Path) -> None:
    source, target = small_network(), small_network()
    path = tmp_path / "own.safetensors"
    save_weights(source, path, {"licence": "Apache-2.0"})
    assert load_state(target, path).layout == "keyslice"
    assert_same(source, target)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"licence": "Apache-2.0"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["own.safetensors"]


def test_single_object_weights_get_an_empty_fifth_channel(tmp_path: Path) -> None:
    source, target = small_network(other_objects=False), small_network()
    torch.save(state_in("stcn", source), tmp_path / "single.pth")
    loaded = load_state(target, tmp_path / "single.pth")
    assert "zero" in loaded.notes[0]
    narrow = source.state_dict()["value_encoder.trunk.conv1.weight"]
    wide = target.state_dict()["value_encoder.trunk.conv1.weight"]
    assert torch.equal(wide[:, :4], narrow) and wide[:, 4].abs().max() == 0
    again = small_network(other_objects=False)
    assert load_state(again, tmp_path / "single.pth").notes == ()
    assert_same(source, again)


def test_batch_counters_may_be_missing(tmp_path: Path) -> None:
    source = small_network()
    state = {n: t for n, t in state_in("stcn", source).items() if not n.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    target = small_network()
    load_state(target, tmp_path / "old.pth")
    assert_same(source, target)


@pytest.mark.parametrize("layout", ["stcn", "paper"])
def test_every_tensor_that_does_not_fit_is_named(tmp_path: Path, layout: str) -> None:
    network = small_network(**settings_for(layout))
    state = state_in(layout, network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    del state["key_proj.key_proj.bias"]
    state["decoder.extra.weight"] = torch.zeros(1)
    state["key_encoder.layer1.0.conv1.weight"] = torch.zeros(64, 64, 3, 3)  # ours, in a file that is not
    state["decoder.pred.weight"] = torch.zeros(2, 16, 3, 3)
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(InputError) as caught:
        load_state(network, tmp_path / "odd.pth")
    message = str(caught.value)
    assert "odd.pth" in message and "\n" not in message
    assert "2 unexpected (decoder.extra.weight, key_encoder.layer1.0.conv1.weight)" in message
    assert "1 missing (key_proj.key_proj.bias)" in message
    assert "decoder.pred.weight is (2, 16, 3, 3) instead of (1, 16, 3, 3)" in message
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name  # nothing half-loaded


def test_long_lists_are_shortened(tmp_path: Path) -> None:
    torch.save({f"odd.{n:03}": torch.zeros(1) for n in range(40)}, tmp_path / "odd.pth")
    with pytest.raises(InputError, match=r"40 unexpected \(odd\.000, .*odd\.011 and 28 more\)"):
        load_state(small_network(), tmp_path / "odd.pth")


def test_checkpoint_of_the_other_network_is_refused(tmp_path: Path) -> None:
    torch.save(state_in("stcn", small_network(**settings_for("stcn"))), tmp_path / "stcn.pth")
    with pytest.raises(InputError, match="fuser.attention.ChannelGate") as caught:
        load_state(small_network(**settings_for("paper")), tmp_path / "stcn.pth")
    assert "key_encoder.conv1.bias" in str(caught.value)


class _Code:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.folder),)


def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path: Path) -> None:
    torch.save({"key_proj.weight": _Code(tmp_path / "ran")}, tmp_path / "bad.pth")
    with pytest.raises(InputError, match="bad.pth.*code"):
        load_state(small_network(), tmp_path / "bad.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", None])
def test_files_that_are_no_weights_are_refused(tmp_path: Path, suffix: str, content: bytes | None) -> None:
    path = tmp_path / f"file{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=path.name):
        load_state(small_network(), path)


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "cut.safetensors", tmp_path / "cut.pth"):
        if path.suffix == ".pth":
            torch.save(small_network().state_dict(), path)
        else:
            save_weights(small_network(), path, {})
        path.write_bytes(path.read_bytes()[:100_000])
        with pytest.raises(InputError, match=path.name):
            load_state(small_network(), path)


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3, "weights": "none"}])
def test_checkpoints_without_tensors_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "empty.pth")
    with pytest.raises(InputError, match="empty.pth"):
        load_state(small_network(), tmp_path / "empty.pth")


def test_no_weights_ship_for_the_large_networks() -> None:
    with pytest.raises(InputError, match="--weights"):
        load_network("paper")


def test_load_network_is_ready_to_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "tiny.yaml"
    lines = "\n".join(f"  {key}: {value}" for key, value in SMALL.items())
    config.write_text(f"name: tiny\nnetwork:\n{lines}\n")
    source = small_network()
    save_weights(source, tmp_path / "tiny.safetensors", {})
    network = load_network(config, weights=tmp_path / "tiny.safetensors")
    assert isinstance(network, STCN) and not network.training
    assert_same(source, network)


@pytest.mark.parametrize("name", ["nonsense", "absent.yaml"])
def test_unknown_configurations_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=name):
        build_network(name)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (None, "no network kind"),
        ({"kind": "vit"}, "network kind 'vit'"),
        ({"kind": "stcn", "key_dim": "three"}, "network.key_dim: found 'three'; expected a whole number"),
        ({"kind": "stcn", "key_dims": 3}, "configuration: network: found the key key_dims; .*did you mean 'key_dim'"),
    ],
)
def test_wrong_network_sections_are_refused(section: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_network({"network": section})


def test_every_configuration_is_described() -> None:
    assert set(describe_models()) == {f"propagation/{name}" for name in configuration_names("propagation")}
