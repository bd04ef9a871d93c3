"""What propagation is worth, with and without an annotator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tools.benchmark.commands.app import app, listed, one_line_errors
from tools.errors import BAD_INPUT, show
from volumes.errors import InputError


@app.command()
def propagation(
    data: Annotated[Path, typer.Option(help="The data folder, or the folder of one set.")],
    sets: Annotated[
        str | None,
        typer.Option(help="Sets, comma-separated: head-neck, sarcoma, liver_17, torso_3mm, ..., or folders."),
    ] = None,
    slices: Annotated[str, typer.Option(help="Numbers of key slices for each structure.")] = "1,3,5,8",
    methods: Annotated[
        str | None,
        typer.Option(help="keyslice, nearest, shape, morphological, shape+ends, ...; default: all."),
    ] = None,
    no_marks: Annotated[bool, typer.Option("--no-marks", help="Also run ours without start and stop marks.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of the results; a killed run resumes from it.")] = Path(
        "runs/benchmark/propagation"
    ),
    config: Annotated[str, typer.Option(help="Configuration: small, stcn, paper.")] = "small",
    weights: Annotated[Path | None, typer.Option(help="Weights file; default: those that ship.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "cpu",
    limit: Annotated[int | None, typer.Option(help="At most so many cases of each set.", min=1)] = None,
    jobs: Annotated[int, typer.Option(help="Cases at once.", min=1)] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="No table, no progress bar.")] = False,
) -> None:
    """Mean Dice at 1, 3, 5 and 8 key slices, Keyslice beside classical tools at the same slices."""
    from tools.benchmark.propagation.run import DEFAULT_METHODS, OURS_WITHOUT_MARKS, run
    from tools.devices import choose_device

    chosen = listed(methods) if methods is not None else list(DEFAULT_METHODS)
    if no_marks:
        chosen.append(OURS_WITHOUT_MARKS)
    try:
        counts = [int(part) for part in listed(slices)]
    except ValueError:
        show(InputError("--slices", found=f"'{slices}'", expected="numbers, as in 1,3,5,8", fix="correct it"))
        raise typer.Exit(BAD_INPUT) from None
    with one_line_errors():
        run(
            data,
            sets=listed(sets) if sets is not None else None,
            counts=counts,
            methods=chosen,
            out=out,
            config=config,
            weights=weights,
            device=choose_device(device),
            limit=limit,
            jobs=jobs,
            quiet=quiet,
        )


@app.command()
def interaction(
    data: Annotated[Path, typer.Option(help="The data folder, or the folder of one set.")],
    sets: Annotated[
        str | None,
        typer.Option(help="Sets, comma-separated: head-neck, sarcoma, liver_17, torso_3mm, ..., or folders."),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="suggested, equidistant, random, shape, shape+ends, ...; default: all."),
    ] = None,
    noise: Annotated[str, typer.Option(help="How the annotator paints: exact, noisy or both.")] = "both",
    budget: Annotated[int, typer.Option(help="Slices annotated in each case.", min=1)] = 12,
    seed: Annotated[int, typer.Option(help="Of random slices and of noise.", min=0)] = 0,
    out: Annotated[Path, typer.Option(help="Folder of the results; a killed run resumes from it.")] = Path(
        "runs/benchmark/interaction"
    ),
    config: Annotated[str, typer.Option(help="Configuration: small, stcn, paper.")] = "small",
    weights: Annotated[Path | None, typer.Option(help="Weights file; default: those that ship.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "cpu",
    every: Annotated[int, typer.Option(help="Only every so manieth case of a set.", min=1)] = 1,
    limit: Annotated[int | None, typer.Option(help="At most so many cases of each set.", min=1)] = None,
    jobs: Annotated[int, typer.Option(help="Cases at once.", min=1)] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="No table, no progress bar.")] = False,
) -> None:
    """Dice by the number of slices that a simulated annotator paints: suggested, equidistant or random ones."""
    from tools.benchmark.interaction.run import DEFAULT_METHODS, run
    from tools.devices import choose_device

    with one_line_errors():
        run(
            data,
            sets=listed(sets) if sets is not None else None,
            methods=listed(methods) if methods is not None else DEFAULT_METHODS,
            noise=noise,
            budget=budget,
            seed=seed,
            out=out,
            config=config,
            weights=weights,
            device=choose_device(device),
            every=every,
            limit=limit,
            jobs=jobs,
            quiet=quiet,
        )


@app.command()
def engine(
    config: Annotated[str, typer.Option(help="small, paper or both.")] = "both",
    parts: Annotated[
        str, typer.Option(help="Of speed, equality, memory, correction, comma-separated.")
    ] = "speed,equality,memory,correction",
    repeats: Annotated[int, typer.Option(help="Turns of each way; medians count.", min=1)] = 1,
    size: Annotated[int, typer.Option(help="Pixels of a slice, each way.", min=64)] = 512,
    depth: Annotated[int, typer.Option(help="Slices.", min=12)] = 40,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs/benchmark/engine"),
    weights: Annotated[Path | None, typer.Option(help="Weights of small; default: those that ship.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No table, no progress.")] = False,
) -> None:
    """Speed, memory and equality of the engine against the published way of running STCN."""
    from tools.benchmark.engine.run import CONFIGS, run

    with one_line_errors():
        run(
            out,
            configs=list(CONFIGS) if config == "both" else [config],
            weights=weights,
            parts=listed(parts),
            repeats=repeats,
            size=size,
            depth=depth,
            quiet=quiet,
        )


@app.command()
def confidence(
    data: Annotated[Path, typer.Option(help="The data folder, or the folder of one set.")],
    sets: Annotated[
        str | None,
        typer.Option(
            "--sets",
            "--cases",
            help="Sets, comma-separated: head-neck, ...; train: those held back for the fit (default with --fit).",
        ),
    ] = None,
    slices: Annotated[
        str | None, typer.Option(help="Numbers of key slices for each structure; default: 1,3, with --fit 1,3,5.")
    ] = None,
    fit: Annotated[bool, typer.Option("--fit", help="Fit the calibration; --out is the weights file with it.")] = False,
    out: Annotated[
        Path, typer.Option(help="Folder of the results, or with --fit the weights to write (.safetensors).")
    ] = Path("runs/benchmark/confidence"),
    evidence: Annotated[
        Path | None, typer.Option(help="Folder of what is measured, from which a killed run resumes; default: --out.")
    ] = None,
    config: Annotated[str, typer.Option(help="Configuration: small, stcn, paper.")] = "small",
    weights: Annotated[Path | None, typer.Option(help="Weights file; default: those that ship.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "cpu",
    every: Annotated[int, typer.Option(help="Only every so manieth case of a set.", min=1)] = 1,
    limit: Annotated[int | None, typer.Option(help="At most so many cases of each set.", min=1)] = None,
    threshold: Annotated[
        float | None, typer.Option(help="With --fit: a structure has ended below this probability of being there.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Cases at once.", min=1)] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="No table, no progress bar.")] = False,
) -> None:
    """Does the confidence of a slice follow its true Dice? Or, with --fit, make it do so."""
    from tools.benchmark.confidence.run import DEFAULT_COUNTS, FITTING_COUNTS, Settings, fit_weights, run
    from tools.devices import choose_device

    try:
        counts = [int(part) for part in listed(slices)] if slices is not None else None
    except ValueError:
        show(InputError("--slices", found=f"'{slices}'", expected="numbers, as in 1,3,5", fix="correct it"))
        raise typer.Exit(BAD_INPUT) from None
    with one_line_errors():
        settings = Settings(
            sets=listed(sets) if sets is not None else None,
            counts=counts or (FITTING_COUNTS if fit else DEFAULT_COUNTS),
            config=config,
            weights=weights,
            device=choose_device(device),
            every=every,
            limit=limit,
            jobs=jobs,
            quiet=quiet,
            threshold=threshold,
        )
        if fit:
            fit_weights(data, out, settings, evidence=evidence)
        else:
            run(data, out, settings, evidence=evidence)
