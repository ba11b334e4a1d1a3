"""The command line: parse, call one function, print."""

import sys
from collections.abc import Callable

import typer

from secateur.cli import jobs, tables
from secateur.errors import SecateurError

app = typer.Typer(
    name="secateur",
    help="Prune training data: keep the part worth training on, train on it, and see what it cost.",
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
    tables.compare,
    tables.report,
    tables.methods,
    tables.cite,
)
for command in COMMANDS:
    app.command()(command)


def main() -> None:
    """Run a command; errors are one line and exit code 2, an interrupt says how to go on."""
    try:
        app()
    except SecateurError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; run the same command again and it goes on from the last finished epoch\n")
        sys.exit(130)
