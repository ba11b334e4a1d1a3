"""The command line: parse, call one function, print."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import ParamSpec

import click
import typer

from secateur.cli import condense, instructions, jobs, plan, scale, tables
from secateur.cli.options import telling_ranges
from secateur.errors import SecateurError, described, printable, reason

P = ParamSpec("P")


_DEBUG = "SECATEUR_TRACEBACK"
"""Environment variable: if set, unexpected errors print their traceback."""


def _unforeseen(error: Exception) -> typer.Exit:
    """Report system errors (full disk, no permission) as ordinary errors, and anything else as a bug."""
    if isinstance(error, BrokenPipeError) and error.filename is None:  # the reader of our output has closed the pipe
        _hush()
        return typer.Exit(128 + signal.SIGPIPE)
    if (told := described(error)) is not None:
        _hush()  # it may have been the output that could not be written
        sys.stderr.write(f"error: {told}\n")
        return typer.Exit(2)
    what = printable(f"{type(error).__name__}: {reason(error)}")
    sys.stderr.write(f"internal error: {what}; this is a bug: please report it with what {_DEBUG}=1 shows\n")
    return typer.Exit(70)


def _hush() -> None:
    """Send standard output to devnull if it cannot be written, so that the flush at exit does not fail either."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _steady() -> None:
    """Make sure printing never fails: escape characters the encoding lacks, and replace closed streams."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the parent process
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def with_manners(command: Callable[P, None]) -> Callable[P, None]:
    """Print errors as one line and exit with 2, say how to resume after an interrupt, and exit with 70 on a bug."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except SecateurError as error:
            sys.stderr.write(f"error: {error}\n")
            raise typer.Exit(2) from None
        except Exception as error:
            if isinstance(error, typer.Exit | typer.Abort | click.ClickException) or os.environ.get(_DEBUG):
                raise
            raise _unforeseen(error) from None
        except KeyboardInterrupt:
            sys.stderr.write("\nstopped; run the same command again to resume from the last checkpoint\n")
            raise typer.Exit(130) from None

    return run


app = typer.Typer(
    name="secateur",
    help="Prune training data: keep the part worth training on, train on it, and see what it costs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
COMMANDS: tuple[Callable[..., None], ...] = (
    jobs.prune,
    jobs.record,
    jobs.score,
    jobs.select,
    jobs.train,
    jobs.slim,
    jobs.mine,
    condense.condense,
    plan.plan,
    tables.compare,
    tables.report,
    tables.methods,
    tables.cite,
)
for command in COMMANDS:
    app.command()(with_manners(telling_ranges(command)))

group = typer.Typer(help="Prune sharded embeddings, locally or on Ray.", no_args_is_help=True, rich_markup_mode=None)
STAGES = (scale.embed, scale.cluster, scale.filter, scale.dedup, scale.density, scale.prototypes)
for command in (*STAGES, scale.select, scale.prune, instructions.instructions):
    group.command()(with_manners(telling_ranges(command)))
app.add_typer(group, name="scale")


def main() -> None:
    """Run a command."""
    _steady()
    app()
