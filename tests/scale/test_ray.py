"""On Ray the same comes out as here, whatever dies on the way."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from secateur.errors import DataError, MissingExtra, SecateurError
from secateur.scale.engines import Local
from secateur.scale.prune import find_engine
from tests.scale.running import Deadly, content, pruned, write_shards

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def two():
    """A cluster of two workers on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH")) if p))
        engine_of_two = find_engine("ray", 2)
        yield engine_of_two  # and its workers find the functions of this file
        engine_of_two.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Shards, and what comes of them in this process alone."""
    folder = tmp_path_factory.mktemp("whole")
    shards = write_shards(folder / "shards")
    pruned(shards, folder / "out", Local(1))
    return shards, content(folder / "out")


def test_one_worker_two_and_ray_give_the_same_bytes(whole, two, tmp_path, monkeypatch):
    shards, expected = whole
    pruned(shards, tmp_path / "local", Local(2))
    assert content(tmp_path / "local") == expected
    list(two.map(_odd_ones_are_bad, [Task(2)]))  # now there is a cluster, whose workers are where it was started
    monkeypatch.chdir(tmp_path)
    pruned(shards, "ray", two)
    assert content(tmp_path / "ray") == expected


def test_a_ray_worker_killed_in_the_middle_of_a_unit_is_replaced_and_the_bytes_are_the_same(whole, two, tmp_path):
    shards, expected = whole
    pruned(shards, tmp_path / "out", Deadly(two, tmp_path))
    assert (tmp_path / "killed").exists()
    assert content(tmp_path / "out") == expected


@dataclass(frozen=True)
class Task:
    """Something small."""

    number: int


def _odd_ones_are_bad(task):
    if task.number % 2:
        raise DataError(f"row {task.number}: odd; take it out")
    return task.number


def test_what_a_task_raises_on_ray_arrives_as_it_was_raised(two):
    with pytest.raises(DataError) as caught:
        list(two.map(_odd_ones_are_bad, [Task(0), Task(7)]))
    assert type(caught.value) is DataError
    assert str(caught.value) == "row 7: odd; take it out"


def test_ray_gives_each_task_once_with_its_place(two):
    assert sorted(two.map(_odd_ones_are_bad, [Task(2 * n) for n in range(9)])) == [(n, 2 * n) for n in range(9)]
    assert list(two.map(_odd_ones_are_bad, [])) == []


def test_a_cluster_that_was_there_is_joined_and_left_as_it_was(two):
    import ray

    assert ray.is_initialized()
    other = find_engine("ray", 1)
    assert list(other.map(_odd_ones_are_bad, [Task(4)])) == [(0, 4)]
    other.close()
    assert ray.is_initialized()


def test_a_cluster_that_does_not_answer_is_an_error_that_names_it(monkeypatch):
    import ray

    if ray.is_initialized():
        ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", "nothing-listens-here")
    with pytest.raises(SecateurError, match="^engine: Ray could not be joined at nothing-listens-here \\("):
        list(find_engine("ray", 1).map(_odd_ones_are_bad, [Task(2)]))


def test_without_ray_the_message_is_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r'^engine: ray is not installed: pip install "secateur\[ray\]"$'):
        find_engine("ray", 2)
