"""Every option of every command, with values that it does not expect."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.campaign.cases import Argv, Case, Expect, Ground, Plan, drawn, numbered

NASTY = (
    "", " ", "nan", "inf", "-inf", "-1", "0", "1e9", "999999999999999999999", "0.5.5", "\u00e9\u2603", "\x1b[31mred",
    "a\nb", "'\"", "../../evil", "/", "None", "true", "a,a", ":", "=", "a=", ",", "0x10", "\u0661", "1_0", "-0.0",
)  # fmt: skip
NUMBERS = ("nan", "inf", "-inf", "-1", "0", "1e9", "999999999999999999999", "", "x", "0.5", "-0.0", "\u0661", "1e-300")
PATHS = ("", "missing", "stranger.txt", "stranger.txt/below", "loop", "pipe", "folder", "\x1b[31mred", "q\"uote'", "é")
COUNTS = (
    "epochs", "record_epochs", "eval_epochs", "steps", "repeats", "seeds", "sets", "subsets", "threads", "workers",
    "repeat_recording",
)  # fmt: skip
"""Of which a huge number is honest work, or as many threads."""
TREES = ("data", "pool", "unlabelled", "shards")
HUGE = ("1e9", "999999999999999999999", "1_0")


def _make(base: Callable[[Ground], Argv], more: Argv, copies: tuple[str, ...]) -> Callable[[Path, Ground], list[Argv]]:
    def make(folder: Path, ground: Ground) -> list[Argv]:
        import os

        (folder / "folder").mkdir()
        (folder / "folder" / "stranger").write_text("not ours")
        os.symlink("loop", folder / "loop")
        os.mkfifo(folder / "pipe")
        for name in copies:
            ground.copy(name, folder)
        return [[*base(ground), *more]]

    return make


TINY = ["--net", "mlp:0.1", "--threads", "1"]
FEW = ["--epochs", "1", *TINY, "--json"]
WATCHED = ["--record-epochs", "1", *FEW]
SCALED = ["--clusters", "4", "--workers", "1", "--json"]
BASES: dict[tuple[str, ...], tuple[Callable[[Ground], Argv], tuple[str, ...]]] = {
    ("prune",): (lambda g: ["prune", g.at("vec"), "--keep", "0.5", "--method", "el2n", *WATCHED], ()),
    ("record",): (lambda g: ["record", g.at("vec"), *FEW], ()),
    ("score",): (lambda g: ["score", "out", "--json"], ("run",)),
    ("select",): (lambda g: ["select", "out", "--keep", "0.5", "--method", "el2n", "--json"], ("run",)),
    ("train",): (lambda g: ["train", g.at("vec"), *FEW], ()),
    ("slim",): (lambda g: ["slim", g.at("run"), g.at("vec"), "--flops", "0.5", "--json"], ()),
    ("mine",): (lambda g: ["mine", g.at("vec"), g.at("pool.parquet"), "--top", "2", *FEW], ()),
    ("condense",): (
        lambda g: ["condense", g.at("vec"), "--per-class", "1", "--steps", "1", "--no-evaluate", "--json"],
        (),
    ),
    ("plan",): (lambda g: ["plan", g.at("vec"), "--out", "out", *WATCHED], ("run",)),
    ("compare",): (
        lambda g: ["compare", g.at("vec"), "--methods", "random", "--keep", "0.5", "--distill", "off", *WATCHED],
        (),
    ),
    ("report",): (lambda g: ["report", "out"], ("run",)),
    ("methods",): (lambda g: ["methods"], ()),
    ("cite",): (lambda g: ["cite", "dual"], ()),
    ("scale", "embed"): (lambda g: ["scale", "embed", g.at("vec"), "--by", "input", "--json"], ()),
    ("scale", "cluster"): (lambda g: ["scale", "cluster", g.at("shards"), *SCALED], ()),
    ("scale", "filter"): (lambda g: ["scale", "filter", g.at("shards"), "--score", "clip", *SCALED], ()),
    ("scale", "dedup"): (lambda g: ["scale", "dedup", g.at("shards"), *SCALED], ()),
    ("scale", "density"): (lambda g: ["scale", "density", g.at("shards"), "--keep", "0.3", *SCALED], ()),
    ("scale", "prototypes"): (lambda g: ["scale", "prototypes", g.at("shards"), "--keep", "0.3", *SCALED], ()),
    ("scale", "prune"): (lambda g: ["scale", "prune", g.at("shards"), "--keep", "0.3", *SCALED], ()),
    ("scale", "select"): (lambda g: ["scale", "select", g.at("scaled"), "--out", "out", "--json"], ()),
    ("scale", "instructions"): (
        lambda g: ["scale", "instructions", g.at("shards"), "--subsets", "6", "--indicators", "clip", "--json"],
        (),
    ),
}


def commands() -> dict[tuple[str, ...], Any]:
    """Every command, by its words."""
    import typer.main

    from secateur.cli import app

    found: dict[tuple[str, ...], Any] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found |= {(name,): command} if inner is None else {(name, k): v for k, v in inner.items()}
    return found


def cases(plan: Plan) -> list[Case]:
    """Two or three values an option, of its kind, and text that hypothesis draws."""
    return numbered(_cases(plan))


def _cases(plan: Plan) -> Iterator[Case]:
    rng = plan.rng("options")
    texts = drawn(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12), 200, plan.seed)
    for words, command in commands().items():
        base, copies = BASES[words]
        options = [p for p in command.params if p.name != "help" and not getattr(p, "is_flag", False)]
        for option in options:
            kind = str(option.type_descriptor.annotation if hasattr(option, "type_descriptor") else option.type)
            number = "int" in kind.lower() or "float" in kind.lower()
            path = "path" in kind.lower() or option.name in ("out", "cache", "start", "teacher", "subset")
            pool = [*(NUMBERS if number else PATHS if path else NASTY), str(rng.choice(texts))]
            if option.name in COUNTS:
                pool = [v for v in pool if v not in HUGE]
            if option.name in TREES:
                pool = [v for v in pool if v != "/"]  # a walk over the whole machine is what was asked for
            if option.name == "cache":
                pool = [v for v in pool if v]  # the current folder
            for value in rng.choice(pool, 2, replace=False).tolist() + (["nan"] if number else []):
                yield _case(words, option, value, base, copies, number=number)


def _case(words: tuple[str, ...], option: Any, value: str, base: Any, copies: Any, *, number: bool) -> Case:
    named = option.opts[0].startswith("-")
    more = [f"{option.opts[0]}={value}"] if named else ["--", value]
    expect: Expect = "refused" if named and (number or option.name == "keep") and value == "nan" else "either"
    outs = ["out", "secateur-out", "secateur-scale", "secateur-shards"]
    if option.name in ("out", "cache"):
        outs.append(value.split("/")[0])
    make = _make(base, more, copies) if named else _argument(words, option, value, base, copies)
    return Case(f"{' '.join(words)} {option.opts[0]} {value!r}", make, expect, None, tuple(outs))


def _argument(words: tuple[str, ...], option: Any, value: str, base: Any, copies: Any) -> Any:
    """The value in place of the first argument of that command."""

    def swapped(ground: Ground) -> Argv:
        given = base(ground)
        place = len(words) + (1 if option.name == "pool" else 0)
        if place < len(given):
            return [*given[:place], value, *given[place + 1 :]]
        return [*given, value]

    return _make(swapped, [], copies)
