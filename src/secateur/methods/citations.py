"""BibTeX of the methods: what to cite when you used them."""

import re
from functools import cache
from importlib import resources

from secateur.dynamic.rules import RULES
from secateur.methods.condensers import CONDENSERS
from secateur.methods.rows import METHODS
from secateur.registry import unknown


@cache
def _entries() -> dict[str, str]:
    text = resources.files("secateur.methods").joinpath("citations.bib").read_text(encoding="utf-8")
    return {m.group(1): m.group(0) for m in re.finditer(r"@\w+\{([^,]+),.*?^\}", text, re.DOTALL | re.MULTILINE)}


def bibtex(name: str) -> str:
    """The BibTeX entries of a method, rule or condenser, `distillation`, `progressive` or `omni`; empty for random.

    >>> bibtex("dual").splitlines()[0]
    '@inproceedings{dual,'
    """
    entries = _entries()
    if name in METHODS:
        return "\n".join(entries[key] for key in METHODS[name].cite)
    if name in entries:
        return entries[name]
    raise unknown(
        "cite", name, list(dict.fromkeys([*METHODS, *RULES, *CONDENSERS, "distillation", "progressive", "omni"]))
    )
