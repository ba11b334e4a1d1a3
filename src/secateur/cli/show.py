"""Printing results: tables for people, JSON for machines."""

import json
from collections.abc import Sequence
from typing import Any

from secateur.errors import printable


def as_json(value: Any) -> None:
    """Print a value as JSON on standard output, in ASCII where that cannot show all of it."""
    import sys

    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    print(text)


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; columns after the first are numbers. Wide enough for its content where there is no terminal."""
    import sys

    from rich.console import Console
    from rich.table import Table

    if title:
        print(printable(title))  # above the table: as its title it would be folded to the table's width
    drawn = Table(box=None, pad_edge=False, header_style="dim")
    for k, name in enumerate(head):
        drawn.add_column(name, justify="left" if k == 0 else "right", no_wrap=True)
    for row in rows:
        drawn.add_row(*map(printable, row))
    Console(width=None if sys.stdout.isatty() else 400, highlight=False, markup=False).print(drawn)


def pairs(rows: Sequence[Sequence[str]]) -> None:
    """Print short facts, a line each, their names in a column."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(printable(f"{name:<{width}}  {value}"))


def size(count: int) -> str:
    """Bytes for people.

    >>> size(999), size(1_500_000), size(3 * 10**9)
    ('999 B', '1.5 MB', '3.0 GB')
    """
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def clock(seconds: float) -> str:
    """Seconds for people.

    >>> clock(0.4), clock(75), clock(3700)
    ('0.4 s', '1:15', '1:01:40')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
