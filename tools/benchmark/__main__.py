"""`python -m tools.benchmark`: benchmarks on real CT."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tools.errors import BAD_INPUT, INTERRUPTED, as_input_error, show
from volumes.errors import InputError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def benchmark() -> None:
    """Benchmarks on real CT with labels."""


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
    from tools.benchmark.propagation import DEFAULT_METHODS, OURS_WITHOUT_MARKS, run
    from tools.devices import choose_device

    chosen = _listed(methods) if methods is not None else list(DEFAULT_METHODS)
    if no_marks:
        chosen.append(OURS_WITHOUT_MARKS)
    try:
        counts = [int(part) for part in _listed(slices)]
    except ValueError:
        show(InputError("--slices", found=f"'{slices}'", expected="numbers, as in 1,3,5,8", fix="correct it"))
        raise typer.Exit(BAD_INPUT) from None
    with _one_line_errors():
        run(
            data,
            sets=_listed(sets) if sets is not None else None,
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
    from tools.benchmark.interaction import DEFAULT_METHODS, run
    from tools.devices import choose_device

    with _one_line_errors():
        run(
            data,
            sets=_listed(sets) if sets is not None else None,
            methods=_listed(methods) if methods is not None else DEFAULT_METHODS,
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
    from tools.benchmark.engine import CONFIGS, run

    with _one_line_errors():
        run(
            out,
            configs=list(CONFIGS) if config == "both" else [config],
            weights=weights,
            parts=_listed(parts),
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
    from tools.benchmark.confidence import DEFAULT_COUNTS, FITTING_COUNTS, Settings, fit_weights, run
    from tools.devices import choose_device

    try:
        counts = [int(part) for part in _listed(slices)] if slices is not None else None
    except ValueError:
        show(InputError("--slices", found=f"'{slices}'", expected="numbers, as in 1,3,5", fix="correct it"))
        raise typer.Exit(BAD_INPUT) from None
    with _one_line_errors():
        settings = Settings(
            sets=_listed(sets) if sets is not None else None,
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
    from tools.benchmark.ablation import run
    from tools.benchmark.ablation_settings import rows_named
    from tools.devices import choose_device

    with _one_line_errors():
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
def annotate(
    size: Annotated[int, typer.Option(help="Pixels of a slice, each way.", min=64)] = 512,
    depth: Annotated[int, typer.Option(help="Slices.", min=12)] = 300,
    labels: Annotated[int, typer.Option(help="Labels that are propagated.", min=1, max=13)] = 5,
    strokes: Annotated[int, typer.Option(help="Strokes that are timed.", min=1)] = 50,
    session_strokes: Annotated[int, typer.Option(help="Strokes of the session that is reopened.", min=2)] = 1000,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Time the page's requests without one.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs/benchmark/annotate"),
    quiet: Annotated[bool, typer.Option("--quiet", help="No table, no progress.")] = False,
) -> None:
    """How long a person waits for the annotation tool, and how much memory its server takes."""
    from tools.benchmark.annotate import run

    with _one_line_errors():
        run(
            out,
            size=size,
            depth=depth,
            labels=labels,
            strokes=strokes,
            session_strokes=session_strokes,
            browser=not no_browser,
            quiet=quiet,
        )


@app.command()
def annotate_pictures(
    case: Annotated[Path, typer.Option(help="The folder of torso_3mm.")],
    out: Annotated[Path, typer.Option(help="Folder of the pictures.")] = Path("docs/annotate"),
) -> None:
    """The pictures of docs/annotate.md, taken in a real browser."""
    from tools.benchmark.annotate_pictures import run

    with _one_line_errors():
        run(case, out)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Ends with one line and a status where the input or the machine is at fault."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except (InputError, OSError) as error:
        known = as_input_error(error)
        if known is None:
            raise
        show(known)
        raise typer.Exit(BAD_INPUT) from None


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


if __name__ == "__main__":
    app()
