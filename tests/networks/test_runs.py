"""What all training runs share: their folder, their checkpoints, their steps."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from networks.run_record import RECORD, digest_of, keep_record
from networks.runs import check_run_folder, counted, first_process, make_trainer, newest_checkpoint
from volumes.errors import InputError

MADE_WITH = {"training": {"seed": 1, "betas": (0.9, 0.99)}, "cases": {"A": "labelled"}, "start_from": None}


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
    checkpoint = check_run_folder(out, True, MADE_WITH)
    keep_record(out, MADE_WITH)
    trainer.fit(_Line(), loader, ckpt_path=checkpoint, weights_only=True)
    return trainer


def test_a_run_ends_after_its_steps_and_goes_on(tmp_path: Path) -> None:
    assert check_run_folder(tmp_path, True, MADE_WITH) is None
    assert run(tmp_path, 7).global_step == 7
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step=00000004.ckpt", "step=00000006.ckpt"], "the two newest"
    assert newest_checkpoint(tmp_path / "checkpoints") == tmp_path / "checkpoints" / names[1]
    assert run(tmp_path, 9).global_step == 9
    assert (tmp_path / "csv" / "version_1" / "metrics.csv").read_text(encoding="utf-8").count("\n") == 1 + 3, (
        "steps 6, 7 and 8"
    )


def test_no_advice_to_send_runs_to_a_cloud(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    log.addHandler(handler)
    try:
        run(tmp_path, 2)
    finally:
        log.removeHandler(handler)
    assert any("GPU available" in line for line in told), "what is of use is told"
    assert not any("litlogger" in line for line in told)
    assert not any("LeafSpec" in str(warning.message) for warning in recwarn)


def test_a_run_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    torch.save({"state_dict": {}}, tmp_path / "checkpoints" / "step=00000002.ckpt")
    with pytest.raises(InputError, match=f"{RECORD}: found no record of what the run was made with"):
        check_run_folder(tmp_path, True, MADE_WITH)
    keep_record(tmp_path, MADE_WITH)
    assert check_run_folder(tmp_path, True, MADE_WITH) is not None
    with pytest.raises(InputError, match="found a run; expected an empty folder"):
        check_run_folder(tmp_path, False, MADE_WITH)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"training": {"seed": 2, "betas": (0.9, 0.99)}}, "training.seed was 1, is 2;"),
        ({"training": {"seed": 1, "betas": (0.9, 0.95)}}, r"training.betas was \[0.9, 0.99\], is \[0.9, 0.95\]"),
        ({"cases": {"A": "unlabelled"}}, "cases.A was labelled, is unlabelled"),
        ({"cases": {"A": "labelled", "B": "labelled"}}, "cases.B was nothing, is labelled"),
        ({"cases": {"B" * 9 + str(n): "labelled" for n in range(9)}}, "and 6 more"),
        ({"start_from": "abc"}, "start_from was nothing, is abc"),
    ],
)
def test_a_run_made_with_something_else_is_refused(tmp_path: Path, change: dict[str, object], told: str) -> None:
    (tmp_path / "checkpoints").mkdir()
    torch.save({"state_dict": {}}, tmp_path / "checkpoints" / "step=00000002.ckpt")
    keep_record(tmp_path, MADE_WITH)
    with pytest.raises(InputError, match=f"{told}.*choose another --out, or delete the folder") as error:
        check_run_folder(tmp_path, True, {**MADE_WITH, **change})
    assert "\n" not in str(error.value) and not list(tmp_path.glob("*.part"))


def test_a_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"abc")
    assert str(digest_of(tmp_path / "one")).startswith("ba7816bf") and digest_of(None) is None
    with pytest.raises(InputError, match="no readable file.*check --start-from"):
        digest_of(tmp_path / "two")


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


def test_a_checkpoint_cut_off_while_written_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": {}}, tmp_path / "step=00000002.ckpt")
    whole = (tmp_path / "step=00000002.ckpt").read_bytes()
    (tmp_path / "step=00000004.ckpt").write_bytes(whole[: len(whole) // 2])
    assert newest_checkpoint(tmp_path) == tmp_path / "step=00000002.ckpt"
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "step=00000004.ckpt cannot be read; going on from step=00000002.ckpt" in told
    assert newest_checkpoint(tmp_path / "none") is None


def test_a_run_of_damaged_checkpoints_does_not_begin_anew(tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"PK\x03\x04 cut", b"text")):
        (tmp_path / f"step=0000000{number}.ckpt").write_bytes(content)
    torch.save([1, 2], tmp_path / "step=00000008.ckpt")
    with pytest.raises(InputError, match="found 4 checkpoints, none of which can be read.*delete the folder") as error:
        newest_checkpoint(tmp_path)
    assert "\n" not in str(error.value)


def test_a_damaged_checkpoint_is_written_again(tmp_path: Path) -> None:
    assert run(tmp_path, 6).global_step == 6
    newest = tmp_path / "checkpoints" / "step=00000006.ckpt"
    newest.write_bytes(newest.read_bytes()[:99])
    run(tmp_path, 6)
    assert newest_checkpoint(newest.parent) == newest
    assert sorted(path.name for path in newest.parent.iterdir()) == ["step=00000004.ckpt", "step=00000006.ckpt"]


def test_a_checkpoint_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends while one is written leaves the ones before, and nothing by the name of a checkpoint."""

    def cut_off(content: object, file: IO[bytes]) -> None:
        file.write(b"half of it")
        raise KeyboardInterrupt

    run(tmp_path, 3)
    trainer = make_trainer(
        tmp_path,
        steps=4,
        device="cpu",
        precision="32-true",
        gradient_clip=1.0,
        log_every=1,
        checkpoint_every=2,
        progress=False,
    )
    monkeypatch.setattr(torch, "save", cut_off)
    with pytest.raises(KeyboardInterrupt):
        trainer.strategy.checkpoint_io.save_checkpoint({}, tmp_path / "checkpoints" / "step=00000004.ckpt")
    assert [path.name for path in (tmp_path / "checkpoints").glob("*.ckpt")] == ["step=00000002.ckpt"]


@pytest.mark.parametrize("name", ["LOCAL_RANK", "RANK", "NODE_RANK", "SLURM_PROCID"])
def test_the_first_of_the_processes_that_train_together(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert first_process()
    monkeypatch.setenv(name, "0")
    assert first_process()
    monkeypatch.setenv(name, "1")
    assert not first_process()


def test_a_bar_counts_to_the_end(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with counted("preparing volumes", True) as told:
        assert told is not None
        for done in (1, 2, 3):
            told(done, 3)
    assert "preparing volumes: 100%" in capsys.readouterr().err
    with counted("preparing volumes", False) as told:
        assert told is None
    monkeypatch.setenv("LOCAL_RANK", "1")
    with counted("preparing volumes", True) as told:
        assert told is None
