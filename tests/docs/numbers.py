"""The rule of CONTRIBUTING.md for measured figures: the blocks of a page, their figures, links and derivations."""

import ast
import functools
import operator
import re
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

ROOT = Path(__file__).parents[2]
NUMBER = re.compile(r"(?<![\w.])(?<![A-Za-z]-)(\d{1,3}(?:,\d{3})+|\d+)?(\.\d+)?(?!\.\d|,\d{3})(?=(?:x|s|ms)?(?!\w))")
SPREAD = re.compile(r"(?<![\w.,])\d+\.\d+\s±\s\d+\.\d+")
UNIT = re.compile(r"\s?(%|x\b|s\b|ms\b|(seconds?|minutes?|hours?|points?|times|GB|MB|kB|TB)\b)")
LINK = re.compile(r"\]\(((?:\.\./)*(?:benchmarks/)?[\w./-]+\.md)(?:#[\w-]*)?\)")
COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
NAME = re.compile(r"`([A-Za-z][\w:=.-]*)`")
EXEMPT = re.compile(
    r"<!--.*?-->|`[^`]*`|\]\([^)]*\)|https?://\S+|arXiv:\d+\.\d+|\b(?:19|20)\d\d\b|\d+ ?x ?\d+|"
    r"Python \d\.\d+|\bv?\d+\.\d+\.\d+\b",
    re.DOTALL,
)
COMPUTED = "computed by the code above"  # and tests/docs/test_examples.py compares
CONSTANTS = {"60", "100", "1000", "3600"}
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


@dataclass
class Block:
    """A paragraph, a list item or a row of a table."""

    text: str
    line: int
    row: bool = False
    links: set[Path] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def _lines(text: str) -> list[str]:
    """The lines; emptied where they are code, or the definition of a score or selector on a method's page."""
    lines, fenced, blank, definition = [], False, True, False
    for line in text.split("\n"):
        fence = line.lstrip().startswith("```")
        if line.startswith("#") and not fenced:
            definition = line.startswith(("## The score `", "## The selector `"))
        code = fenced or fence or definition or (blank and line.startswith("    "))
        fenced ^= fence
        blank = (blank and code) or not line.strip()
        lines.append("" if code else line)
    return lines


def _groups(text: str) -> list[list[tuple[int, str]]]:
    """Lines that stand together, numbered from 1."""
    groups: list[list[tuple[int, str]]] = [[]]
    for number, line in enumerate(_lines(text), 1):
        if line.startswith("#"):
            groups += [[(number, "#")], []]
        elif line.strip():
            groups[-1].append((number, line))
        elif groups[-1]:
            groups.append([])
    return [g for g in groups if g]


def blocks(page: Path, text: str | None = None) -> list[Block]:
    """The blocks of a page. A row without a link of its own has those beside its table, and the notes under it."""
    found: list[list[Block]] = []
    for group in _groups(page.read_text(encoding="utf-8") if text is None else text):
        cut: list[Block] = []
        for number, line in group:
            row, item = line.lstrip().startswith("|"), re.match(r"\s*([-*]|\d+\.) ", line)
            if not cut or ((row or item or cut[-1].row) and not line.lstrip().startswith("<!--")):
                cut.append(Block(re.sub(r"^\s*\d+\. ", "", line) if item else line, number, row))
            else:
                cut[-1].text += "\n" + line
        found.append(cut)
    for cut in found:
        for block in cut:
            block.links = {(page.parent / link).resolve() for link in LINK.findall(block.text)}
            block.links = {link for link in block.links if link.parent == ROOT / "benchmarks"}
            block.notes = [n.strip() for text in COMMENT.findall(block.text) for n in text.split(";")]
    for at, cut in enumerate(found):
        if cut[0].row:
            notes = [n for b in cut for n in b.notes]
            if COMPUTED in notes and "```python" in page.read_text(encoding="utf-8"):
                cut.clear()
            beside = [b for near in (found[at - 1 : at], found[at + 1 : at + 2]) for c in near for b in c if not b.row]
            for block in cut:
                block.notes = notes
                block.links = block.links or {link for b in beside for link in b.links}
    return [b for cut in found for b in cut]


def numbers(text: str) -> list[tuple[str, str]]:
    """Every number, or mean with its spread, outside what is exempt; without commas; and its unit or nothing."""
    text = EXEMPT.sub(lambda m: " " * len(m[0]), text)
    found = [(m[0], UNIT.match(text, m.end())) for m in SPREAD.finditer(text)]
    rest = SPREAD.sub(lambda m: " " * len(m[0]), text)
    found += [(m[0], UNIT.match(text, m.end())) for m in NUMBER.finditer(rest) if m[0]]
    return [(_plain(number), unit[1] if unit else "") for number, unit in found]


def _plain(number: str) -> str:
    return " ".join(number.replace(",", "").split())


@functools.cache
def _read(pages: frozenset[Path]) -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in sorted(pages) if page.exists())


@functools.cache
def known(text: str) -> frozenset[str]:
    """Every number of a page of tables, code included, and every mean with its spread."""
    return frozenset(_plain(m[0]) for pattern in (NUMBER, SPREAD) for m in pattern.finditer(text) if m[0])


def value(expression: str) -> float:
    """What sums, products and quotients of numbers come to."""

    def of(node: ast.expr) -> float:
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](of(node.left), of(node.right))
        assert isinstance(node, ast.Constant), expression
        return float(node.value)

    return of(ast.parse(expression, mode="eval").body)


def _derived(block: Block, there: frozenset[str]) -> tuple[set[str], list[str]]:
    """The figures that the block derives, and what is wrong with how."""
    good, wrong = set(), []
    for note in block.notes:
        figure, _, expression = (part.strip() for part in note.partition("="))
        if not re.fullmatch(r"\d+(\.\d+)?", figure):
            continue
        foreign = [n for n in re.findall(r"\d+(?:\.\d+)?|\.\d+", expression) if n not in there | CONSTANTS]
        if foreign or not expression:
            wrong.append(f"line {block.line}: {note!r} rests on {', '.join(foreign) or 'nothing'}, not in the table")
        step = Decimal(1).scaleb(-len(figure.partition(".")[2]))
        exact = Decimal(repr(round(value(expression), 9)))
        if exact.quantize(step, ROUND_HALF_UP) != Decimal(figure):
            wrong.append(f"line {block.line}: {note!r} comes to {exact}")
        good.add(figure)
    return good, wrong


@functools.cache
def _beside(name: str, text: str) -> str:
    """The lines of a page that name a method."""
    alone = re.compile(rf"(?<![\w:-]){re.escape(name)}(?![\w:=-])")
    return "\n".join(line for line in text.split("\n") if alone.search(line))


def faults(page: Path, text: str | None = None) -> list[str]:
    """Figures of a page that no linked table holds, and figures without a link."""
    wrong = []
    for block in blocks(page, text):
        missing = [link for link in block.links if not link.exists()]
        wrong += [f"line {block.line}: no such page: {link.name}" for link in missing]
        tables = _read(frozenset(block.links))
        found = numbers(block.text)
        if not block.links:
            wrong += [f"line {block.line}: {n} {u} without a table" for n, u in found if "." in n or u]
            continue
        there = known(tables)
        derived, errors = _derived(block, there)
        wrong += errors
        name = NAME.search(block.text) if block.row and not LINK.search(block.text) else None
        if name and name[1] in tables:
            there = known(_beside(name[1], tables)) | {n for n in there if "." not in n}
        wrong += [f"line {block.line}: {n} {u} is not in the table" for n, u in found if n not in there | derived]
    return wrong
