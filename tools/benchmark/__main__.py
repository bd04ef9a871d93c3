"""`python -m tools.benchmark`: benchmarks on real CT."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tools.errors import BAD_INPUT, INTERRUPTED, as_input_error, show

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
    from volumes.errors import InputError

    chosen = _listed(methods) if methods is not None else list(DEFAULT_METHODS)
    if no_marks:
        chosen.append(OURS_WITHOUT_MARKS)
    try:
        counts = [int(part) for part in _listed(slices)]
    except ValueError:
        show(InputError("--slices", found=f"'{slices}'", expected="numbers, as in 1,3,5,8", fix="correct it"))
        raise typer.Exit(BAD_INPUT) from None
    try:
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
