"""What the commands of `keyslice` share: options, and how a command ends when something is wrong."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tools.errors import BAD_INPUT, INTERRUPTED, as_input_error, show
from volumes.errors import InputError


class OneLineErrors(TyperGroup):
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


def path_option(*names: str, text: str, metavar: str = "PATH") -> Any:
    """A path option. Typer does not look at the path: our own checks say what to do about it."""
    return typer.Option(*names, help=text, metavar=metavar, readable=False)


Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", metavar="DEVICE")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no summary.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Format = Annotated[
    str | None, typer.Option("--format", help="Ending of label maps in a folder: .nii.gz, .seg.dcm ...", metavar="END")
]
EmptyFrames = Annotated[
    bool, typer.Option("--empty-frames", help="DICOM-SEG with a frame for every segment on every slice.")
]

Jobs = Annotated[int, typer.Option(help="Cases at once on this machine.", metavar="N")]
Cluster = Annotated[
    str | None, typer.Option(help="Dask: local, tcp://HOST:PORT of a scheduler, or a YAML file.", metavar="CLUSTER")
]
MemoryLimit = Annotated[
    str | None, typer.Option(help="Of the process that works on a case, as 8GB; beyond it is ended.", metavar="SIZE")
]
TimeLimit = Annotated[str | None, typer.Option(help="For a case, as 90s or 15min.", metavar="TIME")]
Retry = Annotated[bool, typer.Option("--retry", help="Run cases again that failed in the run that goes on.")]
