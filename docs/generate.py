"""Write the pages that come from the code: methods.md, a page a method, cli.md. `--check` fails where one is stale."""

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from secateur.cli import app
from secateur.fields import FIELDS
from secateur.methods import METHODS, Method, Setting, bibtex
from secateur.methods.listing import listing
from secateur.methods.spec import knobs_of
from secateur.ranges import Range
from secateur.registry import Entry, get

HERE = Path(__file__).parent
PUBLISHED = Setting(0.3, 30, 10)
MEASURED = {"CIFAR-10": "cifar10-cpu", "CIFAR-100": "cifar100-cpu"}
CLASSES = {"CIFAR-10": 10, "CIFAR-100": 100}
LEVEL = "Level: no farther apart than half a point or twice the spread of `random`, whichever is more."
MARKS = {
    "†": "† A later recording on another machine.",
    "‡": "‡ Not run again since the method changed: how `forgetting` breaks ties, how `ssp` finds clusters.",
}


def methods_page() -> str:
    """Tables of methods, scores, selectors, rules and recorded fields."""
    lines = ["# Methods, scores, selectors, rules", "", "Made by `docs/generate.py` from the code.", ""]
    rows = listing()
    lines += ["## Methods", "", "| name | what | score and selector | needs |", "|---|---|---|---|"]
    for row in rows:
        if row["kind"] == "method":
            needs = ", ".join(f"`{n}`" for n in row["needs"]) or "nothing"
            name = f"[`{row['name']}`](methods/{row['name']}.md)"
            lines.append(f"| {name} | {row['summary']} | {row['how']} | {needs} |")
    for kind, title in (
        ("score", "Scores"),
        ("selector", "Selectors"),
        ("rule", "Rules of dynamic pruning"),
        ("condenser", "Condensers"),
    ):
        lines += ["", f"## {title}", "", "| name | what | needs | knobs | source |", "|---|---|---|---|---|"]
        for row in rows:
            if row["kind"] == kind:
                needs, knobs = (", ".join(f"`{n}`" for n in row[key]) for key in ("needs", "knobs"))
                lines.append(f"| `{row['name']}` | {_cell(row['summary'])} | {needs} | {knobs} | {row['source']} |")
    lines += ["", "## Fields", "", "| field | axes | meaning | filled by |", "|---|---|---|---|"]
    lines += [f"| `{n}` | {', '.join(f.axes)} | {_cell(f.meaning)} | {f.probe} |" for n, f in FIELDS.items()]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def method_page(row: Method) -> str:
    """What one method is, when to use it, where it departs from its paper, and what was measured."""
    score = None if row.score is None else get("score", row.score)
    selector = get("selector", row.selector)
    lines = [f"# {row.name}", "", f"Made by `docs/generate.py` from the code. {row.summary}", ""]
    lines += [f"**When.** {row.when}", "", f"**Needs.** {_needs(row)}", ""]
    if row.per_class:
        lines += ["Chooses inside each class, classes keeping their shares; `per_class=0` chooses over all.", ""]
    if score is not None:
        lines += [f"## The score `{score.name}`", "", *_entry(score)]
    lines += [f"## The selector `{selector.name}`", "", *_entry(selector), *_knobs(row, score, selector)]
    if row.selector in ("craig", "gradmatch"):
        lines += [
            "## Weights", "", "Divided by their mean, so that they are 1 on average and the loss keeps its scale. They",
            "stand in the column `weight` of `subset.parquet`, and training multiplies each example's loss by them;",
            "`kept/` holds the rows alone.", "",
        ]  # fmt: skip
    lines += ["## Measured", "", *_measured(row.name)]
    if row.cite:
        lines += ["## To cite", "", "```bibtex", bibtex(row.name), "```"]
    return "\n".join(lines).rstrip() + "\n"


def _needs(row: Method) -> str:
    fields = row.fields(PUBLISHED)
    logged = [f"`{n}`" for n in fields if FIELDS[n].probe == "recorder" and n != "labels"]
    parts = [f"{', '.join(logged)} of a recorded run"] if logged else []
    parts += [f"the probe `{name}`" for name in row.probed(PUBLISHED)]
    parts += ["the recall of each class on validation data"] if row.recall else []
    parts += ["a validation part"] if "validation" in get("selector", row.selector).needs else []
    parts += ["labels"] if row.needs_labels else []
    return (", ".join(parts) or "nothing") + "."


def _entry(entry: Entry) -> list[str]:
    """The docstring without its example, and the source."""
    text = (inspect.getdoc(entry.fn) or "").split(">>>")[0].rstrip()
    return [text, "", f"Source: {entry.source}.", ""]


def _knobs(row: Method, score: Entry | None, selector: Entry) -> list[str]:
    """Every knob with the value it has in the published protocol, and with those that were measured."""
    settings = {"the paper's run: 30 epochs, keep `0.3`": PUBLISHED}
    settings |= {
        f"measured: 16 epochs, {data}, keep `{r['keep']}`": Setting(r["keep"], 16, CLASSES[data])
        for data, r in _results()
        if r["method"] == row.name
    }
    columns = [_values(row, score, selector, setting) for setting in settings.values()]
    if not columns[0]:
        return []
    known = knobs_of(row)
    return [
        "## Knobs",
        "",
        "A recording shorter than the paper's shrinks windows in proportion; some knobs follow what is kept.",
        "",
        f"| knob | {' | '.join(settings)} | may be |",
        "|" + "---|" * (2 + len(settings)),
        *(
            f"| `{k}` | {' | '.join(f'`{values[k]}`' for values in columns)} | {_may_be(known.get(k))} |"
            for k in columns[0]
        ),
        "",
    ]


