"""The command `keyslice`. Each command gathers its options here and imports its work when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tools.batch.options import read_options
from tools.cli_options import (
    Cluster,
    Device,
    EmptyFrames,
    Format,
    Jobs,
    Json,
    MemoryLimit,
    OneLineErrors,
    Quiet,
    Retry,
    TimeLimit,
    path_option,
)
from tools.cli_train import DATASET, train_app
from tools.errors import INTERRUPTED
from volumes.errors import InputError

app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Label a few axial slices of a CT volume, get every slice labelled. Not a medical device.",
)
app.add_typer(train_app, name="train")


CT = "CT volume (NIfTI, NRRD, MHA/MHD, DICOM folder or zip), or a folder of them."
CTS = "CT volume (NIfTI, NRRD, MHA/MHD, DICOM folder or zip), a folder of them, or a list (.csv, .json)."
KEYS = "Label map, DICOM-SEG or RTSTRUCT with the key slices of the CT, or a folder of them, matched by case name."
OUTPUT = "Label map to write (.nii.gz, .nrrd, .seg.nrrd, .mha, .seg.dcm, .rtstruct.dcm), or a folder for them."
KEY_SLICES = "Slices of --keys that count, such as 40,77 (0: most inferior). Default: all with a label."
COMPLETE = "Labels missing on a key slice are absent there (default: unknown)."
EXTENTS = 'JSON with start and stop marks, {"liver": [12, 88], "5": [3, 60]}, both ends inside.'
TABLE = "Label table: a YAML file or a built-in one (see `keyslice labels`)."
COMPAT = "Propagate the public paper's way (models paper, stcn), to compare."
REFERENCE = "Reference model or 3D network: a name (see `keyslice info`), or a .safetensors or .yaml file."
STRATEGY = "Choice of key slices: consistent, largest_area, least_uncertainty, non_empty, most_classes, random."
BLEND = "Share of propagation beside the pair's own word on every slice; 0: propagation alone."
REQUERY = "Slices to look at again, at most, where a structure is missed or in doubt."
PRECISION = "float32, bfloat16 or auto: bfloat16 where the processor computes in it."
REPORT = "Write a JSON report. A run over folders always writes report.json beside its label maps."
WHY = "JSON report: which key slices, and why. Default: OUT.report.json beside OUT.nii.gz, report.json in a folder."
MONTAGE = "Write a PNG picture of the result (for folders: a folder)."
SESSION = "Folder for the annotations. Default: CASE.keyslice beside each CT."
FIRST_KEYS = "Label map (or a folder of them) whose slices a new case begins with."
LABELS = "Label map (NIfTI, NRRD, MHA/MHD), DICOM-SEG or RTSTRUCT."
LABELS_OUT = "What to write: .seg.dcm, .rtstruct.dcm, .nii.gz, .nrrd, .seg.nrrd or .mha."
MADE = "Who drew the labels, as DICOM notes: manual, semiautomatic (after key slices) or automatic."
TRUTHS = "True label map, a folder of them, or a list (.csv, .json) with columns reference and prediction."
RUN_FOLDER = "Folder for the run's report and manifest: a run over many cases that stopped goes on from it."
FIRST_PROPOSALS = "Label map (or a folder of them), such as a result to review, that a new case is first proposed."
MEMBERS = "Weights of a member; give it two or more times."
THRESHOLD = "Mean Dice of the members and what they agree on, which a case must exceed (default 0.9)."


@app.command()
def propagate(
    ct: Annotated[Path, path_option("--input", "-i", text=CTS)],
    output: Annotated[Path, path_option("--output", "-o", text=OUTPUT)],
    keys: Annotated[Path | None, path_option("--keys", "-k", text=KEYS)] = None,
    key_slices: Annotated[str | None, typer.Option(help=KEY_SLICES, metavar="Z,Z,...")] = None,
    complete: Annotated[bool, typer.Option("--complete", help=COMPLETE)] = False,
    extents: Annotated[Path | None, path_option("--extents", text=EXTENTS)] = None,
    labels: Annotated[str | None, typer.Option(help=TABLE, metavar="TABLE")] = None,
    device: Device = "auto",
    model: Annotated[str, typer.Option(help="Configuration (see `keyslice info`).")] = "small",
    weights: Annotated[Path | None, path_option("--weights", text="Weights. Default: those that ship.")] = None,
    precision: Annotated[str, typer.Option(help=PRECISION, metavar="PRECISION")] = "auto",
    compat: Annotated[bool, typer.Option("--compat", help=COMPAT)] = False,
    report: Annotated[Path | None, path_option("--report", text=REPORT)] = None,
    montage: Annotated[Path | None, path_option("--montage", text=MONTAGE)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    format_: Format = None,
    empty_frames: EmptyFrames = False,
    jobs: Jobs = 1,
    cluster: Cluster = None,
    memory_limit: MemoryLimit = None,
    time_limit: TimeLimit = None,
    retry: Retry = False,
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
        format=format_,
        empty_frames=empty_frames,
        batch=read_options(jobs=jobs, cluster=cluster, memory_limit=memory_limit, time_limit=time_limit, retry=retry),
    )
    raise typer.Exit(propagate_command(job))


@app.command()
def segment(
    ct: Annotated[Path, path_option("--input", "-i", text=CTS)],
    output: Annotated[Path, path_option("--output", "-o", text=OUTPUT)],
    model: Annotated[str, typer.Option(help=REFERENCE, metavar="NAME")],
    weights: Annotated[
        Path | None, path_option("--weights", text="Weights of --model. Default: those that ship.")
    ] = None,
    propagation: Annotated[str, typer.Option(help="Propagation model.", metavar="NAME")] = "small",
    propagation_weights: Annotated[
        Path | None, path_option("--propagation-weights", text="Weights of --propagation. Default: those that ship.")
    ] = None,
    strategy: Annotated[str, typer.Option(help=STRATEGY, metavar="NAME")] = "consistent",
    every: Annotated[int, typer.Option(help="Look at every n-th slice first.", metavar="N")] = 5,
    requery: Annotated[int, typer.Option(help=REQUERY, metavar="N")] = 48,
    blend: Annotated[float | None, typer.Option(help=BLEND, metavar="SHARE")] = None,
    reference_only: Annotated[
        bool, typer.Option("--reference-only", help="No propagation: the pair segments every slice.")
    ] = False,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help=PRECISION, metavar="PRECISION")] = "auto",
    report: Annotated[Path | None, path_option("--report", text=WHY)] = None,
    montage: Annotated[Path | None, path_option("--montage", text=MONTAGE)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    format_: Format = None,
    empty_frames: EmptyFrames = False,
    jobs: Jobs = 1,
    cluster: Cluster = None,
    memory_limit: MemoryLimit = None,
    time_limit: TimeLimit = None,
    retry: Retry = False,
    quiet: Quiet = False,
) -> None:
    """Label every slice of a CT volume without a person: a pair of networks finds the key slices."""
    from tools.segment import Job, segment_command

    job = Job(
        ct=ct,
        output=output,
        model=model,
        weights=weights,
        propagation=propagation,
        propagation_weights=propagation_weights,
        strategy=strategy,
        every=every,
        requery=requery,
        blend=blend,
        reference_only=reference_only,
        device=device,
        precision=precision,
        report=report,
        montage=montage,
        overwrite=overwrite,
        quiet=quiet,
        format=format_,
        empty_frames=empty_frames,
        batch=read_options(jobs=jobs, cluster=cluster, memory_limit=memory_limit, time_limit=time_limit, retry=retry),
    )
    raise typer.Exit(segment_command(job))


@app.command("pseudo-label")
def pseudo_label(
    output: Annotated[Path, path_option("--output", "-o", text="Folder for the data set, in nnU-Net raw layout.")],
    rounds: Annotated[Path | None, path_option("--rounds", text="Folder of `keyslice train rounds`.")] = None,
    cts: Annotated[Path | None, path_option("--input", "-i", text="Folder of CT without labels, or a list.")] = None,
    weights: Annotated[list[Path] | None, path_option("--weights", text=MEMBERS)] = None,
    threshold: Annotated[float | None, typer.Option(help=THRESHOLD)] = None,
    lowest: Annotated[float | None, typer.Option(help="Least Dice of a structure to label (default 0).")] = None,
    device: Device = "auto",
    jobs: Jobs = 1,
    cluster: Cluster = None,
    memory_limit: MemoryLimit = None,
    time_limit: TimeLimit = None,
    quiet: Quiet = False,
) -> None:
    """Label CT by several networks, keep the cases that they agree on, as a data set to train on."""
    from tools.pseudo_label import Job, pseudo_label_command

    job = Job(
        output=output,
        rounds=rounds,
        cts=cts,
        weights=weights or [],
        threshold=threshold,
        lowest=lowest,
        device=device,
        quiet=quiet,
        batch=read_options(jobs=jobs, cluster=cluster, memory_limit=memory_limit, time_limit=time_limit),
    )
    raise typer.Exit(pseudo_label_command(job))


@app.command()
def annotate(
    path: Annotated[Path | None, typer.Argument(help=CT, metavar="PATH", readable=False)] = None,
    session: Annotated[Path | None, path_option("--session", text=SESSION)] = None,
    labels: Annotated[str | None, typer.Option(help=TABLE, metavar="TABLE")] = None,
    keys: Annotated[Path | None, path_option("--keys", "-k", text=FIRST_KEYS)] = None,
    proposals: Annotated[Path | None, path_option("--proposals", text=FIRST_PROPOSALS)] = None,
    model: Annotated[str, typer.Option(help="Propagation model.", metavar="NAME")] = "small",
    host: Annotated[str, typer.Option(help="Where to listen; another than 127.0.0.1 needs --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 0,
    token: Annotated[str | None, typer.Option(help="What the page must show. Default: a random one.")] = None,
    device: Device = "auto",
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, open nothing.")] = False,
    demo: Annotated[bool, typer.Option("--demo", help="Open a made CT, to try it.")] = False,
) -> None:
    """Paint a few slices in the browser and have the others proposed."""
    from tools.annotate.command import Job, annotate_command

    job = Job(
        path=path,
        session=session,
        labels=labels,
        keys=keys,
        proposals=proposals,
        model=model,
        host=host,
        port=port,
        token=token,
        device=device,
        browser=not no_browser,
        demo=demo,
    )
    annotate_command(job)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help=LABELS, metavar="LABELS", readable=False)],
    ct: Annotated[Path, path_option("--ct", text="CT that the labels belong to; for DICOM out its series.")],
    output: Annotated[Path, path_option("--output", "-o", text=LABELS_OUT)],
    labels: Annotated[str | None, typer.Option(help=TABLE, metavar="TABLE")] = None,
    made: Annotated[str, typer.Option(help=MADE, metavar="HOW")] = "semiautomatic",
    empty_frames: EmptyFrames = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write labels in another format, on the grid of their CT: DICOM-SEG, RTSTRUCT, NIfTI, NRRD or MHA."""
    from tools.convert import Job, convert_command

    job = Job(
        source=source,
        ct=ct,
        output=output,
        labels=labels,
        made=made,
        empty_frames=empty_frames,
        overwrite=overwrite,
        quiet=quiet,
    )
    convert_command(job)


