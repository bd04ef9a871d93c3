"""What the networks that learn from few labels are worth, in 2D and in 3D."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tools.benchmark.commands.app import app, listed, one_line_errors
from volumes.errors import InputError


@app.command()
def ablation(
    data: Annotated[
        Path | None, typer.Option(help="A data set in nnU-Net raw layout; default: the configuration's phantoms.")
    ] = None,
    config: Annotated[str, typer.Option(help="head-neck, phantom, or a YAML file.")] = "head-neck",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of everything, from which a killed run goes on; default: runs/ablation/CONFIG."),
    ] = None,
    rows: Annotated[str, typer.Option(help="Rows, comma-separated.")] = "1,2,3,4",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "cpu",
    jobs: Annotated[int, typer.Option(help="Trainings at once, each with its part of the cores.", min=1)] = 1,
    only_score: Annotated[bool, typer.Option("--only-score", help="Train nothing.")] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Score cases again that are scored.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No table, no progress.")] = False,
) -> None:
    """What each part is worth: supervised; + CPS; + three windows, uncertainty; + mask propagation."""
    from tools.benchmark.ablation.run import run
    from tools.benchmark.ablation.settings import rows_named
    from tools.devices import choose_device

    with one_line_errors():
        run(
            data,
            config=config,
            out=out or Path("runs/ablation") / Path(config).stem,
            rows=rows_named(rows),
            device=choose_device(device),
            jobs=jobs,
            only_score=only_score,
            anew=anew,
            quiet=quiet,
            progress=sys.stderr.isatty() and not quiet,
        )


@app.command()
def compare(
    config: Annotated[str, typer.Option(help="Of configs/compare, by name, or a .yaml file.")],
    data: Annotated[
        Path | None, typer.Option(help="A data set; without it, the configuration's phantoms are made.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of everything; a killed run resumes from it.")] = Path(
        "runs/compare"
    ),
    methods: Annotated[str | None, typer.Option(help="Of the configuration, comma-separated; default: all.")] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="METHOD=FILE: trained already. May be given more than once.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "cpu",
    limit: Annotated[int | None, typer.Option(help="At most so many cases.", min=1)] = None,
    only_train: Annotated[bool, typer.Option("--only-train", help="Score nothing.")] = False,
    only_score: Annotated[bool, typer.Option("--only-score", help="Train nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No table, no lines.")] = False,
) -> None:
    """2D propagation against a 3D U-Net and four self-training recipes: trained on the same cases, one table."""
    from tools.benchmark.compare.run import run
    from tools.devices import choose_device

    given = {}
    with one_line_errors():
        for one in weights or ():
            name, equals, path = one.partition("=")
            if not equals:
                raise InputError("--weights", found=f"'{one}'", expected="METHOD=FILE", fix="correct it")
            given[name] = Path(path)
        summary = run(
            data,
            config=config,
            out=out,
            methods=listed(methods) if methods is not None else None,
            weights=given,
            device=choose_device(device),
            limit=limit,
            only_train=only_train,
            only_score=only_score,
            quiet=quiet,
            progress=not quiet and sys.stderr.isatty(),
        )
    if any(one["failed"] for one in summary.get("methods", {}).values()):
        raise typer.Exit(1)


@app.command()
def strategies(
    data: Annotated[Path, typer.Option(help="A data set with labelled validation cases, such as head-neck.")],
    strategies: Annotated[
        str | None, typer.Option(help="Strategies, comma-separated; default: all. none: the pair alone.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results; a killed run resumes from it.")] = Path(
        "runs/benchmark/strategies"
    ),
    model: Annotated[str, typer.Option(help="The pair: a name, or a .safetensors file.")] = "head-neck",
    propagation: Annotated[str, typer.Option(help="The propagation module's configuration.")] = "small",
    propagation_weights: Annotated[Path | None, typer.Option(help="Its weights; default: those that ship.")] = None,
    spare: Annotated[
        str, typer.Option(help="Ablation configuration whose cases of the report are left out, or none.")
    ] = "head-neck",
    requery: Annotated[int, typer.Option(help="Slices that may be looked at again.", min=0)] = 48,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "cpu",
    limit: Annotated[int | None, typer.Option(help="At most so many cases.", min=1)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No table, no progress bar.")] = False,
) -> None:
    """Strategies that choose key slices without a person, in automatic mode, beside the pair alone."""
    from tools.benchmark.model import ModelSpec
    from tools.benchmark.strategies.run import Options, run
    from tools.devices import choose_device

    with one_line_errors():
        options = Options(
            strategies=listed(strategies) if strategies is not None else None,
            model=model,
            propagation=ModelSpec(propagation, propagation_weights, choose_device(device)),
            spare=spare,
            requery=requery,
            limit=limit,
        )
        run(data, out, options, quiet=quiet)


@app.command()
def components(
    size: Annotated[int, typer.Option(help="Pixels of a slice, each way.", min=40)] = 320,
    depth: Annotated[int, typer.Option(help="Slices.", min=20)] = 200,
    counts: Annotated[str, typer.Option(help="Numbers of labels.")] = "1,2,13,50,250",
    repeats: Annotated[int, typer.Option(help="The least time of so many counts.", min=1)] = 3,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs/benchmark/components"),
    quiet: Annotated[bool, typer.Option("--quiet", help="No table.")] = False,
) -> None:
    """Small components out of a label map: one labelling for all labels, against one for each."""
    from tools.benchmark.components import run

    with one_line_errors():
        try:
            numbers = [int(part) for part in listed(counts)]
        except ValueError:
            numbers = []
        if not numbers or not all(1 <= one <= 250 for one in numbers):
            raise InputError("--counts", found=f"'{counts}'", expected="numbers from 1 to 250", fix="correct it")
        run(out, shape=(depth, size, size), counts=numbers, repeats=repeats, quiet=quiet)


@app.command()
def precision(
    ct: Annotated[Path, typer.Option(help="A CT.")],
    model: Annotated[str, typer.Option(help="A 3D network: a name, or a .safetensors file.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    repeats: Annotated[int, typer.Option(help="The least time of so many counts.", min=1)] = 3,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs/benchmark/precision"),
    quiet: Annotated[bool, typer.Option("--quiet", help="No table.")] = False,
) -> None:
    """A 3D network in half precision against float32: seconds, memory, agreement."""
    from tools.benchmark.precision import run
    from tools.devices import choose_device

    with one_line_errors():
        run(ct, model, out, device=choose_device(device), repeats=repeats, quiet=quiet)