def _may_be(known: Range | tuple[str, ...] | None) -> str:
    if isinstance(known, tuple):
        return " or ".join(f"`{word}`" for word in known)
    return "" if known is None else f"`{known}`"


def _values(row: Method, score: Entry | None, selector: Entry, setting: Setting) -> dict[str, Any]:
    values = {n: p.default for e in (score, selector) if e for n, p in e.knobs.items() if n not in ("keep", "rng")}
    use = row.use(setting)
    values |= ({} if use is None else dict(use.knobs)) | row.selector_knobs(setting)
    values |= {k: v for probe in row.probed(setting).values() for k, v in probe.items()}
    values |= {"per_class": 1} if row.per_class else {}
    for name in ("cutoff_by", "initial"):
        values.pop(name, None)
    return values


def _results() -> Iterator[tuple[str, dict[str, Any]]]:
    """The benchmarks' results: data, row."""
    for data, file in MEASURED.items():
        for row in json.loads((HERE.parent / "benchmarks" / f"{file}.json").read_text(encoding="utf-8")):
            yield data, row


def _measured(name: str) -> list[str]:
    """Its rows in the benchmarks' results, each between the rivals of the same data, keep and attack."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for data, row in _results():
        groups.setdefault((data, row["keep"], row.get("adversary")), []).append(row)
    lines = []
    for (data, keep, attack), rows in groups.items():
        own = [r for r in rows if r["method"].partition(":")[0] == name and name != "random"]
        rivals = [r for r in rows if r["method"] in ("random", "full, cut short")]
        if not own and not (name == "random" and any(r["method"] == name for r in rivals)):
            continue
        (rival,) = (r for r in rivals if r["method"] == "random")
        for row in [*own, *rivals]:
            where = f"{data}{', attacked by ' + f'`{attack}`' if attack else ''} | `{keep}` | {_trained_on(row)}"
            pairs = [(_percent(row, s), _verdict(row, rival, s) if row in own else "") for s in ("", "_taught")]
            lines.append(f"| {where} | {' | '.join(cell for pair in pairs for cell in pair)} |")
    if not lines:
        return ["Not measured yet.", ""]
    head = (
        "| data | keep | trained on | accuracy (worst class), % | beside random | with the recorded net as teacher | |"
    )
    pages = " and ".join(f"[{data}](../../benchmarks/{MEASURED[data]}.md)" for data in _data(lines))
    marks = [text for mark, text in MARKS.items() if any(mark in line for line in lines)]
    return [f"From the tables of {pages}.", "", head, "|---" * 7 + "|", *lines, "", " ".join([LEVEL, *marks]), ""]


def _trained_on(row: dict[str, Any]) -> str:
    return str(row["method"]).replace("full", "all") if row["method"].startswith("full") else f"`{row['method']}`"


def _data(lines: list[str]) -> list[str]:
    """The data sets that have a line."""
    return [data for data in MEASURED if any(line.startswith((f"| {data} ", f"| {data},")) for line in lines)]


def _verdict(row: dict[str, Any], rival: dict[str, Any], suffix: str) -> str:
    """Above, level with or below random."""
    ours, theirs = row.get(f"accuracy{suffix}"), rival.get(f"accuracy{suffix}")
    if ours is None or theirs is None:
        return ""
    noise = max(0.005, 2 * (rival.get(f"spread{suffix}") or 0))
    return "level" if abs(ours - theirs) <= noise else "above" if ours > theirs else "below"


def _percent(row: dict[str, Any], suffix: str) -> str:
    if row.get(f"accuracy{suffix}") is None:
        return ""
    spread = row.get(f"spread{suffix}")
    more = "" if spread is None else f" ± {100 * spread:.2f}"
    mark = f" {row[f'mark{suffix}']}" if f"mark{suffix}" in row else ""
    return f"{100 * row[f'accuracy{suffix}']:.2f}{more}{mark} ({100 * row[f'worst_class{suffix}']:.1f})"


def cli_page() -> str:
    """The help text of every command."""
    import typer

    lines = ["# Command line", "", "Made by `docs/generate.py` from the code.", ""]
    for words in _commands(typer.main.get_command(app)):
        text = CliRunner(env={"COLUMNS": "110", "TERMINAL_WIDTH": "110"}).invoke(app, [*words, "--help"]).output
        lines += [
            f"## secateur {' '.join(words)}",
            "",
            "```text",
            *(line.rstrip() for line in text.strip().splitlines()),
            "```",
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def _commands(group: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words that call each command, a group before those in it."""
    for name, command in group.commands.items():
        yield (*above, name)
        if hasattr(command, "commands"):
            yield from _commands(command, (*above, name))


def pages() -> dict[str, str]:
    """Every page by its path."""
    each = {f"methods/{name}.md": method_page(row) for name, row in METHODS.items()}
    return {"methods.md": methods_page(), "cli.md": cli_page(), **each}


def main() -> None:
    """Write the pages, or compare them with what is there."""
    stale = []
    for name, text in pages().items():
        path = HERE / name
        if "--check" not in sys.argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(name)
    if stale:
        sys.exit(f"out of date: {', '.join(stale)}; run `make docs`")


if __name__ == "__main__":
    main()
