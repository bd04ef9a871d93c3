"""Public encoder weights: an `.npz` of Google's names and shapes, made here, and what is refused.

The names and shapes are those of `R50+ViT-B_16.npz`, written down a second time, with other sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from timm.layers import GroupNormAct, HybridEmbed, StdConv2dSame
from timm.models.resnetv2 import ResNetV2
from timm.models.vision_transformer import VisionTransformer

from reference_module.models import InputSettings
from reference_module.npz import load_npz
from reference_module.training import new_pair
from reference_module.transunet import TransUNet
from volumes.errors import InputError
from volumes.labels import LabelTable

Arrays = dict[str, NDArray[np.float32]]

# Two blocks in the first stage, one in the others; 3 transformer layers of 2 heads with 24 channels; 3 x 3 patches.
STEM, HIDDEN, HEADS, MLP, LAYERS, SIDE = 16, 48, 2, 80, 3, 3
UNITS = {
    "block1/unit1": (16, 16, 64),
    "block1/unit2": (64, 16, 64),
    "block2/unit1": (64, 32, 128),
    "block3/unit1": (128, 64, 256),
}
PROJECTED = ("block1/unit1", "block2/unit1", "block3/unit1")


def network(grid: int = SIDE, **settings: object) -> TransUNet:
    torch.manual_seed(0)
    sizes = {"layers": (2, 1, 1), "stem": STEM, "hidden": HIDDEN, "depth": LAYERS, "heads": HEADS, "mlp": MLP}
    return TransUNet(4, grid=grid, decoder=(16, 16, 8, 8), head=16, **{**sizes, **settings}).eval()


def shapes() -> dict[str, tuple[int, ...]]:
    """Every name in the file, and its shape."""
    found: dict[str, tuple[int, ...]] = {
        "conv_root/kernel": (7, 7, 3, STEM),
        "gn_root/scale": (STEM,),
        "gn_root/bias": (STEM,),
        "embedding/kernel": (1, 1, 256, HIDDEN),
        "embedding/bias": (HIDDEN,),
        "cls": (1, 1, HIDDEN),
        "Transformer/posembed_input/pos_embedding": (1, 1 + SIDE * SIDE, HIDDEN),
        "Transformer/encoder_norm/scale": (HIDDEN,),
        "Transformer/encoder_norm/bias": (HIDDEN,),
        "pre_logits/kernel": (HIDDEN, HIDDEN),
        "pre_logits/bias": (HIDDEN,),
        "head/kernel": (HIDDEN, 10),
        "head/bias": (10,),
    }
    for unit, (given, inner, made) in UNITS.items():
        found[f"{unit}/conv1/kernel"] = (1, 1, given, inner)
        found[f"{unit}/conv2/kernel"] = (3, 3, inner, inner)
        found[f"{unit}/conv3/kernel"] = (1, 1, inner, made)
        norms = {"gn1": inner, "gn2": inner, "gn3": made}
        if unit in PROJECTED:
            found[f"{unit}/conv_proj/kernel"] = (1, 1, given, made)
            norms["gn_proj"] = made
        for norm, channels in norms.items():
            found[f"{unit}/{norm}/scale"] = (1, 1, 1, channels)
            found[f"{unit}/{norm}/bias"] = (1, 1, 1, channels)
    for layer in range(LAYERS):
        root = f"Transformer/encoderblock_{layer}"
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            found[f"{root}/{norm}/scale"] = (HIDDEN,)
            found[f"{root}/{norm}/bias"] = (HIDDEN,)
        for part in ("query", "key", "value"):
            found[f"{root}/MultiHeadDotProductAttention_1/{part}/kernel"] = (HIDDEN, HEADS, HIDDEN // HEADS)
            found[f"{root}/MultiHeadDotProductAttention_1/{part}/bias"] = (HEADS, HIDDEN // HEADS)
        found[f"{root}/MultiHeadDotProductAttention_1/out/kernel"] = (HEADS, HIDDEN // HEADS, HIDDEN)
        found[f"{root}/MultiHeadDotProductAttention_1/out/bias"] = (HIDDEN,)
        found[f"{root}/MlpBlock_3/Dense_0/kernel"] = (HIDDEN, MLP)
        found[f"{root}/MlpBlock_3/Dense_0/bias"] = (MLP,)
        found[f"{root}/MlpBlock_3/Dense_1/kernel"] = (MLP, HIDDEN)
        found[f"{root}/MlpBlock_3/Dense_1/bias"] = (HIDDEN,)
    return found


@pytest.fixture
def arrays() -> Arrays:
    generator = np.random.Generator(np.random.PCG64(0))
    return {name: 0.2 * generator.standard_normal(shape, dtype=np.float32) for name, shape in shapes().items()}


def written(folder: Path, arrays: Arrays) -> Path:
    path = folder / "R50.npz"
    np.savez(path, **arrays)
    return path


def test_convolutions_and_norms_arrive_in_their_places(arrays: Arrays, tmp_path: Path) -> None:
    loaded = network()
    load_npz(loaded, written(tmp_path, arrays))
    stem = loaded.resnet.stem
    for out, into, y, x in ((0, 0, 0, 0), (5, 2, 6, 1), (15, 1, 3, 4)):
        assert stem.conv.weight[out, into, y, x].item() == arrays["conv_root/kernel"][y, x, into, out]
    assert stem.norm.weight.tolist() == arrays["gn_root/scale"].tolist()
    second = loaded.resnet.stages[0].blocks[1]
    assert second.conv2.weight[3, 4, 2, 0].item() == arrays["block1/unit2/conv2/kernel"][2, 0, 4, 3]
    assert second.norm3.bias.tolist() == arrays["block1/unit2/gn3/bias"].ravel().tolist()
    third = loaded.resnet.stages[2].blocks[0]
    assert (
        third.downsample.conv.weight[200, 100, 0, 0].item() == arrays["block3/unit1/conv_proj/kernel"][0, 0, 100, 200]
    )
    assert third.downsample.norm.weight.tolist() == arrays["block3/unit1/gn_proj/scale"].ravel().tolist()
    assert loaded.embed.weight[7, 9, 0, 0].item() == arrays["embedding/kernel"][0, 0, 9, 7]


@torch.inference_mode()
def test_the_transformer_computes_what_the_file_describes(arrays: Arrays, tmp_path: Path) -> None:
    """Against the layers of Dosovitskiy et al. (2021), appendix A, written with numpy on the file's own arrays."""
    loaded = network()
    load_npz(loaded, written(tmp_path, arrays))
    tokens = np.random.Generator(np.random.PCG64(1)).standard_normal((1, 5, HIDDEN))

    def norm(given: NDArray[np.float64], root: str) -> NDArray[np.float64]:
        centred = given - given.mean(-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        return centred / spread * arrays[f"{root}/scale"] + arrays[f"{root}/bias"]

    expected = tokens
    for layer in range(LAYERS):
        root = f"Transformer/encoderblock_{layer}"
        attention = f"{root}/MultiHeadDotProductAttention_1"
        seen = norm(expected, f"{root}/LayerNorm_0")
        query, key, value = (
            np.einsum("bnd,dhc->bhnc", seen, arrays[f"{attention}/{part}/kernel"])
            + arrays[f"{attention}/{part}/bias"][:, None]
            for part in ("query", "key", "value")
        )
        scores = np.exp(np.einsum("bhnc,bhmc->bhnm", query, key) / np.sqrt(HIDDEN // HEADS))
        read = np.einsum("bhnm,bhmc->bnhc", scores / scores.sum(-1, keepdims=True), value)
        out = np.einsum("bnhc,hcd->bnd", read, arrays[f"{attention}/out/kernel"])
        expected = expected + out + arrays[f"{attention}/out/bias"]
        inner = norm(expected, f"{root}/LayerNorm_2") @ arrays[f"{root}/MlpBlock_3/Dense_0/kernel"]
        inner = inner + arrays[f"{root}/MlpBlock_3/Dense_0/bias"]
        inner = inner * torch.special.ndtr(torch.from_numpy(inner)).numpy()
        expected = expected + inner @ arrays[f"{root}/MlpBlock_3/Dense_1/kernel"]
        expected = expected + arrays[f"{root}/MlpBlock_3/Dense_1/bias"]
    expected = norm(expected, "Transformer/encoder_norm")
    found = loaded.norm(loaded.blocks(torch.from_numpy(tokens).float()))
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_the_encoder_says_what_timm_s_own_says_with_the_same_file(arrays: Arrays, tmp_path: Path) -> None:
    """timm reads these files too, into its whole classifier."""
    path = written(tmp_path, arrays)
    loaded = network()
    load_npz(loaded, path)
    resnet = ResNetV2(
        layers=[2, 1, 1],
        channels=(64, 128, 256),
        num_classes=0,
        global_pool="",
        stem_chs=STEM,
        stem_type="same",
        preact=False,
        conv_layer=partial(StdConv2dSame, eps=1e-8),
        norm_layer=partial(GroupNormAct, num_groups=16),
    )
    for norm in [one for one in resnet.modules() if isinstance(one, torch.nn.GroupNorm)]:
        norm.num_groups = min(32, norm.num_channels)
    theirs = VisionTransformer(
        img_size=16 * SIDE,
        patch_size=1,
        embed_layer=partial(HybridEmbed, backbone=resnet),
        embed_dim=HIDDEN,
        depth=LAYERS,
        num_heads=HEADS,
        mlp_ratio=(MLP + 0.5) / HIDDEN,
        num_classes=10,
    ).eval()
    theirs.load_pretrained(str(path))
    images = torch.rand(2, 3, 16 * SIDE, 16 * SIDE)
    features = loaded._encode(images)[-1]
    torch.testing.assert_close(features, resnet(images))
    # Without the classifier's token: theirs has it, so that only what comes before the attention is the same.
    tokens = (loaded.embed(features) + loaded.position_embedding).flatten(2).transpose(1, 2)
    torch.testing.assert_close(tokens, theirs._pos_embed(theirs.patch_embed(images))[:, 1:])
    torch.testing.assert_close(loaded.norm(loaded.blocks(tokens)), theirs.norm(theirs.blocks(tokens)))


def test_positions_keep_their_places_without_the_classifier(arrays: Arrays, tmp_path: Path) -> None:
    loaded = network()
    load_npz(loaded, written(tmp_path, arrays))
    given = arrays["Transformer/posembed_input/pos_embedding"]
    for row in range(SIDE):
        for column in range(SIDE):
            found = loaded.position_embedding[0, :, row, column].tolist()
            assert found == given[0, 1 + row * SIDE + column].tolist()


@pytest.mark.parametrize("grid", [2, 5, 8])
def test_positions_are_interpolated_to_another_grid(arrays: Arrays, tmp_path: Path, grid: int) -> None:
    rows, columns = np.meshgrid(np.arange(SIDE), 10 * np.arange(SIDE), indexing="ij")
    arrays["Transformer/posembed_input/pos_embedding"][0, 1:] = (rows + columns).reshape(-1, 1)
    loaded = network(grid)
    load_npz(loaded, written(tmp_path, arrays))
    found = loaded.position_embedding[0, 0].detach()
    assert found.shape == (grid, grid)
    assert float(found.mean()) == pytest.approx(11 * (SIDE - 1) / 2, abs=0.05)
    down, across = found[-1] - found[0], found[:, -1] - found[:, 0]
    assert float(down.min()) > 0.9
    torch.testing.assert_close(across, 10 * down, rtol=1e-4, atol=1e-4)


def test_every_encoder_tensor_is_given_and_no_other(arrays: Arrays, tmp_path: Path) -> None:
    loaded, fresh = network(), network()
    load_npz(loaded, written(tmp_path, arrays))
    pairs = zip(loaded.state_dict().items(), fresh.state_dict().values(), strict=True)
    same = {name for (name, one), other in pairs if torch.equal(one, other)}
    decoder = {name for name in fresh.state_dict() if name.startswith(("bottom", "decoder", "head"))}
    assert same == decoder


def test_files_without_a_classifier_and_of_half_precision_load_too(arrays: Arrays, tmp_path: Path) -> None:
    kept = {name: array for name, array in arrays.items() if not name.startswith(("cls", "head", "pre_logits"))}
    name = "Transformer/posembed_input/pos_embedding"
    kept[name] = kept[name][:, 1:]
    loaded = network()
    load_npz(loaded, written(tmp_path, {key: array.astype(np.float16) for key, array in kept.items()}))
    assert loaded.position_embedding.dtype == torch.float32
    assert loaded.position_embedding[0, :, 0, 0].tolist() == kept[name][0, 0].astype(np.float16).tolist()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda arrays: arrays.pop("conv_root/kernel"), r"1 missing \(conv_root/kernel\)"),
        (lambda arrays: arrays.clear(), r"\d+ missing .* and \d+ more"),
        (
            lambda arrays: arrays.update({"block4/unit1/conv1/kernel": np.zeros((1, 1, 8, 8), np.float32)}),
            r"1 unknown \(block4/unit1/conv1/kernel\)",
        ),
        (
            lambda arrays: arrays.update({"embedding/kernel": np.zeros((1, 1, 128, HIDDEN), np.float32)}),
            r"embedding/kernel of shape \(1, 1, 128, 48\)",
        ),
        (
            lambda arrays: arrays.update({"embedding/kernel": np.zeros((256, HIDDEN), np.float32)}),
            "embedding/kernel of shape .*four axes",
        ),
        (
            lambda arrays: arrays.update(
                {"Transformer/posembed_input/pos_embedding": np.zeros((1, 8, HIDDEN), np.float32)}
            ),
            "not the positions of a square",
        ),
        (lambda arrays: arrays["gn_root/scale"].fill(np.nan), "gn_root/scale .*not finite"),
        (lambda arrays: arrays.update({"gn_root/scale": np.zeros(STEM, np.int64)}), "gn_root/scale"),
    ],
)
def test_files_that_do_not_fit_are_refused_in_one_line(
    arrays: Arrays, tmp_path: Path, damage: Callable[[Arrays], object], message: str
) -> None:
    damage(arrays)
    loaded = network()
    before = {name: tensor.clone() for name, tensor in loaded.state_dict().items()}
    with pytest.raises(InputError, match=message) as caught:
        load_npz(loaded, written(tmp_path, arrays))
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in loaded.state_dict().items())