@app.command()
def evaluate(
    reference: Annotated[Path, path_option("--reference", "-r", text=TRUTHS)],
    prediction: Annotated[
        Path | None, path_option("--prediction", "-p", text="Predicted label map, or a folder.")
    ] = None,
    labels: Annotated[str | None, typer.Option(help=TABLE, metavar="TABLE")] = None,
    json_path: Annotated[Path | None, path_option("--json", text="Write the scores as JSON.")] = None,
    csv_path: Annotated[Path | None, path_option("--csv", text="Write the scores as CSV.")] = None,
    output: Annotated[Path | None, path_option("--output", "-o", text=RUN_FOLDER)] = None,
    jobs: Jobs = 1,
    cluster: Cluster = None,
    memory_limit: MemoryLimit = None,
    time_limit: TimeLimit = None,
    retry: Retry = False,
    quiet: Quiet = False,
) -> None:
    """Score label maps against the truth: DSC and NSD per structure and case."""
    from tools.evaluate import evaluate_command

    status = evaluate_command(
        reference,
        prediction,
        labels,
        json_path=json_path,
        csv_path=csv_path,
        quiet=quiet,
        output=output,
        batch=read_options(jobs=jobs, cluster=cluster, memory_limit=memory_limit, time_limit=time_limit, retry=retry),
    )
    raise typer.Exit(status)


@app.command()
def check(
    data: Annotated[Path, typer.Argument(help=DATASET, metavar="DATA", readable=False)],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look into every file of a data set: what it holds, and whether training takes it (exit status 0) or not (2)."""
    from tools.check import check_command

    raise typer.Exit(check_command(data, as_json=as_json, quiet=quiet))


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
