"""Every command and option that README and docs/ name exists."""

import re
from pathlib import Path

import pytest
import typer

from secateur.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts and page.name != "cli.md"]  # cli.md is made from the help
PAGES += sorted((ROOT / "benchmarks").glob("*.md"))
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def commands(group, above=()):
    """The options of each command, by its words."""
    found = {}
    for name, command in group.commands.items():
        found[(*above, name)] = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
        found |= commands(command, (*above, name)) if hasattr(command, "commands") else {}
    return found


COMMANDS = commands(typer.main.get_command(app))


def spans(text):
    """Code in lines and in blocks, one call each, with the paragraph it stands in."""
    for block in re.findall(r"```(?:sh|bash|text)\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").split("\n"):
            yield line, block
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for paragraph in re.split(r"\n\s*\n", text):
        for span in re.findall(r"`([^`]+)`", paragraph):
            yield " ".join(span.split()), paragraph


def words_of(call):
    """The longest command that the words begin with, and whether they call this program at all."""
    words = call.split("#")[0].split()
    ours = words[:1] == ["secateur"]
    words = words[1:] if ours else words
    named = [key for key in COMMANDS if tuple(words[: len(key)]) == key]
    return (max(named, key=len) if named else None), ours, words


def scripts(paragraph):
    """Options of the benchmarks that a paragraph names, which are no options of ours."""
    named = re.findall(r"benchmarks/(\w+)\.py", paragraph) + re.findall(r"benchmarks/([\w-]+)\.md", paragraph)
    paths = [ROOT / "benchmarks" / f"{name.replace('-', '_')}.py" for name in named]
    return "".join(path.read_text(encoding="utf-8") for path in paths if path.exists())


def faults(text, page_scripts=""):
    """Commands that are none, and options that their command does not have."""
    anywhere = set().union(*COMMANDS.values())
    wrong = []
    for call, paragraph in spans(text):
        command, ours, words = words_of(call)
        if ours and command is None and words and not words[0].startswith("-"):
            wrong.append(f"no such command: {call}")
        if call.startswith(("pip ", "git ", "sphinx", "pytest ", "python -m tests.")):
            continue
        for option in OPTION.findall(call.split(" #")[0]):
            has = COMMANDS[command] if command and (ours or len(words) > 1) else anywhere
            if option not in has and (command or f'"{option}"' not in scripts(paragraph) + page_scripts):
                wrong.append(f"no such option: {option} in {call}")
    return wrong


def own_script(page):
    """A page of benchmarks speaks of its own script's options."""
    names = [page.stem.replace("-", "_"), "cifar10_cpu", f"{page.stem}_steps", f"{page.stem}_curves"]
    paths = [page.parent / f"{name}.py" for name in names] if page.parent.name == "benchmarks" else []
    paths += [page.parent / "selecting.py"] if page.stem == "selectors" else []
    return "".join(path.read_text(encoding="utf-8") for path in paths if path.exists())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_option_on_a_page_exists(page):
    assert faults(page.read_text(encoding="utf-8"), own_script(page)) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("cheaper: `prune --by dual`", "no such option: --by in prune --by dual"),
        ("`secateur scale prune X --by density` is fine", None),
        ("`secateur shrink DATA`", "no such command: secateur shrink DATA"),
        (
            "```sh\nsecateur prune DATA \\\n  --kep 0.3\n```",
            "no such option: --kep in secateur prune DATA    --kep 0.3",
        ),
        ("the option `--nowhere`", "no such option: --nowhere in --nowhere"),
        ("`secateur methods` and `--keep 0.3`", None),
    ],
)
def test_a_command_or_option_that_does_not_exist_is_a_fault(text, fault):
    assert faults(text) == ([fault] if fault else [])


def test_every_target_of_make_that_a_page_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert name in targets, f"{page.name}: make {name}"
