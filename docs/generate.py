"""Write the pages that come from the code: methods.md and cli.md. `--check` fails where they are out of date."""

import sys
from pathlib import Path

from typer.testing import CliRunner

from secateur.cli import app
from secateur.fields import FIELDS, RECORDED
from secateur.methods.listing import listing

HERE = Path(__file__).parent


def methods_page() -> str:
    """Tables of methods, scores, selectors and recorded fields."""
    lines = ["# Methods, scores, selectors", "", "Made by `docs/generate.py` from the code.", ""]
    rows = listing()
    lines += ["## Methods", "", "| name | what | score and selector | needs recorded |", "|---|---|---|---|"]
    for row in rows:
        if row["kind"] == "method":
            needs = ", ".join(f"`{n}`" for n in row["needs"]) or "nothing"
            lines.append(f"| `{row['name']}` | {row['summary']} | {row['how']} | {needs} |")
    for kind, title in (("score", "Scores"), ("selector", "Selectors")):
        lines += ["", f"## {title}", "", "| name | what | needs | knobs | source |", "|---|---|---|---|---|"]
        for row in rows:
            if row["kind"] == kind:
                needs, knobs = (", ".join(f"`{n}`" for n in row[key]) for key in ("needs", "knobs"))
                lines.append(f"| `{row['name']}` | {_cell(row['summary'])} | {needs} | {knobs} | {row['source']} |")
    lines += ["", "## Recorded fields", "", "| field | axes | meaning |", "|---|---|---|"]
    lines += [f"| `{n}` | {', '.join(FIELDS[n].axes)} | {_cell(FIELDS[n].meaning)} |" for n in RECORDED]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def cli_page() -> str:
    """The help text of every command."""
    import typer

    lines = ["# Command line", "", "Made by `docs/generate.py` from the code.", ""]
    for name in typer.main.get_command(app).commands:
        text = CliRunner(env={"COLUMNS": "110", "TERMINAL_WIDTH": "110"}).invoke(app, [name, "--help"]).output
        lines += [
            f"## secateur {name}",
            "",
            "```text",
            *(line.rstrip() for line in text.strip().splitlines()),
            "```",
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


PAGES = {"methods.md": methods_page, "cli.md": cli_page}


def main() -> None:
    """Write the pages, or compare them with what is there."""
    stale = []
    for name, make in PAGES.items():
        path, text = HERE / name, make()
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(name)
    if stale:
        sys.exit(f"out of date: {', '.join(stale)}; run `make docs`")


if __name__ == "__main__":
    main()
