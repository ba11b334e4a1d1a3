"""One OUT, two writers: on a store a lease and one conditional write, here a lock; what disagrees is mended or told."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from secateur.errors import SecateurError, StoreError, WrongData
from secateur.registry import part_of, resolve_keep
from secateur.scale import How, lease, swap
from secateur.scale.claim import held, told
from secateur.scale.engines import Local
from secateur.scale.quotas import count_of
from secateur.scale.storage import Place
from tests.scale.races import Driver, disagreements, few_shards, main
from tests.scale.running import pruned, write_shards

SOON = 1.0
ABOUT = {"fingerprint": "f", "shards": ["a.parquet"]}


@pytest.fixture
def out(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv(lease.TTL, str(SOON))
    monkeypatch.setattr(lease, "_is_dead", lambda record: False)  # both writers are this process
    return Place(bucket) / tmp_path.name


def claimed(out, how=How()):  # noqa: B008
    return held(out, ("run.json", "manifest.parquet", "stages"), lambda before, there: None, how)


def begun(out, how=How()):  # noqa: B008
    """A claim that is never let go, as that of a driver that was stopped."""
    claiming = claimed(out, how)
    claim = claiming.__enter__()
    claim.begin(ABOUT)
    claim.kept = claiming  # else it would be let go as soon as nothing refers to it
    return claim


def stopped(claim):
    claim.held._stop.set()
    claim.held._thread.join()


def test_a_second_command_is_refused_and_told_who_is_at_work(out):
    with claimed(out) as first:
        first.begin(ABOUT)
        with pytest.raises(WrongData, match=f"another command is running in .*: process {os.getpid()} on .*take-over"):
            claimed(out).__enter__()
        first.publish({"result": {}}, first.folder("a"))
    with claimed(out) as second:
        assert second.epoch == first.epoch + 1


def test_a_lease_that_is_not_renewed_is_taken_and_its_former_holder_can_publish_nothing(out):
    first = begun(out)
    stopped(first)
    with claimed(out) as second:
        second.publish({"result": {"kept": 2}}, second.folder("b"))
        for late in (lambda: first.publish({"result": {"kept": 1}}, first.folder("a")), lambda: first.begin(ABOUT)):
            with pytest.raises(WrongData, match="another command took over .* while this one was unresponsive"):
                late()
    assert told(out)["result"] == {"kept": 2}


def test_the_fence_holds_where_the_lease_is_not_looked_at_again(out, monkeypatch):
    """Stopped between the look at the lease and the write after it."""
    first = begun(out)
    stopped(first)
    monkeypatch.setattr(lease.Lease, "check", lambda self: None)
    with claimed(out) as second:
        second.publish({"result": {"kept": 2}}, second.folder("b"))
        with pytest.raises(WrongData, match="another command took"):
            first.publish({"result": {"kept": 1}}, first.folder("a"))
    assert told(out)["result"] == {"kept": 2}


def test_take_over_does_not_wait_and_the_other_stops(out):
    first = begun(out)
    with claimed(out, How(take_over=True)):
        time.sleep(SOON)
        with pytest.raises(WrongData, match="another command took"):
            first.check()


def test_one_of_many_challengers_gets_the_lease(out):
    tags = [swap.write(out / "a.json", {"n": n}, None) for n in range(5)]
    assert [tag is not None for tag in tags] == [True, False, False, False, False]
    again = [swap.write(out / "a.json", {"n": n}, tags[0]) for n in range(5)]
    assert [tag is not None for tag in again] == [True, False, False, False, False]


def test_a_write_whose_answer_was_lost_counts(out, monkeypatch):
    """Clients ask again by themselves, and are then refused because of their own first request."""
    real = swap.put

    def twice(place, value, tag, **more):
        real(place, value, tag, **more)
        return real(place, value, tag, **more)

    monkeypatch.setattr(swap, "put", twice)
    tag = swap.write(out / "a.json", {"n": 1}, None)
    assert tag is not None
    assert swap.write(out / "a.json", {"n": 2}, tag) is not None


def test_a_process_of_this_machine_that_is_gone_is_not_waited_for():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    record = lease._self()
    assert not lease._is_dead(record)
    start = lease._start(gone.pid)
    gone.wait()
    assert lease._is_dead(record | {"pid": gone.pid, "start": start or "1"})
    assert not lease._is_dead(record | {"pid": gone.pid, "start": "1", "boot": "another machine"})


def test_a_store_without_conditional_writes_is_refused_unless_there_is_one_writer():
    out = Place("memory://unsafe/out")
    with pytest.raises(SecateurError, match="has no conditional writes.*--unsafe-single-writer"):
        claimed(out).__enter__()
    assert out.names() == []
    with claimed(out, How(single_writer=True)) as claim:
        claim.begin(ABOUT)
        claim.publish({"result": {}}, claim.folder("a"))
    assert told(out)["generation"] == "generation/00000001-a"


def test_a_folder_that_counts_is_never_deleted_by_one_that_wakes_up_late(out):
    first = begun(out)
    (first.folder("a") / "x.json").write_json(1)
    first.publish({"result": {}}, first.folder("a"))
    stopped(first)
    with claimed(out) as second:
        (second.folder("b") / "x.json").write_json(2)
        second.publish({"result": {}}, second.folder("b"))
        first.held = None
        first._clean()
    assert (out / "generation").names() == [f"{second.epoch:08d}-b"]


def test_a_refused_run_leaves_the_store_as_it_was(out):
    (out / "mine.txt").write_json(1)

    def judge(before, there):
        raise WrongData("out: of something else")

    with pytest.raises(WrongData):
        held(out, (), judge).__enter__()
    assert out.names() == ["mine.txt"]


@pytest.mark.parametrize("about", [[], {"shards": "x"}, {"shards": []}, {"generation": "../../x", "fingerprint": "f"}])
def test_an_edited_run_json_is_refused(tmp_path, about):
    (tmp_path / "run.json").write_text(json.dumps(about))
    with pytest.raises(WrongData, match="run.json was edited or damaged"):
        told(Place(str(tmp_path)))


@pytest.mark.parametrize("text", ["nan", "0", "much", "-1"])
def test_a_ttl_that_is_none_is_refused(monkeypatch, text):
    monkeypatch.setenv(lease.TTL, text)
    with pytest.raises(SecateurError, match=lease.TTL):
        lease.ttl()


def test_a_fraction_of_rows_is_rounded_as_everywhere():
    for keep, rows in ((0.5, 5), (0.3, 5), (0.1, 25), (0.29, 100), (1.0, 7)):
        assert count_of(keep, rows) == resolve_keep(keep, rows) == part_of(keep, rows)
    assert count_of(0.5, 5) == 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verified")
    shards = write_shards(folder / "shards")
    pruned(shards, folder / "out", Local(1))
    return shards, folder / "out"


def content(out):
    names = ("manifest.parquet", "kept_ids.parquet", "kept")
    found = {p.relative_to(out).as_posix(): p.read_bytes() for n in names for p in (out / n).rglob("*")}
    return found | {"groups.json": (out / "groups.json").read_bytes()}


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


HARM = {"flipped": flipped, "cut": lambda p: p.write_bytes(p.read_bytes()[:-7]), "deleted": Path.unlink}


@pytest.mark.parametrize("harm", HARM)
def test_a_rerun_mends_what_was_changed_since(whole, harm):
    shards, out = whole
    before = content(out)
    for name in ("manifest.parquet", "kept_ids.parquet", "kept"):
        HARM[harm](sorted((out / name).iterdir())[0])
    HARM[harm](out / "groups.json")
    about = json.loads((out / "run.json").read_text())
    about["result"]["kept"] = 1
    (out / "run.json").write_text(json.dumps(about))
    result = pruned(shards, out, Local(1))
    assert content(out) == before
    assert json.loads((out / "run.json").read_text())["result"]["kept"] == result.kept != 1


def test_a_stray_part_stops_a_rerun(whole):
    shards, out = whole
    part = sorted((out / "manifest.parquet").iterdir())[0]
    stray = part.with_name("part-more.parquet")
    stray.write_bytes(part.read_bytes())
    try:
        with pytest.raises(SecateurError, match="manifest.parquet contains 'part-more.parquet', which this"):
            pruned(shards, out, Local(1))
    finally:
        stray.unlink()


def test_a_run_json_tells_of_no_result_while_another_is_written(whole, monkeypatch):
    import secateur.scale.choose as choose

    shards, out = whole

    def full(*args):
        raise StoreError("full")

    with monkeypatch.context() as patch:
        patch.setattr(choose, "write_ids", full)
        with pytest.raises(StoreError):
            pruned(shards, out, Local(1), keep=0.2)
    assert "result" not in json.loads((out / "run.json").read_text())
    pruned(shards, out, Local(1))


def test_a_full_disk_says_so(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError("no room left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match=r"writing .*a.json: no room left"):
        (Place(str(tmp_path)) / "a.json").write_json(1)


WORKERS = """
import sys, time
from secateur.scale.engines import Local
from tests.scale.test_lease import nap
print("ready", flush=True)
for _ in Local(2).map(nap, [(sys.argv[1], n) for n in range(4)]):
    pass
