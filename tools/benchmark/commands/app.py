"""What all benchmark commands share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from tools.errors import BAD_INPUT, INTERRUPTED, as_input_error, show
from volumes.errors import InputError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def benchmark() -> None:
    """Benchmarks on real CT with labels."""


@contextmanager
def one_line_errors() -> Iterator[None]:
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


def listed(text: str) -> list[str]:
    """What stands between the commas of an option."""
    return [part.strip() for part in text.split(",") if part.strip()]