def test_networks_of_other_sizes_are_refused(arrays: Arrays, tmp_path: Path) -> None:
    path = written(tmp_path, arrays)
    for settings in ({"depth": 2}, {"depth": 4}, {"layers": (2, 1, 2)}, {"mlp": 64}, {"hidden": 64}, {"stem": 32}):
        with pytest.raises(InputError, match="encoder of this TransUNet"):
            load_npz(network(**settings), path)


def test_a_training_starts_from_them(arrays: Arrays, tmp_path: Path) -> None:
    sizes = {"layers": [2, 1, 1], "stem": STEM, "hidden": HIDDEN, "depth": LAYERS, "heads": HEADS, "mlp": MLP}
    transunet = {"kind": "transunet", **sizes, "grid": SIDE, "decoder": [16, 16, 8, 8], "head": 16}
    deeplab = {"kind": "deeplabv3plus", "encoder": "resnet18"}
    table, inputs = LabelTable.default([1, 2]), InputSettings(None, "three")
    for first, second, place in ((transunet, deeplab, "first"), (deeplab, transunet, "second")):
        whole = OmegaConf.create({"name": "tiny", "network": {"first": first, "second": second}})
        pair = new_pair(whole, table, inputs, 0, written(tmp_path, arrays))
        expected = network()
        load_npz(expected, tmp_path / "R50.npz")
        found = getattr(pair, place).resnet.state_dict()
        assert found and all(torch.equal(found[name], tensor) for name, tensor in expected.resnet.state_dict().items())
    without = OmegaConf.create({"name": "tiny", "network": {"first": deeplab, "second": deeplab}})
    with pytest.raises(InputError, match="this pair, which has none"):
        new_pair(without, table, inputs, 0, tmp_path / "R50.npz")


def test_networks_without_group_norm_are_refused(arrays: Arrays, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="norm: group"):
        load_npz(network(norm="batch"), written(tmp_path, arrays))


class _Code:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return _marked, ("ran",)


def _marked(text: str) -> None:
    raise AssertionError(text)


def test_files_with_code_are_refused_and_the_code_is_not_run(arrays: Arrays, tmp_path: Path) -> None:
    path = tmp_path / "code.npz"
    np.savez(path, **arrays, extra=np.array([_Code()], dtype=object))
    with pytest.raises(InputError, match="with code in it"):
        load_npz(network(), path)


@pytest.mark.parametrize("kind", ["missing", "text", "cut", "npy", "folder"])
def test_files_that_cannot_be_read_are_refused(arrays: Arrays, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "given.npz"
    if kind == "text":
        path.write_text("no weights")
    elif kind == "cut":
        whole = written(tmp_path, arrays).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(InputError, match="expected a .npz file") as caught:
        load_npz(network(), path)
    assert "\n" not in str(caught.value)
