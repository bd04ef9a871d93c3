"""Training: samples are what they say, and a run killed half-way ends with the very weights of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from networks.configurations import read_config, settings_of
from networks.runs import newest_checkpoint
from propagation_module.checkpoints import build_network
from propagation_module.rollout import rollout
from propagation_module.training import Configuration, train
from propagation_module.training_data import Pool, SampleStream, jump_at
from propagation_module.triplets import FIRST, KEY, PREVIOUS, Case, SampleSettings, corrupt, draw_sample
from tests.training_runs import logged
from volumes.errors import InputError
from volumes.formats import write_label_map
from volumes.label_map import LabelMap
from volumes.labels import LabelTable
from volumes.volume import Geometry

ROOT = Path(__file__).resolve().parents[2]
SHAPE, SPACING = (16, 40, 44), (3.0, 2.0, 2.0)
TINY = {
    "steps": 6,
    "batch_size": 2,
    "workers": 0,
    "checkpoint_every": 2,
    "log_every": 1,
    "precision": "32-true",
    "averaging": 0.0,
    "samples": {"size": 32, "pixel": [1.8, 2.2]},
}
NO_LOSSES = dict.fromkeys(("bootstrapped", "cross_entropy", "lovasz", "dice", "presence"), 0.0)


def _case(seed: int = 0) -> Case:
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[:16, :40, :44]
    labels = np.zeros(SHAPE, np.uint8)
    labels[((z - 8) / 6) ** 2 + ((y - 16) / 8) ** 2 + ((x - 16) / 9) ** 2 <= 1] = 1
    labels[((z - 8) / 7) ** 2 + ((y - 26) / 5) ** 2 + ((x - 32) / 5) ** 2 <= 1] = 2
    image = (labels * 80 + rng.normal(0, 10, SHAPE)).astype(np.int16)
    return Case("ball", image, labels, SPACING)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in nnU-Net raw layout."""
    import SimpleITK as sitk

    folder = tmp_path_factory.mktemp("data")
    (folder / "imagesTr").mkdir()
    (folder / "labelsTr").mkdir()
    for seed in range(2):
        case = _case(seed)
        image = sitk.GetImageFromArray(case.image)
        image.SetSpacing(SPACING[::-1])
        sitk.WriteImage(image, str(folder / "imagesTr" / f"C_{seed}_0000.nii.gz"))
        table = LabelTable.default([1, 2])
        geometry = Geometry.axial(SHAPE, SPACING)
        write_label_map(LabelMap(case.labels, geometry, table), folder / "labelsTr" / f"C_{seed}.nii.gz")
    return folder


def _samples(count: int, size: int = 32, **settings: object) -> list[dict[str, np.ndarray]]:
    case = _case()
    drawn = SampleSettings(size=size, pixel=(1.9, 2.1), **settings)  # type: ignore[arg-type]
    return [
        draw_sample(np.random.default_rng(i), case, case.structures[i % 2], jump=6, settings=drawn)
        for i in range(count)
    ]


def test_sample_shapes_and_ranges() -> None:
    for sample in _samples(20):
        assert sample["images"].shape == (5, 3, 32, 32) and sample["images"].dtype == np.float32
        assert sample["images"].min() >= 0 and sample["images"].max() <= 1
        assert sample["masks"].shape == sample["others"].shape == (5, 32, 32)
        assert set(np.unique(sample["masks"])) <= {0.0, 1.0}
        assert not (sample["masks"] * sample["others"]).any()
        assert sample["shapes"].shape == (2, 32, 32) and sample["distances"].shape == (2, 3)


def test_queries_follow_the_slice_before_them() -> None:
    for sample in _samples(60, queries=4):
        z = sample["z"]
        assert z[FIRST] == 0.0
        chain = np.concatenate([z[[KEY]], z[PREVIOUS:]])
        assert (np.diff(chain) >= 0).all() or (np.diff(chain) <= 0).all(), "key slice, slice before, queries"
        assert sample["distances"][0, 0] == pytest.approx(abs(z[FIRST] - z[PREVIOUS]))


def test_a_key_slice_shows_its_label() -> None:
    shown = [sample["masks"][KEY].any() for sample in _samples(30, size=48)]
    assert np.mean(shown) > 0.8  # the crop is drawn about the queries and may miss it


