"""The folder of a run: nothing in it is touched but what a run of ours wrote, and a refusal changes nothing at all."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import secateur as sc
from secateur.errors import SecateurError, StoreError, WrongData
from secateur.store import files, partial
from secateur.store.files import append_line, locked, remove, replacing, write_json
from secateur.store.owned import NAMES, is_run_folder
from secateur.store.partial import is_partial, new_partial
from secateur.study import aside
from secateur.study.out import Out
from tests.conftest import SMALL
from tests.data.made import write_folder

DATA = {"name": "some", "fingerprint": "f"}
OTHER = {"name": "other", "fingerprint": "g"}


@pytest.fixture
def folder(tmp_path):
    """A folder with a recorded run in it, and something of somebody else's."""
    out = Out(tmp_path / "out")
    with out.claimed(DATA, force=False):
        out.begin("record", {"seed": 0})
        write_json(out / "cells" / "a" / "result.json", 0.9)
    (out / "thesis.tex").write_text("years of work")
    return Out(out.path)


def held(path: Path) -> dict[str, bytes]:
    """The contents of the files of a folder."""
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name != ".lock"}


def snapshot(path: Path) -> dict[str, object]:
    """Every entry below a folder: where links point, what files hold and when they were changed."""
    found: dict[str, object] = {}
    for p in sorted(path.rglob("*")):
        about = p.lstat()
        name = str(p.relative_to(path))
        if p.is_symlink():
            found[name] = ("link", os.readlink(p))
        elif p.is_file():
            found[name] = (p.read_bytes(), about.st_mtime_ns, about.st_mode)
        else:
            found[name] = about.st_mode
    return found


def refused(out: Path, match: str, *, data=DATA, force=False, around: Path | None = None) -> None:
    """A job there is refused, and everything around it stays as it was."""
    before = snapshot(around or out.parent)
    with pytest.raises(SecateurError, match=match), Out(out).claimed(data, force=force):
        raise AssertionError("it should not have begun")
    assert snapshot(around or out.parent) == before


class Killed(BaseException):
    """Nothing is put in order after it."""


def test_a_forced_command_that_is_refused_leaves_what_was_there(pruned, few_digits, tmp_path):
    out = shutil.copytree(pruned, tmp_path / "out")
    before, ((images, labels), test) = snapshot(out), few_digits
    with pytest.raises(SecateurError, match="window"):
        sc.prune((images, labels), test=test, keep=0.3, out=out, method="dual:window=9", force=True, **SMALL)
    assert snapshot(out) == before


def test_a_refused_command_leaves_every_byte_and_every_date(pruned, few_digits, tmp_path):
    out = shutil.copytree(pruned, tmp_path / "out")
    (out / ".lock").unlink(missing_ok=True)
    before, ((images, labels), test) = snapshot(out), few_digits
    with pytest.raises(SecateurError, match="other data"):
        sc.prune((255 - images, labels), test=test, keep=0.3, out=out, **SMALL)
    with pytest.raises(SecateurError, match="another record"):
        sc.record((images, labels), test=test, epochs=3, net=SMALL["net"], out=out, quiet=True)
    assert snapshot(out) == before


def test_a_folder_made_for_a_command_that_is_refused_goes_again(tmp_path):
    with pytest.raises(SecateurError, match="no"), Out(tmp_path / "a" / "b").claimed(DATA, force=False):
        raise SecateurError("no")
    assert not list(tmp_path.iterdir())


def test_a_forced_command_that_writes_replaces_all_of_it_and_nothing_else(folder):
    with folder.claimed(DATA, force=True):
        folder.begin("record", {"seed": 1})
    assert sorted(held(folder.path)) == ["run.json", "thesis.tex"]
    assert folder.stages["record"]["asked"] == {"seed": 1}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("run.json", "cells")])
def test_what_no_run_wrote_is_never_touched_whatever_it_is_called(folder, name, force):
    (folder / name).mkdir()
    (folder / name / "mine.txt").write_text("years of work")
    refused(folder.path, f"contains {name}, which secateur did not", force=force)


