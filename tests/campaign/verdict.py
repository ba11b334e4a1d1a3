"""What a case came to: ok, refused, or how it failed."""

import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from tests.campaign.cases import Case, Outcome

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")
STRANGER = "stranger"
Tree = dict[str, str]


@dataclass(frozen=True)
class Verdict:
    """kind: ok, refused, or FAIL: and the kind of failure. told: a line about it."""

    kind: str
    told: str = ""

    @property
    def failed(self) -> bool:
        """Is it a failure?"""
        return self.kind.startswith("FAIL")


def fail(kind: str, told: str) -> Verdict:
    """A failure of a kind."""
    return Verdict(f"FAIL {kind}", " ".join(told.split())[:400])


def tree(root: Path) -> Tree:
    """Everything below a folder: kinds, targets of links, digests of files; no link is followed, no pipe opened."""
    found: Tree = {}
    for folder, folders, files in os.walk(root):
        for name in sorted(folders + files):
            path = Path(folder) / name
            kept = path.relative_to(root).as_posix()
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                found[kept] = f"link {os.readlink(path)}"
            elif stat.S_ISREG(status.st_mode):
                found[kept] = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                found[kept] = f"kind {stat.S_IFMT(status.st_mode)}"
    return found


def touched(case: Case, before: Tree, after: Tree) -> str | None:
    """A file that no command may have made, changed or removed."""
    for name in {**before, **after}:
        ours = name.split("/")[0] in case.outs and STRANGER not in name
        if not ours and before.get(name) != after.get(name):
            change = "made" if name not in before else "removed" if name not in after else "changed"
            return f"{change} {name!r}"
    return None


def judge(case: Case, folder: Path, outcomes: list[Outcome]) -> Verdict:
    """By what the last command printed and how it ended; the ones before it must be fine."""
    for outcome in outcomes[:-1]:
        if outcome.code != 0:
            early = judged(outcome)
            return early if early.failed else fail("setting up", outcome.stderr)
    last = outcomes[-1]
    found = judged(last)
    if found.failed:
        return found
    if found.kind == "refused" and case.expect == "ok":
        return fail("wrong refusal", found.told)
    if found.kind == "ok" and case.expect == "refused":
        return fail("wrong success", f"expected to be refused: {' '.join(last.argv)}")
    if found.kind == "ok" and case.check is not None and (wrong := case.check(folder, outcomes)):
        return fail("wrong success", wrong)
    return found


def judged(outcome: Outcome) -> Verdict:
    """One command by its exit code and its output alone."""
    errors = [line for line in outcome.stderr.splitlines() if line.startswith("error:")]
    if outcome.crash:
        return fail("traceback", outcome.crash)
    if "Traceback (most recent" in outcome.stderr or "Traceback (most recent" in outcome.stdout:
        return fail("traceback", outcome.stderr[-300:])
    if "internal error:" in outcome.stderr or outcome.code == 70:
        return fail("internal error", outcome.stderr[-300:])
    if found := CONTROL.search(outcome.stdout + outcome.stderr.replace("\r", "")):
        return fail("control characters", repr(outcome.stderr[-200:] or found[0]))
    if outcome.code == 0:
        return _sane(outcome)
    if outcome.code != 2:
        return fail(f"exit {outcome.code}", outcome.stderr[-300:])
    if not errors and "Usage:" in outcome.stderr and "Error:" in outcome.stderr:
        return Verdict("refused", outcome.stderr.splitlines()[-1][:200])
    last = [line for line in outcome.stderr.splitlines() if line.strip()][-1:]
    if len(errors) != 1 or last != errors:
        return fail("error of several lines", outcome.stderr[-300:])
    return Verdict("refused", errors[0][:300])


def _sane(outcome: Outcome) -> Verdict:
    """Success: what is printed as JSON is JSON, without nan."""
    if "--json" in outcome.argv:
        try:
            json.loads(outcome.stdout, parse_constant=_no)
        except ValueError as error:
            return fail("wrong success", f"output is no JSON: {error}")
    return Verdict("ok", outcome.stdout.strip().splitlines()[0][:120] if outcome.stdout.strip() else "")


def _no(name: str) -> None:
    raise ValueError(f"{name} in the output")