def test_without_prediction_the_slice_before_is_the_key_slice() -> None:
    for sample in _samples(20, detached=0.0):
        assert not sample["valid"][PREVIOUS]
        assert np.array_equal(sample["previous"], sample["masks"][KEY])


def test_corruption_resembles_the_mask() -> None:
    mask = np.zeros((48, 48), bool)
    mask[14:34, 12:36] = True
    scores = []
    for seed in range(40):
        worse = corrupt(np.random.default_rng(seed), mask, 1.5) > 0.5
        scores.append(2 * (worse & mask).sum() / (worse.sum() + mask.sum()))
    assert 0.75 < np.mean(scores) < 0.99
    assert not corrupt(np.random.default_rng(0), np.zeros((8, 8), bool), 1.0).any()


def test_batches_depend_on_seed_and_number_alone() -> None:
    def stream(**changes: int) -> SampleStream:
        arguments = {"batch_size": 2, "steps": 10, "seed": 5, **changes}
        settings = SampleSettings(size=32, pixel=(1.9, 2.1))
        return SampleStream([Pool(1.0, [_case()])], settings=settings, curriculum=[(0.0, 4)], strength=1.0, **arguments)

    straight = iter(stream())
    third = [next(straight) for _ in range(3)][2]
    resumed = next(iter(stream(start=2)))
    for name in third:
        # Distances differ in the last bit with where an array lies in memory.
        torch.testing.assert_close(third[name], resumed[name], rtol=1e-5, atol=1e-5, msg=name)
    assert not torch.equal(third["images"], next(iter(stream(start=2, rank=1)))["images"])
    assert not torch.equal(third["images"], next(iter(stream(start=2, seed=6)))["images"])


def test_curriculum() -> None:
    curriculum = [(0.0, 25), (0.1, 3), (0.9, 7)]
    assert [jump_at(curriculum, p) for p in (0.0, 0.09, 0.1, 0.5, 0.95, 2.0)] == [25, 25, 3, 3, 7, 7]


@pytest.mark.parametrize("kind", ["local_stcn", "stcn"])
def test_a_few_steps_learn(kind: str) -> None:
    """Both kinds of network, unrolled as trained, fit one batch better and better."""
    torch.manual_seed(0)
    if kind == "stcn":
        small = {"kind": kind, "key_encoder": "resnet18", "value_encoder": "resnet18", "value_dim": 64}
        network = build_network(OmegaConf.create({"name": "test", "network": small}))
    else:
        network = build_network("small")
    samples = _samples(4, second="one", second_share=1.0, far_key=0.5, queries=3)
    batch = {name: torch.from_numpy(np.stack([s[name] for s in samples])) for name in samples[0]}
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        logits, targets, presence = rollout(network, batch)
        assert logits.shape == targets.shape
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
        if presence is not None:
            there = targets.flatten(2).any(2).float()
            loss = loss + 0.1 * torch.nn.functional.binary_cross_entropy_with_logits(presence, there)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.grad is not None for n, p in network.named_parameters() if "fc" not in n)
    assert losses[-1] < 0.8 * losses[0]


def test_every_configuration_can_be_trained() -> None:
    for name in ("small", "base", "stcn", "paper"):
        settings = settings_of(read_config("propagation", name), Configuration, name).training
        assert settings.steps > 0 and settings.losses.bootstrapped > 0 and settings.losses.lovasz > 0


SCRIPT = """
import sys
from propagation_module.training import train
train("small", data=sys.argv[1], out=sys.argv[2], device="cpu", overrides={overrides!r}, progress=False)
"""