@pytest.mark.parametrize("name", ["kept", "state", "model.safetensors", "report.html"])
def test_force_does_not_make_a_stranger_s_folder_ours(tmp_path, name):
    out = tmp_path / "out"
    (out / name).mkdir(parents=True)
    (out / name / "mine.txt").write_text("years of work")
    refused(out, "contains other files")
    refused(out, f"contains {name}, which secateur did not", force=True)


def test_force_writes_beside_what_has_other_names(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    refused(tmp_path, "--force", around=tmp_path)
    out = Out(tmp_path)
    with out.claimed(DATA, force=True):
        out.begin("record", {})
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert out.stages


def test_something_that_appears_while_a_run_is_at_work_is_not_overwritten(folder):
    with folder.claimed(DATA, force=False):
        (folder / "kept").mkdir()
        (folder / "kept" / "mine.txt").write_text("years of work")
        for write in (lambda: write_json(folder / "kept" / "a.json", 1), lambda: remove(folder / "kept")):
            with pytest.raises(WrongData, match="contains kept, which secateur did not"):
                write()
    assert (folder / "kept" / "mine.txt").read_text() == "years of work"


@pytest.mark.parametrize("there", [True, False])
def test_the_lock_never_follows_a_link_and_never_empties_a_file(folder, there):
    victim = folder.path.parent / "victim"
    if there:
        victim.write_text("years of work")
    (folder / ".lock").unlink(missing_ok=True)
    (folder / ".lock").symlink_to(victim)
    for out in (folder.path, folder.path):
        refused(out, r"\.lock is not a lock")
    with pytest.raises(SecateurError), locked(folder.path):
        raise AssertionError
    assert victim.exists() == there


@pytest.mark.parametrize("kind", ["content", "folder", "pipe"])
def test_something_else_called_lock_is_left_alone(folder, kind):
    path = folder / ".lock"
    path.unlink(missing_ok=True)
    if kind == "content":
        path.write_text("pid 7")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    refused(folder.path, r"\.lock is not a lock")


def test_a_stranger_s_folder_of_another_data_set_gets_no_lock(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    refused(tmp_path / "out", "contains other files")


def test_the_lock_that_a_killed_run_left_does_not_stop_the_next(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lock").touch()
    with Out(tmp_path / "out").claimed(DATA, force=False):
        pass
    second = Out(tmp_path / "out").claimed(DATA, force=False)
    with Out(tmp_path / "out").claimed(DATA, force=False), pytest.raises(WrongData, match="is running"), second:
        pass


@pytest.mark.parametrize("name", ["cells", "run.json", "log.jsonl", "cells/a/result.json"])
@pytest.mark.parametrize("force", [False, True])
def test_a_link_where_a_run_would_write_is_refused(folder, name, force):
    with folder.claimed(DATA, force=False):
        folder.log("begun")
    target = folder.path.parent / "elsewhere"
    (folder / name).rename(target)
    (folder / name).symlink_to(target)
    refused(folder.path, "link|holds", force=force)


def test_a_pipe_where_a_run_would_read_is_refused(folder):
    os.mkfifo(folder / "cells" / "pipe")
    refused(folder.path, "not a regular file")


@pytest.mark.parametrize(
    "make", [lambda p: p.write_text("x"), os.mkfifo, lambda p: p.symlink_to("nowhere"), lambda p: p.symlink_to("out")]
)
def test_an_out_that_is_no_folder_is_one_line(tmp_path, make):
    make(tmp_path / "out")
    refused(tmp_path / "out", "expected a folder")
    refused(tmp_path / "out" / "below", "expected a folder", around=tmp_path)


@pytest.mark.parametrize("force", [False, True])
def test_an_out_that_links_to_itself_is_one_line(tmp_path, force):
    data = write_folder(tmp_path / "in")
    (tmp_path / "out").symlink_to("out")
    with pytest.raises(WrongData, match="expected a folder"):
        sc.prune(str(data), keep=0.5, out=tmp_path / "out", force=force, **SMALL)


def test_an_out_that_is_a_link_to_a_folder_is_that_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    out = Out(tmp_path / "out")
    with out.claimed(DATA, force=False):
        out.begin("record", {})
    assert (tmp_path / "real" / "run.json").exists()


def killed_while(folder, monkeypatch, *, moved: int):
    """Kill a forced command when it has moved so many of the names."""
    rename, count = Path.rename, iter(range(moved))

    def until(self, target):
        if next(count, None) is None:
            raise Killed
        return rename(self, target)

    monkeypatch.setattr(aside.Path, "rename", until)
    with pytest.raises(Killed):
        folder.claim(DATA, force=True)
        folder.claim(DATA, force=True)  # all are moved: killed while they come back
    monkeypatch.undo()


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_killed_while_it_sets_aside_the_next_finds_all_of_it(folder, monkeypatch, moved):
    with folder.claimed(DATA, force=False):
        folder.log("begun")
    before = held(folder.path)
    killed_while(folder, monkeypatch, moved=moved)
    assert held(folder.path) != before
    with pytest.raises(SecateurError, match="another record .*seed was 0, now 1"):
        folder.claim(DATA, force=False)
        folder.begin("record", {"seed": 1})
    assert held(folder.path) == before


def test_killed_before_it_wrote_anything_the_next_finds_all_of_it(folder):
    before = snapshot(folder.path)
    folder.claim(DATA, force=True)
    assert folder.stages == {}
    Out(folder.path).claim(DATA, force=False)
    assert snapshot(folder.path) == before


def test_killed_before_it_wrote_anything_the_old_data_still_own_it(folder):
    folder.claim(OTHER, force=True)
    Out(folder.path).claim(DATA, force=False)
    assert (folder / "cells" / "a" / "result.json").read_text() == "0.9\n"


def test_killed_when_it_had_written_the_next_goes_on_from_that(folder):
    folder.claim(DATA, force=True)
    folder.begin("record", {"seed": 1})
    after = Out(folder.path)
    after.claim(DATA, force=False)
    assert after.stages["record"]["asked"] == {"seed": 1}
    assert sorted(held(folder.path)) == ["run.json", "thesis.tex"]


def test_a_stranger_s_replaced_folder_is_moved_nowhere(folder):
    for name in (".replaced", ".replaced~", ".replaced-0123456789abcdef"):
        (folder / name / "cells").mkdir(parents=True)
        (folder / name / "run.json").write_text("{}")
        (folder / name / "cells" / "mine.txt").write_text("years of work")
    shutil.rmtree(folder / "cells")
    before = {name: content for name, content in held(folder.path).items() if name.startswith(".replaced")}
    with folder.claimed(DATA, force=True):
        folder.begin("record", {"seed": 1})
    assert {name: content for name, content in held(folder.path).items() if name.startswith(".replaced")} == before
    assert not (folder / "cells").exists()


def test_an_edited_run_json_gives_nothing_away(folder):
    run = json.loads((folder / "run.json").read_text())
    edits = {"owns": ["../victim", "thesis.tex", "/", "cells"], "aside": "../..", "discard": "x"}
    (folder / "run.json").write_text(json.dumps(run | edits))
    victim = folder.path.parent / "victim"
    victim.write_text("years of work")
    with folder.claimed(DATA, force=True):
        folder.begin("record", {"seed": 1})
    assert victim.exists()
    assert (folder / "thesis.tex").exists()
    assert not (folder / "cells").exists()


@pytest.mark.parametrize("text", ['{"a": 1}', "[]", '{"versions": {}, "data": {}, "stages": {}}'])
def test_somebody_else_s_run_json_makes_nothing_ours(tmp_path, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text(text)
    refused(tmp_path / "out", "run.json")
    refused(tmp_path / "out", "run.json", force=True)


def test_a_name_is_listed_before_it_is_written(folder, monkeypatch):
    def killed(*args):
        raise Killed

    monkeypatch.setattr(files.os, "replace", lambda a, b, real=os.replace: real(a, b) if "run" in str(b) else killed())
    with pytest.raises(Killed), folder.claimed(DATA, force=False):
        write_json(folder / "bill.json", {})
    monkeypatch.undo()
    assert "bill.json" in folder.run["owns"]
    assert not (folder / "bill.json").exists()
    with folder.claimed(DATA, force=False):
        write_json(folder / "bill.json", {})


def test_a_folder_of_an_older_version_stays_usable(pruned, few_digits, tmp_path):
    out = shutil.copytree(pruned, tmp_path / "out")
    run = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({k: v for k, v in run.items() if k not in ("owns", "digests")}))
    (images, labels), test = few_digits
    sc.prune((images, labels), test=test, keep=0.4, out=out, **SMALL)
    assert set(json.loads((out / "run.json").read_text())["owns"]) == set(run["owns"])
    (out / "run.json").write_text(json.dumps({k: v for k, v in run.items() if k not in ("owns", "digests")}))
    (out / "synthetic").mkdir()
    refused(out, "contains synthetic, which secateur did not", data=run["data"], force=True)


def test_beside_a_recording_of_one_s_own_loop_only_our_tables_are_replaced(pruned, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(pruned / "recording.zarr", out / "recording.zarr")
    (out / "run.json").write_text('{"mine": 1}')
    first = sc.select_from(out, method="el2n", keep=0.3)
    assert len(sc.select_from(out, method="el2n", keep=0.2)) < len(first)
    (out / "scores.parquet").write_text("years of work")
    before = held(out)
    with pytest.raises(SecateurError, match=r"scores\.parquet"):
        sc.select_from(out, method="el2n", keep=0.3)
    assert held(out) == before


def test_select_in_a_stranger_s_folder_leaves_nothing(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    before = snapshot(tmp_path)
    for out in (tmp_path / "out", tmp_path / "none"):
        with pytest.raises(SecateurError, match="expected a recording"):
            sc.select_from(out, method="el2n")
    assert snapshot(tmp_path) == before


def test_a_report_never_replaces_one_that_is_not_ours(pruned, tmp_path):
    from secateur.report import write_report

    out = shutil.copytree(pruned, tmp_path / "out")
    write_report(out)
    run = json.loads((out / "run.json").read_text())
    run["owns"].remove("report.html")
    (out / "run.json").write_text(json.dumps(run))
    (out / "report.html").write_text("my own")
    with pytest.raises(WrongData, match="contains report.html, which secateur did not"):
        write_report(out)
    (out / "report.html").unlink()
    write_report(out)
    assert "report.html" in json.loads((out / "run.json").read_text())["owns"]


def test_temporary_files_take_no_name_that_somebody_else_might_have(tmp_path):
    for name in (".a.json.partial", ".12-00112233deadbeef.partial"):
        (tmp_path / name).write_text("years of work")
    write_json(tmp_path / "a.json", 1)
    assert len(list(tmp_path.iterdir())) == 3


def test_what_killed_runs_left_half_written_does_not_pile_up(folder, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 4_000_000)  # above any process id
    monkeypatch.setattr(partial, "_open", set())
    left = [new_partial(folder / "cells"), new_partial(folder.path)]
    monkeypatch.undo()
    for path in left:
        path.write_text("half")
    assert all(is_partial(path.name) for path in left)
    with folder.claimed(DATA, force=False):
        folder.log("begun")
    assert not [path for path in left if path.exists()]


def test_what_another_machine_may_be_writing_is_left_alone_for_a_day(tmp_path, monkeypatch):
    monkeypatch.setattr(partial, "_machine", lambda: "00000000")
    monkeypatch.setattr(partial, "_open", set())
    path = new_partial(tmp_path)
    path.write_text("half")
    monkeypatch.undo()
    partial.sweep(tmp_path)
    assert path.exists()
    os.utime(path, (0, 0))
    partial.sweep(tmp_path)
    assert not path.exists()


def test_a_log_that_is_a_link_is_not_written_through(tmp_path):
    (tmp_path / "victim").write_text("years of work")
    (tmp_path / "log.jsonl").symlink_to("victim")
    with pytest.raises(StoreError, match=os.strerror(errno.ELOOP)):
        append_line(tmp_path / "log.jsonl", {})
    assert (tmp_path / "victim").read_text() == "years of work"


def test_a_write_that_fails_leaves_nothing_beside(tmp_path):
    with pytest.raises(RuntimeError), replacing(tmp_path / "a") as beside:
        beside.write_text("half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["subset.parquet", "model.safetensors", "scores.parquet"])
def test_a_flipped_byte_is_noticed_by_everything_that_reads_it(pruned, few_digits, tmp_path, name):
    from secateur.report import write_report

    out = shutil.copytree(pruned, tmp_path / "out")
    content = bytearray((out / name).read_bytes())
    content[len(content) // 2] ^= 1
    (out / name).write_bytes(content)
    (images, labels), test = few_digits
    small = {"quiet": True, "threads": 1}
    readers = {
        "subset.parquet": lambda: sc.train((images, labels), test=test, subset=out, out=tmp_path / "t", **small),
        "model.safetensors": lambda: sc.train((images, labels), test=test, teacher=out, out=tmp_path / "t", **small),
        "scores.parquet": lambda: sc.score(out),
    }
    for read in (readers[name], lambda: write_report(out), lambda: sc.plan((images, labels), out=out, **small)):
        with pytest.raises(StoreError, match=f"{name}: damaged or edited"):
            read()


def test_killed_between_the_digest_and_the_file_both_are_right(folder, monkeypatch):
    from secateur.store.digests import verify

    path = folder / "scores.parquet"

    def write(content):
        with folder.claimed(DATA, force=False), replacing(path) as beside:
            beside.write_text(content)

    write("one")
    replace = os.replace
    for _ in range(3):
        monkeypatch.setattr(files.os, "replace", lambda a, b: replace(a, b) if Path(b).name == "run.json" else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write("two")
        monkeypatch.undo()
        verify(path)
    write("two")
    verify(path)
    path.write_text("twq")
    with pytest.raises(StoreError, match="damaged"):
        verify(path)


@pytest.mark.parametrize("method", ["random", "k-center"])
def test_out_inside_the_data_works_again_and_again(tmp_path, monkeypatch, method):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    write_folder(tmp_path / "data", n=24)
    monkeypatch.chdir(tmp_path / "data")
    marks, more = [], {"features": "input", "quiet": True, "threads": 1}
    for _ in range(2):
        kept = sc.prune(".", keep=0.5, method=method, **(more if method == "k-center" else more | {"features": None}))
        marks.append((kept.provenance["fingerprint"], kept.ids.tolist(), len(kept.table["id"])))
    assert marks[0] == marks[1]
    assert marks[0][2] == 24


def test_parquet_in_an_out_folder_below_the_data_is_not_data(pruned, tmp_path):
    from secateur.data.source import open_data
    from tests.data.made import write_parquet

    write_parquet(tmp_path / "x.parquet", n=24)
    before = open_data(str(tmp_path), cache=tmp_path / ".cache")
    shutil.copytree(pruned, tmp_path / "deep" / "secateur-out")
    for data in (tmp_path, tmp_path / "**" / "*.parquet"):
        assert open_data(str(data), cache=tmp_path / ".cache").fingerprint == before.fingerprint
    kept = open_data(str(tmp_path / "deep" / "secateur-out" / "kept" / "*.parquet"), cache=tmp_path / ".cache")
    assert len(kept.train) == len(sc.Subset.open(pruned))


def test_data_in_an_out_that_force_would_replace_are_refused(tmp_path, monkeypatch):
    write_folder(tmp_path / "data", n=24)
    out = tmp_path / "out"
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    sc.prune(tmp_path / "data", keep=0.5, method="random", out=out, quiet=True, threads=1)
    before = snapshot(out)
    with pytest.raises(WrongData, match="the data .* lie in"):
        sc.prune(out / "kept", keep=0.5, method="random", out=out, force=True, quiet=True, threads=1)
    assert snapshot(out) == before


def test_run_folders_are_known_by_what_is_in_them(pruned, folder, tmp_path):
    assert is_run_folder(pruned)
    assert is_run_folder(folder.path)
    (tmp_path / "run.json").write_text('{"mine": 1}')
    assert not is_run_folder(tmp_path)
    assert not is_run_folder(tmp_path / "none")
    (tmp_path / "run.json").write_text("not json")
    assert not is_run_folder(tmp_path)
    shutil.copytree(pruned / "recording.zarr", tmp_path / "own" / "recording.zarr")
    assert is_run_folder(tmp_path / "own")
    assert np.array_equal([True], [is_run_folder(pruned)])
