"""The command `keyslice`. Each command gathers its options here and imports its work when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tools.errors import BAD_INPUT, INTERRUPTED, as_input_error, show
from volumes.errors import InputError


class _OneLineErrors(TyperGroup):
    """Ends every command with one line and a status where the input or the machine is at fault."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            raise  # `keyslice labels flare22 | head`: no error of ours
        except (InputError, OSError, MemoryError, RuntimeError) as error:
            known = as_input_error(error)
            if known is None:
                raise
            show(known)
            raise typer.Exit(BAD_INPUT) from None


app = typer.Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Label a few axial slices of a CT volume, get every slice labelled. Not a medical device.",
)
train_app = typer.Typer(cls=_OneLineErrors, no_args_is_help=True, help="Train a network.")
app.add_typer(train_app, name="train")


def _path(*names: str, text: str, metavar: str = "PATH") -> Any:
    """A path option. Typer does not look at the path: our own checks say what to do about it."""
    return typer.Option(*names, help=text, metavar=metavar, readable=False)


Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", metavar="DEVICE")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no summary.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

CT = "CT volume (NIfTI, NRRD, MHA/MHD, DICOM folder or zip), or a folder of them."
KEYS = "Label map with the key slices on the CT's grid, or a folder of them, matched by case name."
OUTPUT = "Label map to write (.nii.gz, .nrrd, .seg.nrrd, .mha), or a folder for them."
KEY_SLICES = "Slices of --keys that count, such as 40,77 (0: most inferior). Default: all with a label."
COMPLETE = "Labels missing on a key slice are absent there (default: unknown)."
EXTENTS = 'JSON with start and stop marks, {"liver": [12, 88], "5": [3, 60]}, both ends inside.'
TABLE = "Label table: a YAML file or a built-in one (see `keyslice labels`)."
COMPAT = "Propagate the public paper's way (models paper, stcn), to compare."
PRECISION = "float32, bfloat16 or auto: bfloat16 where the processor computes in it."
REPORT = "Write a JSON report. A run over folders always writes report.json beside its label maps."
MONTAGE = "Write a PNG picture of the result (for folders: a folder)."
DATA = "Folder that the configuration's data paths start from, or a data set in nnU-Net raw layout."


@app.command()
def propagate(
    ct: Annotated[Path, _path("--input", "-i", text=CT)],
    keys: Annotated[Path, _path("--keys", "-k", text=KEYS)],
    output: Annotated[Path, _path("--output", "-o", text=OUTPUT)],
    key_slices: Annotated[str | None, typer.Option(help=KEY_SLICES, metavar="Z,Z,...")] = None,
    complete: Annotated[bool, typer.Option("--complete", help=COMPLETE)] = False,
    extents: Annotated[Path | None, _path("--extents", text=EXTENTS)] = None,
    labels: Annotated[str | None, typer.Option(help=TABLE, metavar="TABLE")] = None,
    device: Device = "auto",
    model: Annotated[str, typer.Option(help="Configuration (see `keyslice info`).")] = "small",
    weights: Annotated[Path | None, _path("--weights", text="Weights. Default: those that ship.")] = None,
    precision: Annotated[str, typer.Option(help=PRECISION, metavar="PRECISION")] = "auto",
    compat: Annotated[bool, typer.Option("--compat", help=COMPAT)] = False,
    report: Annotated[Path | None, _path("--report", text=REPORT)] = None,
    montage: Annotated[Path | None, _path("--montage", text=MONTAGE)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    quiet: Quiet = False,
) -> None:
    """Carry the labels of a few key slices to every slice of a CT volume."""
    from tools.propagate import Job, propagate_command

    job = Job(
        ct=ct,
        keys=keys,
        output=output,
        key_slices=_slice_numbers(key_slices),
        complete=complete,
        extents=extents,
        labels=labels,
        device=device,
        model=model,
        weights=weights,
        precision=precision,
        compat=compat,
        report=report,
        montage=montage,
        overwrite=overwrite,
        quiet=quiet,
    )
    raise typer.Exit(propagate_command(job))


@app.command()
def evaluate(
    reference: Annotated[Path, _path("--reference", "-r", text="True label map, or a folder of them.")],
    prediction: Annotated[Path, _path("--prediction", "-p", text="Predicted label map, or a folder.")],
    labels: Annotated[str | None, typer.Option(help=TABLE, metavar="TABLE")] = None,
    json_path: Annotated[Path | None, _path("--json", text="Write the scores as JSON.")] = None,
    csv_path: Annotated[Path | None, _path("--csv", text="Write the scores as CSV.")] = None,
    quiet: Quiet = False,
) -> None:
    """Score label maps against the truth: DSC and NSD per structure and case."""
    from tools.evaluate import evaluate_command

    raise typer.Exit(
        evaluate_command(reference, prediction, labels, json_path=json_path, csv_path=csv_path, quiet=quiet)
    )


@train_app.command("propagation")
def train_propagation(
    config: Annotated[str, typer.Option(help="A configuration that ships (small) or a YAML file.")],
    data: Annotated[Path, _path("--data", text=DATA)],
    out: Annotated[Path, _path("--out", text="Checkpoints, logs, weights.")] = Path("runs/propagation"),
    device: Device = "auto",
    resume: Annotated[bool, typer.Option(help="Go on with the run that stopped in --out.")] = True,
    start_from: Annotated[
        Path | None, typer.Option("--start-from", help="Weights to begin with, to train on from them.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Replace a training setting: steps=2000.", metavar="KEY=VALUE"),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a propagation network on labelled and unlabelled CT. A run that was killed goes on."""
    from tools.train import train_propagation_command

    raise typer.Exit(
        train_propagation_command(
            config,
            data=data,
            out=out,
            device=device,
            resume=resume,
            start_from=start_from,
            settings=settings or [],
            quiet=quiet,
        )
    )


@app.command()
def info(as_json: Json = False) -> None:
    """Versions, devices, and every network's size and whether its weights ship."""
    from tools.info import info_command

    info_command(as_json=as_json)


@app.command()
def labels(
    table: Annotated[str | None, typer.Argument(help="A built-in table or a YAML file.")] = None,
    as_json: Json = False,
) -> None:
    """The built-in label tables, or what one table says."""
    from tools.labels import labels_command

    labels_command(table, as_json=as_json)


def _slice_numbers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"--key-slices {text}",
            found="something that is not a number",
            expected="slice numbers with commas between them, such as 40,77",
            fix="correct it; slices count from 0, inferior first",
        ) from None


def main() -> None:
    """Entry point of the command `keyslice`."""
    try:
        app()
    except KeyboardInterrupt:  # before or after a command ran
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
