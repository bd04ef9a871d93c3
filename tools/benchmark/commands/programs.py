"""The programs that people use: the annotation server, runs over many volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tools.benchmark.commands.app import app, listed, one_line_errors
from tools.errors import BAD_INPUT, show
from volumes.errors import InputError


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
    from tools.benchmark.annotate.run import run

    with one_line_errors():
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
    from tools.benchmark.annotate.pictures import run

    with one_line_errors():
        run(case, out)


@app.command()
def throughput(
    volumes: Annotated[int, typer.Option(help="Phantoms.", min=2)] = 12,
    size: Annotated[int, typer.Option(help="Pixels of a slice, each way.", min=32)] = 192,
    depth: Annotated[int, typer.Option(help="Slices.", min=8)] = 60,
    jobs: Annotated[int, typer.Option(help="Workers.", min=2)] = 2,
    network: Annotated[str, typer.Option(help="Seconds of a volume on a GPU, assumed in the model.")] = "2,5,10",
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs/benchmark/throughput"),
    quiet: Annotated[bool, typer.Option("--quiet", help="No table, no progress.")] = False,
) -> None:
    """Volumes per hour by workers and through Dask against one after the other, and a model of larger runs."""
    from tools.benchmark.throughput.run import run

    try:
        seconds = [float(part) for part in listed(network)]
    except ValueError:
        show(InputError("--network", found=f"'{network}'", expected="numbers, as in 2,5,10", fix="correct it"))
        raise typer.Exit(BAD_INPUT) from None
    with one_line_errors():
        run(out, volumes=volumes, size=size, depth=depth, jobs=jobs, network_seconds=seconds, quiet=quiet)