def test_killed_and_resumed_equals_never_killed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    whole = train("small", data=data, out=tmp_path / "whole", device="cpu", overrides=TINY, progress=False)

    # The second run is killed by signal 9 as soon as a checkpoint is there, some steps before its end.
    command = [sys.executable, "-c", SCRIPT.format(overrides={**TINY, "steps": 6}), str(data), str(tmp_path / "cut")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while newest_checkpoint(tmp_path / "cut" / "checkpoints") is None:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut" / "small.safetensors").exists()

    resumed = train("small", data=data, out=tmp_path / "cut", device="cpu", overrides=TINY, progress=False)
    expected, found = logged(tmp_path / "whole", "loss"), logged(tmp_path / "cut", "loss")
    assert sorted(found) == sorted(expected) == list(range(6)), "every step was made, and logged"
    for step in expected:
        assert found[step] == pytest.approx(expected[step], rel=1e-2), f"step {step}"
    # Not to the last bit: two runs that nothing killed differ there too, in one thread of processes of their own
    # (matrix products depend on where in memory their operands lie), and AdamW makes whole steps of what is left of a
    # gradient that should be zero. The distance is 0 or some .18 of the way from the start.
    a, b = load_file(whole), load_file(resumed)
    torch.manual_seed(read_config("propagation", "small").training.seed)
    start = build_network("small").state_dict()
    kernels = [name for name in a if a[name].dim() == 4]

    def distance(x: dict[str, torch.Tensor], y: dict[str, torch.Tensor]) -> float:
        return float(torch.stack([(x[name] - y[name]).pow(2).sum() for name in kernels]).sum().sqrt())

    assert distance(a, b) < 0.4 * distance(a, start)
    assert (tmp_path / "cut" / "csv" / "version_1").is_dir(), "the second part was logged beside the first"

    # Going on with it as if it were another is refused, before volumes are read.
    monkeypatch.setattr("propagation_module.training.load_pools", None)
    for changes, told in (({"seed": 1}, "training.seed was"), ({"steps": 8}, "training.steps was 6, is 8")):
        with pytest.raises(InputError, match=f"{told}.*choose another --out"):
            overrides = {**TINY, **changes}
            train("small", data=data, out=tmp_path / "cut", device="cpu", overrides=overrides, progress=False)
    (data / "imagesTr" / "C_1_0000.nii.gz").rename(data / "imagesTr" / "D_1_0000.nii.gz")
    try:
        with pytest.raises(InputError, match="files.source 1.imagesTr/C_1_0000.nii.gz was .*, is nothing"):
            train("small", data=data, out=tmp_path / "cut", device="cpu", overrides=TINY, progress=False)
    finally:
        (data / "imagesTr" / "D_1_0000.nii.gz").rename(data / "imagesTr" / "C_1_0000.nii.gz")
    short = tmp_path / "short.safetensors"
    short.write_bytes(whole.read_bytes()[:-1000])
    with pytest.raises(InputError, match="short.safetensors"):
        train("small", data=data, out=tmp_path / "new", device="cpu", start_from=short, progress=False)


def test_the_average_holds_every_step(data: Path, tmp_path: Path) -> None:
    overrides = {**TINY, "steps": 2, "averaging": 0.9}
    weights = train("small", data=data, out=tmp_path, device="cpu", overrides=overrides, progress=False)
    state = torch.load(tmp_path / "checkpoints" / "step=00000002.ckpt", weights_only=True)["state_dict"]
    assert state["average.n_averaged"] == 2
    assert all(torch.equal(one, state[f"average.module.{name}"]) for name, one in load_file(weights).items())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"stepz": 5}, "small: training: found the key stepz; .*did you mean 'steps'"),
        ({"steps": "many"}, "small: training.steps: found 'many'; expected a whole number"),
        ({"samples": {"size": 32.5}}, "small: training.samples.size: found 32.5; expected a whole number"),
        ({"losses": {"dize": 1.0}}, "small: training.losses: found the key dize"),
        ({"schedule": "never"}, "training.schedule: found 'never'; expected 'halve' or 'one_cycle'"),
        ({"curriculum": [[0.0]]}, r"training.curriculum\[0\]: found a list"),
        ({"seed": -1}, "training.seed: found -1; expected 0 or more"),
        ({"gradient_clip": -1.0}, "training.gradient_clip: found -1.0"),
        ({"curriculum": []}, "training.curriculum: found"),
        ({"losses": NO_LOSSES}, "training.losses: found 0 for all"),
        ({"losses": {"lovasz": -1.0}}, "training.losses.lovasz: found -1.0"),
        ({"precision": "half"}, "training.precision: found 'half'"),
    ],
)
def test_settings_that_do_not_exist_are_refused(tmp_path: Path, overrides: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train("small", data=tmp_path, out=tmp_path / "out", device="cpu", overrides=overrides, progress=False)


def test_data_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file.*point --data"):
        train("small", data=tmp_path, out=tmp_path / "out", device="cpu", overrides=TINY, progress=False)
