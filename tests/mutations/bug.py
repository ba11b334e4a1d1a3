"""What a bug is: a change of a few words in one file, and the tests that must fail with it."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """In `file`, `old` becomes `new`, once; every test of `caught_by` must fail. tests: what is run.

    home: the folder that `file` is relative to.
    """

    name: str
    file: str
    old: str
    new: str
    caught_by: tuple[str, ...]
    tests: tuple[str, ...] = ("tests/scores", "src/secateur/scores")
    home: str = "src/secateur"


def fault(name: str, file: str, old: str, new: str, *tests: str, home: str = "src/secateur") -> Bug:
    """A bug that each of `tests` must notice; these are written as pytest takes them, `tests/a.py::test_b`."""
    return Bug(name, file, old, new, tuple(re.split("::", test)[-1] for test in tests), tests, home)
