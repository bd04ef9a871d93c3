"""What all training runs share: their folder, their checkpoints, their steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from networks.runs import check_run_folder, make_trainer, newest_checkpoint
from volumes.errors import InputError


class _Endless(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        while True:
            yield torch.ones(1, 2)


class _Line(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(2, 1)

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        loss = self.line(batch).square().mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def run(out: Path, steps: int) -> L.Trainer:
    trainer = make_trainer(
        out,
        steps=steps,
        device="cpu",
        precision="32-true",
        gradient_clip=1.0,
        log_every=1,
        checkpoint_every=2,
        progress=False,
    )
    loader = DataLoader(_Endless(), batch_size=None)
    trainer.fit(_Line(), loader, ckpt_path=check_run_folder(out, True), weights_only=True)
    return trainer


def test_a_run_ends_after_its_steps_and_goes_on(tmp_path: Path) -> None:
    assert check_run_folder(tmp_path, True) is None
    assert run(tmp_path, 7).global_step == 7
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step=00000004.ckpt", "step=00000006.ckpt"], "the two newest"
    assert newest_checkpoint(tmp_path / "checkpoints") == tmp_path / "checkpoints" / names[1]
    assert run(tmp_path, 9).global_step == 9
    assert (tmp_path / "csv" / "version_1" / "metrics.csv").read_text().count("\n") == 1 + 3, "steps 6, 7 and 8"


def test_a_run_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    torch.save({"state_dict": {}}, tmp_path / "checkpoints" / "step=00000002.ckpt")
    assert check_run_folder(tmp_path, True) is not None
    with pytest.raises(InputError, match="found a run; expected an empty folder"):
        check_run_folder(tmp_path, False)


def test_a_device_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="no CUDA device"):
        make_trainer(
            tmp_path,
            steps=1,
            device="cuda",
            precision="32-true",
            gradient_clip=None,
            log_every=1,
            checkpoint_every=1,
            progress=False,
        )


def test_a_checkpoint_cut_off_while_written_is_passed_over(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "step=00000002.ckpt")
    whole = (tmp_path / "step=00000002.ckpt").read_bytes()
    (tmp_path / "step=00000004.ckpt").write_bytes(whole[: len(whole) // 2])
    assert newest_checkpoint(tmp_path) == tmp_path / "step=00000002.ckpt"
    assert newest_checkpoint(tmp_path / "none") is None