"""


def nap(task):
    folder, number = task
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(60)
    return number


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc and /dev/shm")
def test_workers_end_with_their_driver_and_leave_no_shared_memory(tmp_path):
    given = [sys.executable, "-c", WORKERS, str(tmp_path)]
    driver = subprocess.Popen(given, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE)
    until = time.monotonic() + 90
    while len(pids := [int(p.name) for p in tmp_path.iterdir()]) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    assert len(pids) == 2
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    until = time.monotonic() + 10
    while time.monotonic() < until and (any(map(lease._start, pids)) or left(driver.pid)):
        time.sleep(0.1)
    assert not any(map(lease._start, pids))
    assert left(driver.pid) == []


def left(pid):
    return [p.name for p in Path("/dev/shm").iterdir() if str(pid) in p.name]


@pytest.mark.slow
def test_a_driver_that_is_stopped_past_its_lease_fails_before_it_can_publish(bucket, tmp_path):
    shards, out = few_shards(tmp_path), f"{bucket}/zombie"
    one, two = Driver(shards, out, 0.3), Driver(shards, out, 0.4)
    one.go()
    while (Place(out) / "run.json").exists() is False:
        time.sleep(0.05)
    one.signal(signal.SIGSTOP)
    second = two.go().end()
    one.signal(signal.SIGCONT)
    assert "took" in one.end()["error"]
    assert second["kept"] == 48
    assert disagreements(out, second) == ""


@pytest.mark.slow
def test_races_and_kills_end_without_a_silent_disagreement():
    assert main(["--races", "3", "--kills", "2"]) == 0
