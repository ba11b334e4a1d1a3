"""The numbers of the commit that digests.json was made of are the numbers of this one, but for those named."""

import subprocess

import numpy as np
import pytest

from secateur.dynamic.rules import RULES
from secateur.methods import METHODS
from secateur.methods.condensers import CONDENSERS
from secateur.training.aims import AIMS
from tests.golden.digests import digest
from tests.golden.held import CHANGED, ROOT, differences, of_source, read


def test_every_method_rule_objective_and_condenser_is_held():
    kinds = {"method": METHODS, "rule": RULES, "objective": AIMS, "condenser": CONDENSERS}
    expected = {f"{kind}/{name}" for kind, names in kinds.items() for name in names}
    assert expected - set(read()["runs"]) - set(CHANGED) == set()


def test_a_change_in_one_number_is_told_with_the_name_of_its_run():
    before = {"runs": {"a": {"ids": digest([1, 2]), "weights": digest([1.0])}, "b": {}}}
    now = {"runs": {"a": {"ids": digest([1, 3]), "weights": digest([1.0])}, "c": {}}}
    assert differences(before, now) == [("b", "is gone"), ("c", "is new"), ("a", "ids")]
    assert differences(before, before) == []


def test_a_digest_tells_types_shapes_and_bytes_apart():
    same = np.arange(4, dtype=np.int32)
    kinds = [same, same.astype(np.int64), same.reshape(2, 2), same[::-1], same.view(np.float32), same.astype(str)]
    assert len({digest(k) for k in kinds}) == len(kinds)
    assert digest(same) == digest(np.arange(8, dtype=np.int32)[::2] // 2)


@pytest.mark.slow
def test_all_numbers_are_those_of_the_held_commit_but_for_the_ones_changed_on_purpose(tmp_path):
    held = read()
    now = of_source(ROOT / "src", tmp_path / "now.json")
    if held["signature"] != now["signature"]:
        held = _made_here(held["commit"], tmp_path)
    found = dict(differences(held, now))
    assert {name: what for name, what in found.items() if name not in CHANGED} == {}, "changed, and not on purpose"
    assert set(CHANGED) - set(found) == set(), "named as changed, and the same as before"


def _made_here(commit, folder):
    """What the held commit gives on this machine, whose arithmetic is another than that of digests.json."""
    git = ["git", "-C", str(ROOT)]
    if subprocess.run([*git, "cat-file", "-e", f"{commit}^{{commit}}"], capture_output=True).returncode:
        pytest.skip(f"digests.json was made on another processor or with other packages, and {commit} is not at hand")
    tree = folder / "before"
    subprocess.run([*git, "worktree", "add", "--detach", "-q", str(tree), commit], check=True)
    try:
        return of_source(tree / "src", folder / "before.json")
    finally:
        subprocess.run([*git, "worktree", "remove", "--force", str(tree)], check=True)
