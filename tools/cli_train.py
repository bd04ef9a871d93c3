"""The commands `keyslice train ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tools.cli_options import Device, OneLineErrors, Quiet, path_option

train_app = typer.Typer(cls=OneLineErrors, no_args_is_help=True, help="Train a network.")

DATA = "Folder that the configuration's data paths start from, or a data set in nnU-Net raw layout."
DATASET = "A data set in nnU-Net raw layout or FLARE22's."
RUN = "Checkpoints, logs, weights."
MEMBERS = "Weights that members begin with, in turn: give it once for each member."

Config = Annotated[str, typer.Option(help="A configuration that ships (small) or a YAML file.")]
Data = Annotated[Path, path_option("--data", text=DATASET)]
Resume = Annotated[bool, typer.Option(help="Go on with the run that stopped in --out.")]
StartFrom = Annotated[Path | None, path_option("--start-from", text="Weights to begin with, to train on from them.")]
PairFrom = Annotated[
    Path | None,
    path_option("--start-from", text="Weights to begin with; R50+ViT-B_16.npz for the encoder of a large TransUNet."),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Replace a training setting: steps=2000.", metavar="KEY=VALUE")
]


@train_app.command("propagation")
def train_propagation(
    config: Config,
    data: Annotated[Path, path_option("--data", text=DATA)],
    out: Annotated[Path, path_option("--out", text=RUN)] = Path("runs/propagation"),
    device: Device = "auto",
    resume: Resume = True,
    start_from: StartFrom = None,
    settings: Settings = None,
    quiet: Quiet = False,
) -> None:
    """Train a propagation network on labelled and unlabelled CT. A run that was killed goes on."""
    from tools.train import Job, train_propagation_command

    job = Job(
        config=config,
        data=data,
        out=out,
        device=device,
        resume=resume,
        start_from=start_from,
        settings=settings or [],
        quiet=quiet,
    )
    raise typer.Exit(train_propagation_command(job))


@train_app.command("reference")
def train_reference(
    config: Config,
    data: Data,
    out: Annotated[Path, path_option("--out", text=RUN)] = Path("runs/reference"),
    device: Device = "auto",
    resume: Resume = True,
    start_from: PairFrom = None,
    settings: Settings = None,
    quiet: Quiet = False,
) -> None:
    """Train the pair that finds key slices, on labelled CT alone. A run that was killed goes on."""
    from tools.train import Job, train_reference_command

    job = Job(
        config=config,
        data=data,
        out=out,
        device=device,
        resume=resume,
        start_from=start_from,
        settings=settings or [],
        quiet=quiet,
    )
    raise typer.Exit(train_reference_command(job))


@train_app.command("cps")
def train_cps(
    config: Config,
    data: Data,
    out: Annotated[Path, path_option("--out", text=RUN)] = Path("runs/cps"),
    device: Device = "auto",
    resume: Resume = True,
    start_from: PairFrom = None,
    settings: Settings = None,
    quiet: Quiet = False,
) -> None:
    """Train the pair by cross pseudo supervision, on unlabelled CT too. A run that was killed goes on."""
    from tools.train import Job, train_cps_command

    job = Job(
        config=config,
        data=data,
        out=out,
        device=device,
        resume=resume,
        start_from=start_from,
        settings=settings or [],
        quiet=quiet,
    )
    raise typer.Exit(train_cps_command(job))


@train_app.command("rounds")
def train_rounds(
    config: Config,
    data: Data,
    out: Annotated[Path, path_option("--out", text="Runs, pseudo-labels, and a report of them.")] = Path("runs/rounds"),
    device: Device = "auto",
    resume: Resume = True,
    start_from: Annotated[list[Path] | None, path_option("--start-from", text=MEMBERS)] = None,
    settings: Settings = None,
    quiet: Quiet = False,
) -> None:
    """Train pairs in rounds, each on the pseudo-labels that those before agreed on. What was killed goes on."""
    from tools.train import Job, train_rounds_command

    job = Job(
        config=config,
        data=data,
        out=out,
        device=device,
        resume=resume,
        settings=settings or [],
        quiet=quiet,
    )
    raise typer.Exit(train_rounds_command(job, start_from or []))


@train_app.command("baseline3d")
def train_baseline3d(
    config: Config,
    data: Data,
    out: Annotated[Path, path_option("--out", text=RUN)] = Path("runs/baseline3d"),
    device: Device = "auto",
    resume: Resume = True,
    start_from: StartFrom = None,
    settings: Settings = None,
    quiet: Quiet = False,
) -> None:
    """Train a 3D U-Net to compare with, by a published recipe of self-training where the configuration has one.

    A run that was killed goes on.
    """
    from tools.train import Job, train_baseline3d_command

    job = Job(
        config=config,
        data=data,
        out=out,
        device=device,
        resume=resume,
        start_from=start_from,
        settings=settings or [],
        quiet=quiet,
    )
    raise typer.Exit(train_baseline3d_command(job))
