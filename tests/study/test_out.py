"""The folder of a run: what `--force` replaces is only gone when there is something in its place."""

import shutil
from pathlib import Path

import pytest

import secateur as sc
from secateur.errors import SecateurError
from secateur.study import out as module
from secateur.study.out import Out
from tests.conftest import SMALL

DATA = {"name": "some", "fingerprint": "f"}


@pytest.fixture
def folder(tmp_path):
    """A folder with a recorded run in it, and something of somebody else's."""
    out = Out(tmp_path / "out")
    with out.claimed(DATA, force=False):
        out.begin("record", {"seed": 0})
        (out / "cells" / "a").mkdir(parents=True)
        (out / "cells" / "a" / "result.json").write_text("0.9")
    (out / "thesis.tex").write_text("years of work")
    return out


def held(path: Path) -> dict[str, bytes]:
    """The contents of the files of a folder."""
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name != ".lock"}


class Killed(BaseException):
    """Nothing is put in order after it."""


def test_a_forced_command_that_is_refused_leaves_what_was_there(pruned, few_digits, tmp_path):
    out = shutil.copytree(pruned, tmp_path / "out")
    before, ((images, labels), test) = held(out), few_digits
    with pytest.raises(SecateurError, match="window"):
        sc.prune((images, labels), test=test, keep=0.3, out=out, method="dual:window=9", force=True, **SMALL)
    assert held(out) == before


def test_a_forced_command_that_writes_replaces_all_of_it_and_nothing_else(folder):
    with folder.claimed(DATA, force=True):
        folder.begin("record", {"seed": 1})
    assert sorted(held(folder.path)) == ["run.json", "thesis.tex"]
    assert folder.stages["record"]["asked"] == {"seed": 1}


def killed_while(folder, monkeypatch, *, moved: int):
    """Kill a forced command when it has moved so many of the names."""
    rename, count = Path.rename, iter(range(moved))

    def until(self, target):
        if next(count, None) is None:
            raise Killed
        return rename(self, target)

    monkeypatch.setattr(module.Path, "rename", until)
    with pytest.raises(Killed):
        folder.claim(DATA, force=True)
    monkeypatch.undo()


@pytest.mark.parametrize("moved", [0, 1, 2])  # before run.json, cells, and the folder they were moved to
def test_killed_while_it_sets_aside_the_next_finds_all_of_it(folder, monkeypatch, moved):
    before = held(folder.path)
    killed_while(folder, monkeypatch, moved=moved)
    assert held(folder.path) != before or moved == 0
    with pytest.raises(SecateurError, match="another record .*seed was 0, now 1"):
        folder.claim(DATA, force=False)
        folder.begin("record", {"seed": 1})
    assert {k: v for k, v in held(folder.path).items() if k != "run.json"} == {
        k: v for k, v in before.items() if k != "run.json"
    }


def test_killed_before_it_wrote_anything_the_next_finds_all_of_it(folder):
    folder.claim(DATA, force=True)
    assert folder.stages == {}
    folder.claim(DATA, force=False)
    assert folder.stages["record"]["asked"] == {"seed": 0}
    assert (folder / "cells" / "a" / "result.json").read_text() == "0.9"
    assert not (folder / module.REPLACED).exists()


def test_killed_when_it_had_written_the_next_goes_on_from_that(folder):
    folder.claim(DATA, force=True)
    folder.begin("record", {"seed": 1})
    folder.claim(DATA, force=False)
    assert folder.stages["record"]["asked"] == {"seed": 1}
    assert sorted(held(folder.path)) == ["run.json", "thesis.tex"]
