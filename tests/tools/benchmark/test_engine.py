"""The engine's benchmark: the published way, the truth handed on, processes that measure, tables."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from propagation_module.checkpoints import build_network
from propagation_module.compat import propagate_volume_compat
from propagation_module.memory import MemoryBank
from propagation_module.propagator import Propagator
from propagation_module.stcn import STCN
from tools.benchmark.engine import jobs as engine_jobs
from tools.benchmark.engine import run as engine
from tools.benchmark.engine.cases import EngineCase, mirrored, slab_of_phantom
from tools.benchmark.engine.published import DenseBank, dense_memory, propagate_local
from tools.benchmark.engine.truth import TruthFedNetwork, truth_fed
from tools.benchmark.model import ModelSpec
from volumes.metrics import dice
from volumes.volume import Geometry, Volume

ROOT = Path(__file__).resolve().parents[3]
TINY_STCN = """
network: {kind: stcn, key_encoder: resnet18, value_encoder: resnet18, key_dim: 16, value_dim: 32, cbam: false}
propagation: {top_k: 8}
"""


@pytest.fixture(scope="module")
def case():
    """Two bright bars, the second one on the upper slices alone; 64 x 64 mm without air."""
    rng = np.random.default_rng(0)
    truth = np.zeros((7, 64, 64), np.uint8)
    truth[:, 18:40, 14:30] = 1
    truth[3:, 20:34, 40:54] = 2
    array = (rng.normal(0, 10, truth.shape) + 120 * (truth > 0)).astype(np.int16)
    volume = Volume(array, Geometry.axial(array.shape, (3.0, 1.0, 1.0)), name="bars")
    return EngineCase(volume, truth, (1, 5))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """An untrained STCN of small widths."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY_STCN)
    return ModelSpec(str(path))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """`small` with weights that have learned nothing: it goes by its priors."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in build_network("small").state_dict().items()}, path)
    return ModelSpec("small", path)


@pytest.fixture(scope="module")
def folder(case, tmp_path_factory):
    return case.save(tmp_path_factory.mktemp("case"))


def test_a_case_comes_back_from_its_folder(case, folder):
    again = EngineCase.load(folder)
    assert np.array_equal(again.volume.array, case.volume.array)
    assert np.array_equal(again.truth, case.truth)
    assert (again.volume.spacing, again.given) == (case.volume.spacing, case.given)
    assert again.slices_by_label() == {1: 7, 2: 4}
    assert again.only([2]).slices_by_label() == {2: 4}
    assert again.largest(1) == [1]


def test_the_slab_has_labels_on_its_key_slices():
    slab = slab_of_phantom(64, 12)
    assert slab.volume.shape == slab.truth.shape == (12, 64, 64)
    assert slab.given == (2, 6, 10)
    assert len(slab.key_slices.labels) >= 10


def test_a_mirrored_case_is_alive_everywhere(case):
    deep = mirrored(case, 30, every=10)
    assert deep.given == (5, 15, 25)
    assert deep.truth.any((1, 2)).all()
    assert np.array_equal(deep.volume.array[8], case.volume.array[4])  # 6 slices up, 2 down


def test_the_dense_memory_says_what_the_gathered_one_says():
    torch.manual_seed(0)
    banks = MemoryBank(top_k=5), DenseBank(top_k=5)
    for bank in banks:
        generator = torch.Generator().manual_seed(1)
        for _ in range(2):
            bank.keep(torch.randn(8, 4, 4, generator=generator), torch.randn(3, 6, 4, 4, generator=generator))
    query = torch.randn(8, 4, 4)
    torch.testing.assert_close(banks[1].read(query), banks[0].read(query), rtol=1e-4, atol=1e-5)


def test_truth_handed_on_comes_out_on_both_sides_and_the_network_still_works(case, tiny):
    network = engine_jobs.network_of(tiny)
    assert isinstance(network, STCN)
    calls = {"engine": 0, "compat": 0}

    def count(name):
        def hook(*_):
            calls[name] += 1

        return network.decoder.predict.register_forward_hook(hook)

    handle = count("engine")
    with truth_fed(case.truth, case.given) as aside:
        ours = Propagator(network, pixel=None).propagate(case.volume, case.key_slices).labels
    handle.remove()
    handle = count("compat")
    fed = TruthFedNetwork(network, case.volume, case.truth, case.key_slices.labels)
    with dense_memory():
        theirs = propagate_volume_compat(fed, case.volume, case.key_slices)
    handle.remove()
    assert np.array_equal(theirs[:2], case.truth[:2])
    # Label 2 is on one of two key slices: the engine follows it, the published sum leaves a tie to background.
    assert np.array_equal(ours, case.truth)
    assert np.array_equal(theirs == 1, case.truth == 1)
    assert min(calls.values()) > 0
    assert aside.wall > 0 and fed.aside.wall > 0


def test_without_the_truth_an_untrained_network_finds_something_else(case, tiny):
    labels = Propagator(engine_jobs.network_of(tiny), pixel=None).propagate(case.volume, case.key_slices).labels
    assert not np.array_equal(labels, case.truth)


def test_the_published_way_with_local_stcn_carries_labels(case, small):
    labels = propagate_local(engine_jobs.network_of(small), case.volume, case.key_slices, pixel=1.5)
    for z in case.given:
        assert np.array_equal(labels[z], case.truth[z])
    assert dice(case.truth == 1, labels == 1) > 0.9


def test_engine_and_published_arithmetic_agree(tiny):
    found = engine_jobs.equality(tiny, size=144, depth=5)  # larger than the boxes that are used else
    assert found["steps"] == 6
    assert 0.05 < found["labelled_share"] < 0.95
    assert found["largest_difference"] < 1e-3
    assert found["first_step_difference"] < 1e-4
    assert found["differing_share"] < 1e-3
    assert found["compat_differing_share"] < 1e-3


def test_precisions_are_compared_voxel_by_voxel(case, folder, tmp_path):
    one, other = tmp_path / "one.npy", tmp_path / "other.npy"
    np.save(one, case.truth)
    changed = case.truth.copy()
    changed[1] = 0  # a key slice: does not count
    changed[2, 18] = 0
    np.save(other, changed)
    found = engine_jobs.compare(folder, one, other)
    assert found["differing_share"] == pytest.approx(16 / (5 * 64 * 64))
    assert found["lowest_dice"] < found["dice"] < 1
    assert engine_jobs.compare(folder, one, one)["dice"] == 1


def test_speed_has_ratios_and_peaks_of_separate_processes(folder, small):
    found = engine._speed(folder, small, 1, lambda _: None)
    assert set(found["ways"]) == {"engine", "compat"}
    assert found["labels"] == 2
    assert found["slices_by_label"] == {"1": 7, "2": 4}
    assert not found["truth_fed"]
    assert found["precision"] in ("float32", "bfloat16")
    ratios = found["ratios"]["compat"]
    assert ratios["seconds"] > 0 and ratios["cpu_seconds"] > 0 and ratios["peak"] > 0
    for one in found["ways"].values():
        assert one["seconds"] > 0
        assert one["peak_bytes"] >= one["start_bytes"] > 0
        assert 0 < one["dice"] <= 1


def test_memory_and_corrections_of_a_small_volume(folder, small):
    found = engine_jobs.in_own_process(engine_jobs.memory, folder, small, 14, 5, 7)
    assert found["slices"] == 14 and found["labels"] == 2 and found["key_slices"] == 2
    assert found["volume_and_labels_bytes"] == 14 * 64 * 64 * 3
    assert 0 < found["working_bytes"] < found["beyond_bytes"] < found["peak_bytes"]
    timed = engine_jobs.correction(folder, small, 1, 2, reach=2)
    assert 0 < timed["first"] <= timed["shown"] <= timed["settled"] <= timed["all"]
    for one in timed["corrections"]:
        assert one["label"] == 1 and one["z"] not in (1, 5)


def test_a_process_of_its_own_does_not_inherit_a_peak():
    ballast = np.ones(400 * 2**20, np.uint8)
    peak = engine_jobs.in_own_process(engine_jobs.peak_bytes)
    assert engine_jobs.peak_bytes() > ballast.nbytes
    assert 0 < peak < engine_jobs.peak_bytes() - ballast.nbytes // 2


def test_results_are_tables_and_a_picture(tmp_path):
    way = {"seconds": 2.0, "cpu_seconds": 3.0, "start_bytes": 2**28, "peak_bytes": 2**29, "dice": 0.9}
    ratios = {"seconds": 11.0, "cpu_seconds": 12.0, "peak": 2.0, "dice_lost": -0.1}
    run = {"slices": 100, "labels": 5, "key_slices": 2, "seconds": 1.0}
    run |= {name: 2**28 for name in ("peak_bytes", "beyond_bytes", "working_bytes")}
    results = {
        "about": {"machine": "a machine", "torch": "2"},
        "speed": {
            "small": {
                "shape": [40, 512, 512],
                "key_slices": [6, 20, 33],
                "labels": 13,
                "slices_by_label": {"1": 40},
                "truth_fed": False,
                "precision": "bfloat16",
                "ways": {"engine": way, "compat": way | {"seconds": 22.0}},
                "ratios": {"compat": ratios},
            }
        },
        "memory": {
            "runs": [run, run | {"slices": 1000}],
            "more_labels": run | {"labels": 13},
            "growth_percent": 1.0,
            "working_growth_percent": 2.0,
            "labels_growth_percent": 3.0,
        },
    }
    text = engine.markdown(results)
    assert "| published way | 22.0 | 3.0 | 512 | 0.9000 | 11.0 |" in text
    assert "100 to 1000 slices: +1.0 % beyond" in text
    engine.draw(results, tmp_path / "engine.png")
    assert (tmp_path / "engine.png").stat().st_size > 5000


def test_a_run_writes_what_it_measured(tmp_path, small):
    out = tmp_path / "out"
    engine.run(
        out, configs=["small"], weights=small.weights, parts=["memory"], size=64, depth=12,
        memory_slices=(6, 12), memory_every=6, quiet=True,
    )  # fmt: skip
    results = json.loads((out / "engine.json").read_text(encoding="utf-8"))
    assert [one["slices"] for one in results["memory"]["runs"]] == [6, 12]
    assert "growth_percent" in results["memory"]
    assert (out / "engine.md").is_file() and (out / "engine.png").is_file()


@pytest.mark.parametrize("options", [["--config", "huge"], ["--parts", "speed,magic"]])
def test_bad_options_end_in_one_line_and_status_2(tmp_path, options):
    command = [sys.executable, "-m", "tools.benchmark", "engine", "--out", str(tmp_path / "out"), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
